"""What the tables show, as numbers: means over seeds and differences, which stand in no single run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.evaluation.results import Estimate
from moodline.files import atomic_file
from moodline.reproduction.filled import FilledTable
from moodline.reproduction.ledger import MEASURES

SHOWN_FILE = "tables.parquet"
SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("protocol", pa.string()),
        ("row", pa.string()),
        ("minus", pa.string()),  # the row that is taken away, of a difference; none of a score
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval over conversations
        ("high", pa.float64()),
        ("deviation", pa.float64()),  # of a score, over its seeds
        ("effect", pa.float64()),  # of a difference
        ("seeds", pa.int64()),
        ("folds", pa.list_(pa.string())),
        ("selected", pa.bool_()),
        ("bold", pa.bool_()),
        ("notes", pa.list_(pa.string())),
    ]
)


def write_shown(tables: Sequence[FilledTable], out: Path) -> None:
    rows = [row for table in tables for row in rows_of(table)]
    with atomic_file(out / SHOWN_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)


def rows_of(filled: FilledTable) -> Iterator[dict[str, Any]]:
    """The scores of a table's rows that are done, then its differences."""
    of_table = {"table": filled.table.key, "protocol": filled.table.protocol}
    for row in filled.rows:
        facts = {
            **of_table,
            "row": row.title,
            "seeds": row.seeds,
            "folds": sorted(row.folds),
            "selected": row.selected,
            "bold": row.stands_out,
            "notes": list(row.notes),
        }
        for metric, estimate in row.measures.items():
            yield facts | number(metric, estimate) | {"deviation": row.deviations.get(metric)}
    for pair in filled.pairs:
        facts = {
            **of_table,
            "row": pair.one.title,
            "minus": pair.other.title,
            "effect": pair.comparison.effect,
            "seeds": min(pair.seeds),
            "folds": sorted(pair.one.folds),
            "notes": list(dict.fromkeys([*pair.one.notes, *pair.other.notes])),
        }
        for metric in MEASURES:
            yield facts | number(metric, getattr(pair.comparison, metric))


def number(metric: str, estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval or (None, None)
    return {"metric": metric, "value": estimate.value, "low": low, "high": high}
