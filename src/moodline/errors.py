"""The one error that a user is meant to read."""


class MoodlineError(Exception):
    """A user's mistake, or a fault of a user's file, said in one sentence.

    The sentence names the rule, the value received, the file and line or the id it came from, and
    what to do. The command line prints it and exits with code 2; it never shows a traceback for it.
    """


def one_line(error: BaseException) -> str:
    """What another library says, all of it, in one line."""
    return " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """What another library says is wrong, in one line; the error's kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
