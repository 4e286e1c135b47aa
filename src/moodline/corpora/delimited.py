"""Files of rows of text: their characters, their delimiter, their cells by line, and times as people write them."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from moodline.errors import MoodlineError

CLOCK = re.compile(r"(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:[.,]\d*)?)", re.ASCII)
NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# Windows-1252's own characters, such as curly quotes, that a program took for Latin-1: U+0092 is meant as U+2019.
MISTAKEN = {code: bytes([code]).decode("cp1252", errors="replace") for code in range(0x80, 0xA0)}


def text_of(path: Path) -> str:
    """A file's text: UTF-8 or UTF-16 by their marks, UTF-8 without one, or else Windows-1252.

    Raises:
        MoodlineError: there is no such file, or it cannot be read
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise MoodlineError(f"{path} cannot be read: {getattr(error, 'strerror', error)}; check the path") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig").translate(MISTAKEN)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def cells_of(text: str, delimiter: str, origin: str) -> Iterator[tuple[int, list[str]]]:
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


def seconds_of(text: str) -> float | None:
    """A time in seconds, from a number of them or from hours:minutes:seconds; None where it is neither.

    The decimals stand after a point or a comma.
    """
    text = text.strip()
    if NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    clock = CLOCK.fullmatch(text)
    if clock is None:
        return None
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in clock.groups())
    return 3600 * hours + 60 * minutes + seconds
