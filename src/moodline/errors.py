"""Errors that a user reads, and how their sentences are worded."""

import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


class MoodlineError(Exception):
    """Report a user's mistake, or a fault in a user's file, in one sentence.

    The sentence names the fault, the value, the place (file and line, or id) and the remedy. The command line prints it
    and exits with code 2, without a traceback.

    Args:
        sentence: for a person
        code: for a program, ``area.fault`` such as ``corpus.missing_speaker``; it stays when the sentence changes
    """

    def __init__(self, sentence: str, *, code: str = "moodline.error") -> None:
        super().__init__(sentence)
        self.code = code


def join_lines(error: BaseException) -> str:
    """What another library says, all of it, in one line."""
    return " ".join(str(error).split())


def get_first_line(error: BaseException) -> str:
    """What another library says is wrong, in one line; the error's kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def format_count(number: int, noun: str) -> str:
    """``1 conversation``, ``1,023 conversations``: a number of things of a noun with a plain plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_install_hint(extra: str) -> str:
    """How one of the package's extras is installed, from a package index or in a clone."""
    return f"pip install 'moodline[{extra}]', or in a clone .venv/bin/pip install -c constraints.txt -e '.[{extra}]'"


def shown(path: str | Path) -> str:
    """A path as what is passed on may show it: below the working folder from there, elsewhere its name alone."""
    path, here = Path(path), Path.cwd()
    if path.is_absolute() and path.is_relative_to(here) and here != Path(here.anchor):
        return str(path.relative_to(here))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def is_control(sign: str) -> bool:
    """Whether a character is none that is shown: what Unicode calls control and format characters, and the unassigned.

    Escape sequences begin with one, and the marks of direction among them reorder the text that follows.
    """
    return unicodedata.category(sign)[0] == "C"


def clean(text: str) -> str:
    """Text in one line that cannot steer a terminal: control characters are blanks."""
    return " ".join("".join(" " if is_control(sign) else sign for sign in text).split())


def without_controls(text: str) -> str:
    """Text that cannot steer a terminal: control characters are left out, line breaks and tabs aside."""
    return text if text.isprintable() else "".join(one for one in text if one in "\n\t" or not is_control(one))


def say(text: object, file: TextIO | None = None) -> None:
    """Print a line for a person."""
    print(without_controls(str(text)), file=file or sys.stdout, flush=True)


def give(text: str) -> None:
    """Print data: as they are for a file or another program, and without control characters on a terminal."""
    print(without_controls(text) if sys.stdout.isatty() else text, flush=True)


def json_of(content: Any, indent: int | None = None) -> str:
    """JSON with its letters as they are and its control characters escaped, so that a terminal can show it."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    return text if text.isprintable() else "".join(escaped(one) if is_control(one) else one for one in text)


def escaped(sign: str) -> str:
    """A control character as JSON writes it within a text; the line breaks between values stay."""
    if sign == "\n":
        return sign
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else json.dumps(sign)[1:-1]


def terminal(**options: Any) -> "Console":
    """A rich Console for text that others wrote: none of it is markup, and none of it steers the terminal."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, **options)
    hook: Any = WithoutControls()  # as rich's own are, whose base class would load rich with this module
    console.push_render_hook(hook)
    return console


class WithoutControls:
    """Leaves control characters out of all that a rich Console prints, rich's own aside."""

    def process_renderables(self, renderables: Sequence[Any]) -> list[Any]:
        return [Cleaned(one) for one in renderables]


class Cleaned:
    """Something that a rich Console prints, without the control characters in its texts."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.segment import Segment

        for segment in console.render(self.content, options):
            yield segment if segment.control else Segment(without_controls(segment.text), segment.style)
