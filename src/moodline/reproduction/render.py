"""Filled tables as Markdown and as LaTeX; what stands out is bold, and nothing else is."""

from collections.abc import Sequence

from moodline.evaluation.results import Estimate
from moodline.reproduction.filled import FilledRow, FilledTable

NUMBERS = ("WA", "UA", "weighted F1", "validation loss", "seeds", "folds")
DIFFERENCES = ("difference", "WA", "UA", "weighted F1", "effect", "seeds")
MEASURES = {"WA": "wa", "UA": "ua", "weighted F1": "weighted_f1"}
NOTE = (
    "In brackets: 95 % over conversations, of the mean over seeds; ± standard deviation over seeds. Selected: the "
    "lowest validation loss of its choice over the seeds that all of its rows have, once all of it is done; test "
    "scores take no part. Bold: a UA whose difference from each other row of its choice leaves out zero. Differences "
    "are paired over conversations; effect: Cohen's d over conversations. Intervals are not corrected for how many "
    "differences there are, and do not tell how far other seeds would move them."
)


def cells_of(row: FilledRow) -> list[str]:
    """A row's cells in plain text."""
    first = [*row.row.cells[:-1], row.row.cells[-1] + (" (selected)" if row.selected else "")]
    if not row.measures:
        return [*first, *("not run" for _ in MEASURES), "", "0", "0"]
    numbers = [scored(row, measure) for measure in MEASURES.values()]
    loss = "" if row.validation_loss is None else f"{row.validation_loss:.3f}"
    return [*first, *numbers, loss, str(row.seeds), str(len(row.folds))]


def scored(row: FilledRow, measure: str) -> str:
    deviation = f" ± {row.deviations[measure]:.3f}" if measure in row.deviations else ""
    return f"{row.measures[measure]}{deviation}"


def differences_of(table: FilledTable) -> list[list[str]]:
    return [
        [
            f"{pair.one.title} minus {pair.other.title}",
            *(signed(getattr(pair.comparison, measure)) for measure in MEASURES.values()),
            "" if pair.comparison.effect is None else f"{pair.comparison.effect:+.2f}",
            " and ".join(map(str, dict.fromkeys(pair.seeds))),
        ]
        for pair in table.pairs
    ]


def signed(estimate: Estimate) -> str:
    low, high = estimate.interval or (None, None)
    return f"{estimate.value:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


def markdown(tables: Sequence[FilledTable]) -> str:
    parts = [NOTE]
    for table in tables:
        parts += [f"## {table.table.name}", grid([*table.table.columns, *NUMBERS], bold_rows(table))]
        parts += [*chance_of(table), *notes_of(table)]
        if table.pairs:
            parts.append(grid(DIFFERENCES, differences_of(table)))
    return "\n\n".join(parts) + "\n"


def chance_of(table: FilledTable) -> list[str]:
    """A sentence with what every row is to be held against; none where a row says it."""
    if not table.majority:
        return []
    told = ", ".join(f"{name} {table.majority[measure]}" for name, measure in MEASURES.items())
    return [f"Always saying the most frequent class: {told}."]


def notes_of(table: FilledTable) -> list[str]:
    """What a reader of a table's numbers must know, and of which rows it holds."""
    rows: dict[str, list[str]] = {}
    for row in table.rows:
        for note in row.notes:
            rows.setdefault(note, []).append(row.title)
    done = sum(1 for row in table.rows if row.measures)
    own = [f"{note}." for note in table.table.notes]
    return own + [f"{'All rows' if len(those) == done else '; '.join(those)}: {note}." for note, those in rows.items()]


def bold_rows(table: FilledTable) -> list[list[str]]:
    """The rows' cells; the UA that stands out is between two stars, which is bold type in Markdown."""
    at = len(table.table.columns) + list(MEASURES).index("UA")
    found = []
    for row in table.rows:
        cells = cells_of(row)
        if row.stands_out:
            cells[at] = f"**{cells[at]}**"
        found.append(cells)
    return found


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def latex(tables: Sequence[FilledTable]) -> str:
    """Tables for booktabs."""
    return "\n".join(
        [*(one for table in tables for one in latex_of(table)), rf"{{\footnotesize {escaped(NOTE)}\par}}", ""]
    )


def latex_of(table: FilledTable) -> list[str]:
    header = [*table.table.columns, *NUMBERS]
    caption = " ".join([f"{table.table.name}.", *chance_of(table), *notes_of(table)])
    found = [tabular(header, bold_rows(table), caption)]
    if table.pairs:
        caption = " ".join([f"{table.table.name}, differences.", *notes_of(table)])
        found.append(tabular(DIFFERENCES, differences_of(table), caption))
    return found


def tabular(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    lines = [" & ".join(map(escaped, line)) + r" \\" for line in (header, *rows)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{{'l' * len(header)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


# What LaTeX takes for its own.
SIGNS = {
    **{sign: f"\\{sign}" for sign in "%&_#${}"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
}


def escaped(text: str) -> str:
    """Text for LaTeX; two stars around a cell are bold type."""
    if text.startswith("**"):
        return rf"\textbf{{{escaped(text[2:-2])}}}"
    return "".join(SIGNS.get(sign, sign) for sign in text)
