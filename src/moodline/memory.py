"""Memory that is free in this process, given back to the system."""

import ctypes
import math
import time
from collections.abc import Callable
from functools import cache

INTERVAL = 0.25  # seconds; each time costs some 10 ms, that in which it is taken again included


class FreeMemory:
    """What glibc keeps of memory that is free; elsewhere there is nothing to give back.

    Tensors are aligned, and pieces of aligned memory that are free may not be joined again (sourceware.org, bug 30723):
    the batches of an encoder take more of it as long as they run, a gigabyte in ten minutes.

    Args:
        interval: seconds, in which it is given back once, however often that is asked for
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.given_at = -math.inf

    def give_back(self) -> None:
        now = time.monotonic()
        if now - self.given_at >= self.interval:
            self.given_at = now
            trim()(0)


@cache
def trim() -> Callable[[int], int]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc: macOS, musl; Windows has no library without a name
        return lambda padding: padding


free_memory = FreeMemory()
