"""Files that people's programs write as text: their characters, cells by line, columns, and times."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moodline.errors import MoodlineError

CLOCK_PATTERN = re.compile(r"(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:[.,]\d*)?)", re.ASCII)
NUMBER_PATTERN = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# Windows-1252's own characters, such as curly quotes, that a program took for Latin-1: U+0092 is meant as U+2019.
WINDOWS_1252 = {code: bytes([code]).decode("cp1252", errors="replace") for code in range(0x80, 0xA0)}

# With these a spreadsheet takes a cell for a formula, which may read other cells and call programs; with apostrophes
# before them it shows the cell, all but the first of them.
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def harmless(cell: Any) -> Any:
    """A cell of a table that moodline writes: text that a spreadsheet would calculate gets an apostrophe before it.

    ``original`` takes it away; numbers stay as they are.
    """
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def original(cell: str) -> str:
    """A cell without the apostrophe that ``harmless`` put before it."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def read_text(path: Path) -> str:
    """A file's text: UTF-8 or UTF-16 by their marks, UTF-8 without one, or else Windows-1252.

    Raises:
        MoodlineError: there is no such file, or it cannot be read
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise MoodlineError(f"{path} cannot be read: {getattr(error, 'strerror', error)}; check the path") from error
    return decode_text(data)[0]


def decode_text(data: bytes) -> tuple[str, str]:
    """A file's text, and the name of the encoding that it is in: see ``read_text``."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), "UTF-16"
    try:
        return data.decode("utf-8-sig").translate(WINDOWS_1252), "UTF-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "Windows-1252"


def parse_cells(text: str, delimiter: str, origin: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row ends, and its cells; empty rows are passed over.

    Raises:
        MoodlineError: a quote that does not close, or that text follows
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise MoodlineError(
            f"a cell in quotes ends with its quote, and quotes within are doubled: {origin}:{reader.line_num} has not "
            f"({error}); correct that line"
        ) from error


def match_columns(found: Iterable[str], names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Column -> the name that it has in a table.

    Args:
        found: the table's names
        names: those that each column may have, without capitals and without anything but letters and digits; an
            earlier one is preferred
    """
    plain: dict[str, str] = {}
    for name in found:
        plain.setdefault(normalise_name(name), name)
    return {
        column: plain[next(name for name in known if name in plain)]
        for column, known in names.items()
        if any(name in plain for name in known)
    }


def normalise_name(name: str) -> str:
    """A column's name without capitals and without anything but letters and digits."""
    return re.sub(r"[\W_]", "", name).lower()


def parse_seconds(text: str) -> float | None:
    """A time in seconds, from a number of them or from hours:minutes:seconds; None where it is neither.

    The decimals stand after a point or a comma.
    """
    text = text.strip()
    if NUMBER_PATTERN.fullmatch(text):
        return float(text.replace(",", "."))
    clock = CLOCK_PATTERN.fullmatch(text)
    if clock is None:
        return None
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in clock.groups())
    return 3600 * hours + 60 * minutes + seconds
