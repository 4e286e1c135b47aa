"""Print text that others wrote: lines, data, JSON and rich tables whose content cannot control the terminal."""

import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def print_line(text: object, file: TextIO | None = None) -> None:
    """Print a line for a person."""
    print(remove_controls(str(text)), file=file or sys.stdout, flush=True)


def print_data(text: str) -> None:
    """Print data: unchanged to a file or another program, without control characters to a terminal."""
    print(remove_controls(text) if sys.stdout.isatty() else text, flush=True)


def create_console(**options: Any) -> "Console":
    """Create a rich Console that reads no markup and prints no control characters of its content."""
    from rich.console import Console
    from rich.segment import Segment

    class FilteredConsole(Console):
        """Removes control characters from all text, but not from rich's own sequences."""

        def render(self, *arguments: Any, **named: Any) -> Iterator[Segment]:
            for segment in super().render(*arguments, **named):
                yield segment if segment.control else Segment(remove_controls(segment.text), segment.style)

    return FilteredConsole(markup=False, highlight=False, **options)


def dump_json(content: Any, indent: int | None = None) -> str:
    """Format JSON with its letters unescaped and its control characters escaped."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    return text if text.isprintable() else "".join(escape_control(one) if is_control(one) else one for one in text)


def flatten_text(text: str) -> str:
    """Return text as one line, with blanks in place of control characters."""
    return " ".join("".join(" " if is_control(one) else one for one in text).split())


def remove_controls(text: str) -> str:
    """Remove control characters other than line breaks and tabs."""
    return text if text.isprintable() else "".join(one for one in text if one in "\n\t" or not is_control(one))


def format_path(path: str | Path) -> str:
    """Format a path without folders of this machine: relative below the working folder, its name alone elsewhere."""
    path, here = Path(path), Path.cwd()
    if path.is_absolute() and path.is_relative_to(here) and here != Path(here.anchor):
        return str(path.relative_to(here))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def is_control(character: str) -> bool:
    """Check for Unicode's categories C: control and format characters, surrogates, private use and unassigned.

    Escape sequences begin with one, and the direction marks among them reorder the text that follows.
    """
    return unicodedata.category(character)[0] == "C"


def escape_control(character: str) -> str:
    """Escape a control character as JSON does within a string; line breaks between values stay."""
    if character == "\n":
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else json.dumps(character)[1:-1]
