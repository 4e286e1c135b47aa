"""Text files and tables of other programs: encodings, cells, columns and times."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moodline.errors import MoodlineError
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

    Raises:
        MoodlineError: the file does not exist or cannot be read
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
        return "".join(map(decode_line, data.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True))), "Windows-1252"


def decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8").translate(WINDOWS_1252)
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def parse_cells(text: str, delimiter: str, origin: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's last line number and its cells, without empty rows.

    Raises:
        MoodlineError: a quote is not closed, or text follows its end
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise MoodlineError(
            f"{origin}:{reader.line_num} has a badly quoted cell ({error}); close each quote, and double quotes within",
            code="file.bad_quote",
        ) from error


def match_columns(found: Iterable[str], names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Match columns to the names that a table uses for them.

    Args:
        found: the table's names
        names: the normalised names that each column may have, the preferred one first
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
