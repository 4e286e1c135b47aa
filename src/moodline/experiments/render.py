"""Result tables as Markdown, LaTeX and one self-contained HTML page."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
MEASURES = {"WA": "wa", "UA": "ua", "weighted F1": "weighted_f1"}
TABLE_NOTE = (
    "In brackets: 95 % over conversations, of the mean over seeds; ± standard deviation over seeds. Selected: the "
    "lowest validation loss of its choice over the seeds that all of its rows have, once all of it is done; test "
    "scores take no part. Bold: a UA whose difference from each other row of its choice leaves out zero. Differences "
    "are paired over conversations; effect: Cohen's d over conversations. Intervals are not corrected for how many "
    "differences there are, and do not tell how far other seeds would move them."
)


def format_cells(row: ResultsRow) -> list[str]:
    """A row's cells in plain text."""
    first = [*row.row.cells[:-1], row.row.cells[-1] + (" (selected)" if row.selected else "")]
    if not row.measures:
        return [*first, *("not run" for _ in MEASURES), "", "0", "0"]
    numbers = [format_score(row, measure) for measure in MEASURES.values()]
    loss = "" if row.validation_loss is None else f"{row.validation_loss:.3f}"
    return [*first, *numbers, loss, str(row.seeds), str(len(row.folds))]


def format_score(row: ResultsRow, measure: str) -> str:
    deviation = f" ± {row.deviations[measure]:.3f}" if measure in row.deviations else ""
    return f"{row.measures[measure]}{deviation}"


def format_differences(table: ResultsTable) -> list[list[str]]:
    return [
        [
            f"{pair.one.title} minus {pair.other.title}",
            *(format_signed(getattr(pair.comparison, measure)) for measure in MEASURES.values()),
            "" if pair.comparison.effect is None else f"{pair.comparison.effect:+.2f}",
            " and ".join(map(str, dict.fromkeys(pair.seeds))),
        ]
        for pair in table.pairs
    ]


def format_signed(estimate: Estimate) -> str:
    low, high = estimate.interval or (None, None)
    return f"{estimate.value:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


def render_markdown(tables: Sequence[ResultsTable]) -> str:
    parts = [TABLE_NOTE]
    for table in tables:
        parts += [
            f"## {table.table.name}",
            render_grid([*table.table.columns, *NUMBER_COLUMNS], format_bold_rows(table)),
        ]
        parts += [*describe_chance(table), *collect_notes(table)]
        if table.pairs:
            parts.append(render_grid(DIFFERENCE_COLUMNS, format_differences(table)))
    return "\n\n".join(parts) + "\n"


def describe_chance(table: ResultsTable) -> list[str]:
    """A sentence with what every row is to be held against; none where a row says it."""
    if not table.majority:
        return []
    told = ", ".join(f"{name} {table.majority[measure]}" for name, measure in MEASURES.items())
    return [f"Always saying the most frequent class: {told}."]


def collect_notes(table: ResultsTable) -> list[str]:
    """What a reader of a table's numbers must know, and of which rows it holds."""
    rows: dict[str, list[str]] = {}
    for row in table.rows:
        for note in row.notes:
            rows.setdefault(note, []).append(row.title)
    done = sum(1 for row in table.rows if row.measures)
    own = [f"{note}." for note in table.table.notes]
    return own + [f"{'All rows' if len(those) == done else '; '.join(those)}: {note}." for note, those in rows.items()]


def format_bold_rows(table: ResultsTable) -> list[list[str]]:
    """The rows' cells; the UA that stands out is between two stars, which is bold type in Markdown."""
    at = len(table.table.columns) + list(MEASURES).index("UA")
    found = []
    for row in table.rows:
        cells = format_cells(row)
        if row.is_highlighted:
            cells[at] = f"**{cells[at]}**"
        found.append(cells)
    return found


def render_grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def render_latex(tables: Sequence[ResultsTable]) -> str:
    """Tables for booktabs."""
    return "\n".join(
        [
            *(one for table in tables for one in render_latex_table(table)),
            rf"{{\footnotesize {escape_latex(TABLE_NOTE)}\par}}",
            "",
        ]
    )


def render_latex_table(table: ResultsTable) -> list[str]:
    header = [*table.table.columns, *NUMBER_COLUMNS]
    caption = " ".join([f"{table.table.name}.", *describe_chance(table), *collect_notes(table)])
    found = [render_tabular(header, format_bold_rows(table), caption)]
    if table.pairs:
        caption = " ".join([f"{table.table.name}, differences.", *collect_notes(table)])
        found.append(render_tabular(DIFFERENCE_COLUMNS, format_differences(table), caption))
    return found


def render_tabular(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    lines = [" & ".join(map(escape_latex, line)) + r" \\" for line in (header, *rows)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escape_latex(caption)}}}",
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
    """Text for LaTeX; two stars around a cell are bold type."""
    if text.startswith("**"):
        return rf"\textbf{{{escape_latex(text[2:-2])}}}"
    return "".join(LATEX_ESCAPES.get(sign, sign) for sign in text)


REPORT_FILE = "report.html"


def write_report(tables: Sequence[ResultsTable], ledger: pa.Table, out: Path) -> None:
    """Write the page into ``out``; tables of which nothing is done yet are left out, and named."""
    shown = [table for table in tables if any(row.measures for row in table.rows)]
    page = (
        build_environment("moodline.experiments")
        .get_template("ledger.html.jinja")
        .render(
            tables=[build_section(table) for table in shown],
            waiting=[table.table.name for table in tables if table not in shown],
            of=summarise_ledger(ledger),
            systems=summarise_costs(ledger),
            columns=NUMBER_COLUMNS,
            difference_columns=DIFFERENCE_COLUMNS,
            note=TABLE_NOTE,
        )
    )
    write_text(out / REPORT_FILE, page)


def build_section(table: ResultsTable) -> dict[str, Any]:
    """What the page shows of a table."""
    key = f"{table.table.key}-{table.table.protocol}"
    done = [row for row in table.rows if row.measures]
    return {
        "id": f"table-{key}",
        "name": table.table.name,
        "columns": table.table.columns,
        "rows": format_bold_rows(table),
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
    """Which row of each choice validation selected, and whether it is that of the highest UA."""
    for row in rows:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if row.selected:
            best = max(rivals, key=lambda one: one.measures["ua"].value)
            told = "the highest UA of the test is its too" if best is row else f"the highest UA is that of {best.title}"
            yield f"Selected: {row.title}, of the lowest validation loss of {len(rivals)} rows; {told}."


def describe_findings(table: ResultsTable) -> Iterator[str]:
    """Each difference in words: clear where its interval leaves out zero."""
    for pair in table.pairs:
        estimate = pair.comparison.ua
        if estimate.interval is None:
            continue
        low, high = estimate.interval
        if pair.comparison.is_clear:
            what = "above" if estimate.value > 0 else "below"
            yield f"{pair.one.title} is clearly {what} {pair.other.title} in UA ({low:+.3f} to {high:+.3f})."
        elif pair.comparison.conversations < MIN_CONVERSATIONS:
            yield (
                f"{pair.comparison.conversations} conversations are too few to tell whether {pair.one.title} and "
                f"{pair.other.title} differ in UA."
            )
        else:
            yield (
                f"{pair.one.title} is not clearly apart from {pair.other.title} in UA: the interval of the difference "
                f"({low:+.3f} to {high:+.3f}) includes zero."
            )


def summarise_ledger(ledger: pa.Table) -> dict[str, Any]:
    """What all numbers have in common, and how many there are."""
    first = ledger.slice(0, 1).to_pylist()[0] if ledger.num_rows else {}
    return {
        "numbers": ledger.num_rows,
        "corpus_hash": first.get("corpus_hash", ""),
        "label_set": first.get("label_set", ""),
        "versions": first.get("versions", ""),
        "created": max(ledger["created"].to_pylist(), default=""),
    }


def summarise_costs(ledger: pa.Table) -> list[dict[str, Any]]:
    """Of each system under each protocol: its seeds and folds, its last part's time and memory, its commands."""
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
