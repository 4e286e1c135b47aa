"""Files of tables to records: CSV, JSON lines or Parquet, by the file's ending; what a cell means is not known here."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.corpora.columns import recognised
from moodline.corpora.validation import Faults
from moodline.delimited import cells_of, text_of
from moodline.errors import MoodlineError

DELIMITERS = (",", ";", "\t")

Record = tuple[str, Mapping[str, Any]]  # file and line, and the cells by their columns' names in the table


def read_delimited(path: Path, faults: Faults) -> tuple[list[str], list[Record]]:
    """CSV: the delimiter is the comma, semicolon or tab by which most columns of the first row are known."""
    text = text_of(path)
    delimiter = max(DELIMITERS, key=lambda one: known_columns(text, one))
    lines = cells_of(text, delimiter, str(path))
    _, header = next(lines, (0, []))
    records: list[Record] = []
    for number, cells in lines:
        where = f"{path}:{number}"
        if any(cell.strip() for cell in cells[len(header) :]):
            faults.add(
                where,
                f"a row has no more cells than there are columns: {where} has {len(cells)} for {len(header)}; "
                "put words with a delimiter in them into quotes",
            )
        else:
            pairs = list(zip(header, cells, strict=False))
            records.append((where, dict(reversed(pairs))))  # of two columns of one name the first
    return list(dict.fromkeys(header)), records


def known_columns(text: str, delimiter: str) -> tuple[int, int]:
    """How many columns there are by a delimiter: known ones, and all."""
    try:
        _, header = next(cells_of(text, delimiter, ""), (0, []))
    except MoodlineError:
        return 0, 0
    return len(recognised(header)), len(header)


def read_json_lines(path: Path, faults: Faults) -> tuple[list[str], list[Record]]:
    records: list[Record] = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.add(where, f"each line is one JSON object: {where} is none ({error}); correct that line")
            continue
        if isinstance(content, dict):
            records.append((where, content))
        else:
            faults.add(
                where, f"each line is one JSON object: {where} is a {type(content).__name__}; write an object a line"
            )
    return list(dict.fromkeys(name for _, content in records for name in content)), records


def read_parquet(path: Path, faults: Faults) -> tuple[list[str], list[Record]]:
    try:
        table = pq.read_table(path)
        columns = {name: table[name].to_pylist() for name in table.column_names}
    except (OSError, ValueError, KeyError, OverflowError, pa.ArrowException) as error:
        raise MoodlineError(
            f"{path} cannot be read as Parquet: {' '.join(str(error).split())}; write it again"
        ) from error
    rows = zip(*columns.values(), strict=True)
    return list(columns), [
        (f"{path}, row {number}", dict(zip(columns, values, strict=True)))
        for number, values in enumerate(rows, start=1)
    ]


FORMATS: Mapping[str, Callable[[Path, Faults], tuple[list[str], list[Record]]]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), read_json_lines),
    ".parquet": read_parquet,
}
