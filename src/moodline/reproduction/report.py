"""Filled tables and their ledger -> one HTML page that needs nothing beside it, fit to go with a paper."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from moodline.evaluation.figures.estimates import difference_figure, score_figure
from moodline.evaluation.report import environment
from moodline.evaluation.scores import FEWEST_CONVERSATIONS
from moodline.files import write_text
from moodline.reproduction.filled import FilledRow, FilledTable
from moodline.reproduction.ledger import POOLED
from moodline.reproduction.render import DIFFERENCES, NOTE, NUMBERS, bold_rows, chance_of, differences_of, notes_of

REPORT_FILE = "report.html"


def write_report(tables: Sequence[FilledTable], ledger: pa.Table, out: Path) -> None:
    """Write the page into ``out``; tables of which nothing is done yet are left out, and named."""
    shown = [table for table in tables if any(row.measures for row in table.rows)]
    page = (
        environment("moodline.reproduction")
        .get_template("ledger.html.jinja")
        .render(
            tables=[section_of(table) for table in shown],
            waiting=[table.table.name for table in tables if table not in shown],
            of=facts_of(ledger),
            systems=costs_of(ledger),
            columns=NUMBERS,
            difference_columns=DIFFERENCES,
            note=NOTE,
        )
    )
    write_text(out / REPORT_FILE, page)


def section_of(table: FilledTable) -> dict[str, Any]:
    """What the page shows of a table."""
    key = f"{table.table.key}-{table.table.protocol}"
    done = [row for row in table.rows if row.measures]
    return {
        "id": f"table-{key}",
        "name": table.table.name,
        "columns": table.table.columns,
        "rows": bold_rows(table),
        "differences": differences_of(table),
        "chance": chance_of(table),
        "notes": notes_of(table),
        "selections": [*selections_of(done)],
        "findings": [*findings_of(table)],
        "figure": Markup(
            score_figure(
                f"scores-{key}",
                table.table.name,
                [{name: asdict(row.measures[name]) for name in ("ua", "wa")} for row in done],
                [row.title for row in done],
            )
        ),
        "difference_figure": Markup(
            difference_figure(
                f"differences-{key}",
                f"{table.table.name}: differences",
                [{name: asdict(getattr(pair.comparison, name)) for name in ("ua", "wa")} for pair in table.pairs],
                [(pair.one.title, pair.other.title) for pair in table.pairs],
            )
        )
        if table.pairs
        else None,
    }


def selections_of(rows: Sequence[FilledRow]) -> Iterator[str]:
    """Which row of each choice validation selected, and whether it is that of the highest UA."""
    for row in rows:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if row.selected:
            best = max(rivals, key=lambda one: one.measures["ua"].value)
            told = "the highest UA of the test is its too" if best is row else f"the highest UA is that of {best.title}"
            yield f"Selected: {row.title}, of the lowest validation loss of {len(rivals)} rows; {told}."


def findings_of(table: FilledTable) -> Iterator[str]:
    """Each difference in words: clear where its interval leaves out zero."""
    for pair in table.pairs:
        estimate = pair.comparison.ua
        if estimate.interval is None:
            continue
        low, high = estimate.interval
        if pair.comparison.is_clear:
            what = "above" if estimate.value > 0 else "below"
            yield f"{pair.one.title} is clearly {what} {pair.other.title} in UA ({low:+.3f} to {high:+.3f})."
        elif pair.comparison.conversations < FEWEST_CONVERSATIONS:
            yield (
                f"{pair.comparison.conversations} conversations are too few to tell whether {pair.one.title} and "
                f"{pair.other.title} differ in UA."
            )
        else:
            yield (
                f"{pair.one.title} is not clearly apart from {pair.other.title} in UA: the interval of the difference "
                f"({low:+.3f} to {high:+.3f}) includes zero."
            )


def facts_of(ledger: pa.Table) -> dict[str, Any]:
    """What all numbers have in common, and how many there are."""
    first = ledger.slice(0, 1).to_pylist()[0] if ledger.num_rows else {}
    return {
        "numbers": ledger.num_rows,
        "corpus_hash": first.get("corpus_hash", ""),
        "label_set": first.get("label_set", ""),
        "versions": first.get("versions", ""),
        "created": max(ledger["created"].to_pylist(), default=""),
    }


def costs_of(ledger: pa.Table) -> list[dict[str, Any]]:
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
