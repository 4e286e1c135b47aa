"""What Ctrl-C says of a command that keeps what it has finished."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def going_on() -> Iterator[None]:
    """Around what goes on where it was, if the same command is given again."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        told = "interrupted; what was finished is kept, and the same command goes on from there"
        raise KeyboardInterrupt(str(interruption) or told) from None
