"""Render result tables as Markdown, LaTeX and one self-contained HTML page."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from moodline.evaluation.report import build_environment
from moodline.evaluation.results import Estimate
from moodline.evaluation.score_figures import draw_differences, draw_scores
from moodline.evaluation.scores import MIN_CONVERSATIONS
from moodline.experiments.ledger import POOLED
from moodline.experiments.results_table import ResultsRow, ResultsTable
from moodline.io import write_text

NUMBER_COLUMNS = ("WA", "UA", "weighted F1", "validation loss", "seeds", "folds")
DIFFERENCE_COLUMNS = ("difference", "WA", "UA", "weighted F1", "effect", "seeds")
MEASURE_BY_COLUMN = {"WA": "wa", "UA": "ua", "weighted F1": "weighted_f1"}
TABLE_NOTE = (
    "In brackets: 95 % interval over conversations of the mean over seeds; ±: standard deviation over seeds. Selected: "
    "the lowest validation loss among the alternatives, over the seeds that all of them have, once all are run; test "
    "scores are not used. Bold: the UA differs from that of each alternative by an interval that excludes zero. "
    "Differences are paired over conversations; effect: Cohen's d over conversations. Intervals are not corrected for "
    "multiple comparisons, and do not include the variation over further seeds."
)


def format_rows(table: ResultsTable) -> list[list[str]]:
    """Format the rows' cells; two stars around a UA mark it as bold, as in Markdown."""
    found = []
    for row in table.rows:
        first = [*row.row.cells[:-1], row.row.cells[-1] + (" (selected)" if row.selected else "")]
        scores = {name: format_score(row, measure) for name, measure in MEASURE_BY_COLUMN.items()}
        if row.is_highlighted:
            scores["UA"] = f"**{scores['UA']}**"
        loss = "" if row.validation_loss is None else f"{row.validation_loss:.3f}"
        found.append([*first, *scores.values(), loss, str(row.seeds), str(len(row.folds))])
    return found


def format_score(row: ResultsRow, measure: str) -> str:
    if not row.measures:
        return "not run"
    deviation = f" ± {row.deviations[measure]:.3f}" if measure in row.deviations else ""
    return f"{row.measures[measure]}{deviation}"


def format_differences(table: ResultsTable) -> list[list[str]]:
    return [
        [
            f"{pair.one.title} minus {pair.other.title}",
            *(format_signed(getattr(pair.comparison, measure)) for measure in MEASURE_BY_COLUMN.values()),
            "" if pair.comparison.effect is None else f"{pair.comparison.effect:+.2f}",
            " and ".join(map(str, dict.fromkeys(pair.seeds))),
        ]
        for pair in table.pairs
    ]


def format_signed(estimate: Estimate) -> str:
    low, high = estimate.interval or (None, None)
    return f"{estimate.value:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


def describe_chance(table: ResultsTable) -> list[str]:
    """Describe the scores of the majority class, unless a row of the table shows them."""
    if not table.majority:
        return []
    scores = ", ".join(f"{name} {table.majority[measure]}" for name, measure in MEASURE_BY_COLUMN.items())
    return [f"Always predicting the most frequent class: {scores}."]


def collect_notes(table: ResultsTable) -> list[str]:
    """Collect the notes on a table's numbers, each with the rows that it concerns."""
    rows: dict[str, list[str]] = {}
    for row in table.rows:
        for note in row.notes:
            rows.setdefault(note, []).append(row.title)
    done = sum(1 for row in table.rows if row.measures)
    own = [f"{note}." for note in table.table.notes]
    return own + [f"{'All rows' if len(those) == done else '; '.join(those)}: {note}." for note, those in rows.items()]


class Grid(NamedTuple):
    """A table of text cells, as all formats write it, with the sentences that belong to it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str]


def build_grids(table: ResultsTable) -> list[Grid]:
    """Build the grid of a table's scores and, if rows are compared, that of their differences."""
    notes, name = collect_notes(table), table.table.name
    columns = [*table.table.columns, *NUMBER_COLUMNS]
    scores = Grid(f"{name}.", columns, format_rows(table), [*describe_chance(table), *notes])
    if not table.pairs:
        return [scores]
    return [scores, Grid(f"{name}, differences.", DIFFERENCE_COLUMNS, format_differences(table), notes)]


def render_markdown(tables: Sequence[ResultsTable]) -> str:
    parts = [TABLE_NOTE]
    for table in tables:
        scores, *differences = build_grids(table)
        parts += [f"## {table.table.name}", render_pipes(scores), *scores.sentences, *map(render_pipes, differences)]
    return "\n\n".join(parts) + "\n"


def render_pipes(grid: Grid) -> str:
    lines = [grid.columns, ["---"] * len(grid.columns), *grid.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def render_latex(tables: Sequence[ResultsTable]) -> str:
    """Render tables for LaTeX with the package booktabs."""
    grids = [render_tabular(grid) for table in tables for grid in build_grids(table)]
    return "\n".join([*grids, rf"{{\footnotesize {escape_latex(TABLE_NOTE)}\par}}", ""])


def render_tabular(grid: Grid) -> str:
    header, *rows = [" & ".join(map(escape_latex, line)) + r" \\" for line in (grid.columns, *grid.rows)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escape_latex(' '.join([grid.title, *grid.sentences]))}}}",
            rf"\begin{{tabular}}{{{'l' * len(grid.columns)}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


LATEX_ESCAPES = {
    **{sign: f"\\{sign}" for sign in "%&_#${}"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
}


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; two stars around a cell become bold type."""
    if text.startswith("**"):
        return rf"\textbf{{{escape_latex(text[2:-2])}}}"
    return "".join(LATEX_ESCAPES.get(sign, sign) for sign in text)


REPORT_FILE = "report.html"


def write_report(tables: Sequence[ResultsTable], ledger: pa.Table, out: Path) -> None:
    """Write the page into ``out``; it names tables without finished rows instead of showing them."""
    finished = [table for table in tables if any(row.measures for row in table.rows)]
    page = (
        build_environment("moodline.experiments")
        .get_template("ledger.html.jinja")
        .render(
            tables=[build_section(table) for table in finished],
            waiting=[table.table.name for table in tables if table not in finished],
            of=summarise_ledger(ledger),
            systems=summarise_costs(ledger),
            columns=NUMBER_COLUMNS,
            difference_columns=DIFFERENCE_COLUMNS,
            note=TABLE_NOTE,
        )
    )
    write_text(out / REPORT_FILE, page)


def build_section(table: ResultsTable) -> dict[str, Any]:
    """Build the page's section on a table."""
    key = f"{table.table.key}-{table.table.protocol}"
    done = [row for row in table.rows if row.measures]
    return {
        "id": f"table-{key}",
        "name": table.table.name,
        "columns": table.table.columns,
        "rows": format_rows(table),
        "differences": format_differences(table),
        "chance": describe_chance(table),
        "notes": collect_notes(table),
        "selections": [*describe_selections(done)],
        "findings": [*describe_findings(table)],
        "figure": Markup(
            draw_scores(
                f"scores-{key}",
                table.table.name,
                [{name: asdict(row.measures[name]) for name in ("ua", "wa")} for row in done],
                [row.title for row in done],
            )
        ),
        "difference_figure": Markup(
            draw_differences(
                f"differences-{key}",
                f"{table.table.name}: differences",
                [{name: asdict(getattr(pair.comparison, name)) for name in ("ua", "wa")} for pair in table.pairs],
                [(pair.one.title, pair.other.title) for pair in table.pairs],
            )
        )
        if table.pairs
        else None,
    }


def describe_selections(rows: Sequence[ResultsRow]) -> Iterator[str]:
    """Describe which alternative validation selected, and whether it has the highest UA of the test."""
    for row in rows:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if row.selected:
            best = max(rivals, key=lambda one: one.measures["ua"].value)
            result = "it also has" if best is row else f"{best.title} has"
            yield (
                f"Selected: {row.title}, with the lowest validation loss of {len(rivals)} rows; {result} the highest "
                "UA of the test."
            )


def describe_findings(table: ResultsTable) -> Iterator[str]:
    """Describe each difference in words: clear if its interval excludes zero."""
    for pair in table.pairs:
        estimate = pair.comparison.ua
        if estimate.interval is None:
            continue
        low, high = estimate.interval
        if pair.comparison.is_clear:
            direction = "higher" if estimate.value > 0 else "lower"
            yield f"{pair.one.title} has a clearly {direction} UA than {pair.other.title} ({low:+.3f} to {high:+.3f})."
        elif pair.comparison.conversations < MIN_CONVERSATIONS:
            yield (
                f"{pair.comparison.conversations} conversations are too few to decide whether {pair.one.title} and "
                f"{pair.other.title} differ in UA."
            )
        else:
            yield (
                f"{pair.one.title} and {pair.other.title} do not clearly differ in UA: the interval of the difference "
                f"({low:+.3f} to {high:+.3f}) includes zero."
            )


def summarise_ledger(ledger: pa.Table) -> dict[str, Any]:
    """Summarise what all numbers share, and how many there are."""
    first = ledger.slice(0, 1).to_pylist()[0] if ledger.num_rows else {}
    return {
        "numbers": ledger.num_rows,
        "corpus_hash": first.get("corpus_hash", ""),
        "label_set": first.get("label_set", ""),
        "versions": first.get("versions", ""),
        "created": max(ledger["created"].to_pylist(), default=""),
    }


def summarise_costs(ledger: pa.Table) -> list[dict[str, Any]]:
    """Summarise each system under each protocol: seeds, folds, time and memory of its last part, and command."""
    pooled = ledger.filter((pc.field("fold") == POOLED) & (pc.field("metric") == "ua") & pc.field("seconds").is_valid())
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in pooled.to_pylist():
        one = found.setdefault(
            (row["system"], row["protocol"]), {**row, "seeds": set[int](), "seconds": 0.0, "peak_mebibytes": 0.0}
        )
        one["seeds"].add(row["seed"])
        one["seconds"] = max(one["seconds"], row["seconds"])
        one["peak_mebibytes"] = max(one["peak_mebibytes"], row["peak_mebibytes"] or 0.0)
    return [found[key] for key in sorted(found)]
