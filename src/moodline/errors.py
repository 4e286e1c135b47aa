"""The error for users' mistakes, and parts of its sentences."""

from collections.abc import Sequence


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


def format_install_hint(extra: str) -> str:
    """Format the command that installs one of the package's extras, from a package index or in a clone."""
    return f"pip install 'moodline[{extra}]', or in a clone .venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
