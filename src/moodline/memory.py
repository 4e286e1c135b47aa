"""Memory that is free in this process, given back to the system."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Give back what glibc keeps of memory that is free; elsewhere there is nothing to do.

    Tensors are aligned, and pieces of aligned memory that are free may not be joined again (sourceware.org, bug 30723):
    the batches of an encoder take more of it as long as they run, a gigabyte in ten minutes.
    """
    trim()(0)


@cache
def trim() -> Callable[[int], int]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc: macOS, musl; Windows has no library without a name
        return lambda padding: padding
