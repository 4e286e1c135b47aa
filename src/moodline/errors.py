"""The error for users' mistakes, and parts of its sentences."""

from collections.abc import Iterable, Sequence

MAX_QUOTED, MAX_QUOTES = 60, 300  # characters of a quoted value, and of several
MAX_SENTENCE, MAX_REMEDY = 2000, 400  # characters of a sentence, and of the end that stays of a longer one


class MoodlineError(Exception):
    """Report a user's mistake, or a fault in a user's file, in one sentence.

    The sentence names the fault, the value, the place (file and line, or id) and the remedy. The command line prints it
    and exits with code 2, without a traceback.

    Args:
        sentence: for a person
        code: for a program, ``area.fault`` such as ``corpus.missing_speaker``; it stays when the sentence changes
    """

    def __init__(self, sentence: str, *, code: str = "moodline.error") -> None:
        super().__init__(clean_sentence(sentence))
        self.code = code


def clean_sentence(text: str) -> str:
    """Put a sentence on one line without control characters, and cut the middle of one that quotes too much."""
    text = escape_line(text)
    return text if len(text) <= MAX_SENTENCE else f"{text[: MAX_SENTENCE - MAX_REMEDY]} ... {text[-MAX_REMEDY:]}"


def escape_line(text: str) -> str:
    """Replace line ends by spaces, and escape characters that cannot be shown, such as those of undecodable names."""
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def quote(value: object) -> str:
    """Quote a value of a file or a call in a sentence, without control characters and no longer than MAX_QUOTED."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 4]}...{text[-1]}"


def join_lines(error: BaseException) -> str:
    """Return another library's message in one line."""
    return " ".join(str(error).split())


def get_first_line(error: BaseException) -> str:
    """Return the first line of another library's message, or the error's class where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def format_count(number: int, noun: str) -> str:
    """Format a count of a noun with a regular plural: ``1 conversation``, ``1,023 conversations``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_first(items: Sequence[str], most: int = 3) -> str:
    """Format the first items of a list, and an ellipsis if there are more: ``a, b, c, ...``."""
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")


def format_quoted(values: Iterable[object], most: int = 12) -> str:
    """Quote the first of some values of a file, such as the names of its columns; see ``format_first``."""
    text = format_first([quote(value) for value in values], most)
    return text if len(text) <= MAX_QUOTES else f"{text[: MAX_QUOTES - 3]}..."


def format_option(name: str, value: str = "") -> str:
    """Name an option of the command line and of Python: ``--channels mixed (in Python channels='mixed')``."""
    python = name.replace("-", "_")
    return f"--{name} {value} (in Python {python}={value!r})" if value else f"--{name} (in Python {python})"


def format_install_hint(extra: str) -> str:
    """Format the command that installs one of the package's extras, from a package index or in a clone."""
    return f"pip install 'moodline[{extra}]', or in a clone .venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
