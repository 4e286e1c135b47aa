"""The curves as tables on the terminal, in 80 columns."""

from rich.console import Console
from rich.table import Table

from moodline.reproduction.robustness.draw import Curves
from moodline.reproduction.robustness.points import NAMES
from moodline.reproduction.robustness.report import lines_of
from moodline.wording import counted

COLUMNS = {"place": "at", "part": "part", "wa": "WA", "ua": "UA", "change": "change of UA"}


def print_curves(curves: Curves, console: Console | None = None) -> None:
    """Print a table a curve: WA and UA with their intervals, and how far UA is from where nothing is altered."""
    console = console or Console()
    rows = curves.table.to_pylist()
    first = rows[0]
    size = f"{counted(first['utterances'], 'utterance')}, {counted(first['conversations'], 'conversation')}"
    lines = (
        f"Protocol {first['protocol']}, {counted(first['folds'], 'fold')}: n = {size}",
        f"Classes: {', '.join(curves.run.label_set.classes)}. In brackets: 95 % over conversations.",
        *(f"Note: {note}." for note in curves.notes),
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for curve, name in NAMES.items():
        if own := [row for row in rows if row["curve"] == curve]:
            console.print(f"\n{name}", markup=False, highlight=False)
            console.print(table_of(lines_of(own)))


def table_of(lines: list[dict[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), highlight=False)
    for title in COLUMNS.values():
        table.add_column(title, no_wrap=True)
    for line in lines:
        table.add_row(*(line[key] for key in COLUMNS))
    return table
