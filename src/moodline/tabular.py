"""Text files and tables of other programs: encodings, cells, columns and times."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from moodline.errors import MoodlineError, join_lines
from moodline.io import build_read_error

CLOCK_PATTERN = re.compile(r"(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:[.,]\d*)?)", re.ASCII)
NUMBER_PATTERN = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# Characters of Windows-1252, such as curly quotes, that another program decoded as Latin-1: U+0092 means U+2019.
WINDOWS_1252 = {code: bytes([code]).decode("cp1252", errors="replace") for code in range(0x80, 0xA0)}

# A spreadsheet evaluates cells that begin with these as formulas, which may call programs. A leading apostrophe makes
# it display the cell instead.
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def escape_formula(cell: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would evaluate; ``restore_cell`` removes it."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def restore_cell(cell: str) -> str:
    """Remove the apostrophe of ``escape_formula``."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def read_text(path: Path) -> str:
    """Read a file's text: UTF-16 by its mark, UTF-8, or Windows-1252 in lines that are not UTF-8.

    A byte that no encoding defines becomes U+FFFD.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise build_read_error(path, error) from error
    return decode_text(data)[0]


def decode_text(data: bytes) -> tuple[str, str]:
    """Decode a file as ``read_text`` does; return the text and its encoding's name."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), "UTF-16"
    try:
        return data.decode("utf-8-sig").translate(WINDOWS_1252), "UTF-8"
    except UnicodeDecodeError:
        lines: list[str] = []
        for line in data.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True):
            try:
                lines.append(line.decode("utf-8").translate(WINDOWS_1252))
            except UnicodeDecodeError:
                lines.append(line.decode("cp1252", errors="replace"))
        return "".join(lines), "Windows-1252"


def parse_cells(text: str, delimiter: str, origin: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's last line number and its cells, without empty rows; refuse a bad quote."""
    reader, last = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 0
    try:
        for cells in reader:
            last = reader.line_num
            if any(cell.strip() for cell in cells):
                yield last, cells
    except csv.Error as error:
        line = find_open_quote(text, delimiter, last, reader.line_num)
        raise MoodlineError(
            f"{origin}:{line} has a badly quoted cell ({error}); close each quote, and double quotes within",
            code="file.bad_quote",
        ) from error


def find_open_quote(text: str, delimiter: str, last: int, line: int) -> int:
    """Find the line where the last quoted cell opens in the row after line ``last``, which is malformed at ``line``."""
    is_open, opened = False, line
    for number, content in enumerate(islice(io.StringIO(text, newline=""), last, line), start=last + 1):
        content = content.replace('""', "")  # of a cell's own, or of an empty one
        for place, sign in enumerate(content):
            if sign == '"' and (is_open or content[place - 1 : place] in ("", delimiter)):
                is_open = not is_open
                opened = number if is_open else opened
    return opened


class Row(NamedTuple):
    """A row's place (file and line), its cells by column, and why it cannot be read; empty if it can."""

    where: str
    cells: Mapping[str, Any]
    fault: str = ""


TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = (*TEXT_SUFFIXES, *JSON_SUFFIXES, ".parquet")
DELIMITERS = (",", ";", "\t")


def read_rows(path: Path, aliases: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[Row]]:
    """Read a table of one of ``TABLE_SUFFIXES``: the names of its columns, and its rows.

    ``aliases`` are the known columns, as in ``match_columns``, by which the delimiter of CSV is recognised.
    """
    if path.suffix.lower() == ".parquet":
        return read_parquet(path)
    text = read_text(path)
    if path.suffix.lower() in JSON_SUFFIXES:
        rows = list(iter_json_rows(text, str(path)))
        return list(dict.fromkeys(name for row in rows for name in row.cells)), rows
    delimiter, header = find_header(text, aliases)
    return list(dict.fromkeys(header)), list(iter_csv_rows(text, delimiter, str(path)))


def find_header(
    text: str, aliases: Mapping[str, tuple[str, ...]], delimiters: Sequence[str] = DELIMITERS
) -> tuple[str, list[str]]:
    """Find the delimiter of CSV that gives the first row the most known columns, and that row's cells."""
    headers: dict[str, list[str]] = {}
    for delimiter in delimiters:
        try:
            _, headers[delimiter] = next(parse_cells(text, delimiter, ""), (0, []))
        except MoodlineError:  # a badly quoted row
            headers[delimiter] = []
    return max(headers.items(), key=lambda one: (len(match_columns(one[1], aliases)), len(one[1])))


def iter_csv_rows(text: str, delimiter: str, origin: str) -> Iterator[Row]:
    """Yield the rows below the header; the first of two columns with one name counts."""
    lines = parse_cells(text, delimiter, origin)
    _, header = next(lines, (0, []))
    for number, cells in lines:
        where = f"{origin}:{number}"
        if any(cell.strip() for cell in cells[len(header) :]):
            fault = f"{where} has {len(cells)} cells for {len(header)} columns"
            yield Row(where, {}, f"{fault}: put words that contain a delimiter into quotes")
        else:
            pairs = list(zip(header, map(restore_cell, cells), strict=False))
            yield Row(where, dict(reversed(pairs)))


def iter_json_rows(text: str, origin: str) -> Iterator[Row]:
    """Yield a row for each line of JSON lines."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{origin}:{number}"
            try:
                content = json.loads(line)
                fault = "" if isinstance(content, dict) else f"is a {type(content).__name__}, not a JSON object"
            except (ValueError, RecursionError) as error:
                content, fault = {}, f"is not a JSON object ({error})"
            yield Row(where, {}, f"{where} {fault}: correct that line") if fault else Row(where, content)


def read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = {name: table[name].to_pylist() for name in table.column_names}
    except (OSError, ValueError, KeyError, OverflowError, pa.ArrowException) as error:
        raise MoodlineError(
            f"{path} cannot be read as Parquet: {join_lines(error)}; write it again", code="file.unreadable"
        ) from error
    rows = enumerate(zip(*columns.values(), strict=True), start=1)
    return list(columns), [Row(f"{path}, row {number}", dict(zip(columns, row, strict=True))) for number, row in rows]


def match_columns(found: Iterable[str], names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Match columns to the names that a table uses for them.

    Args:
        found: the table's names
        names: the normalised names that each column may have, the preferred one first
    """
    plain = {normalise_name(name): name for name in reversed(list(found))}  # the first of two names counts
    matches = {column: [plain[name] for name in known if name in plain] for column, known in names.items()}
    return {column: names[0] for column, names in matches.items() if names}


def normalise_name(name: str) -> str:
    """Return a name in lower case, with letters and digits only."""
    return re.sub(r"[\W_]", "", name).lower()


def parse_seconds(text: str) -> float | None:
    """Parse seconds or hours:minutes:seconds, with a decimal point or comma; None for anything else."""
    text = text.strip()
    if NUMBER_PATTERN.fullmatch(text):
        return float(text.replace(",", "."))
    clock = CLOCK_PATTERN.fullmatch(text)
    if clock is None:
        return None
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in clock.groups())
    return 3600 * hours + 60 * minutes + seconds
