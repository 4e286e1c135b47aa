"""Errors that a user reads, and how their sentences are worded."""


class MoodlineError(Exception):
    """A user's mistake, or a fault of a user's file, said in one sentence.

    The sentence names the rule, the value received, the file and line or the id it came from, and
    what to do. The command line prints it and exits with code 2; it never shows a traceback for it.
    """


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
