"""The process: its end with its parent, its memory, its device, its random seeds."""

import ctypes
import math
import multiprocessing
import os
import threading
import time
import zlib
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import wait

import numpy as np
import torch


def end_with_parent() -> None:
    """End this process when its parent ends, however that does: a parent that is killed ends none of its children."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of one's own has a parent"
    wait([parent.sentinel])
    os._exit(1)


TRIM_INTERVAL = 0.25  # seconds; each time costs some 10 ms, that in which it is taken again included


class MemoryTrimmer:
    """What glibc keeps of memory that is free; elsewhere there is nothing to give back.

    Tensors are aligned, and pieces of aligned memory that are free may not be joined again (sourceware.org, bug 30723):
    the batches of an encoder take more of it as long as they run, a gigabyte in ten minutes.

    Args:
        interval: seconds, in which it is given back once, however often that is asked for
    """

    def __init__(self, interval: float = TRIM_INTERVAL) -> None:
        self.interval = interval
        self.trimmed_at = -math.inf

    def trim(self) -> None:
        now = time.monotonic()
        if now - self.trimmed_at >= self.interval:
            self.trimmed_at = now
            load_malloc_trim()(0)


@cache
def load_malloc_trim() -> Callable[[int], int]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc: macOS, musl; Windows has no library without a name
        return lambda padding: padding


memory_trimmer = MemoryTrimmer()


def derive_seed(*parts: object) -> int:
    """A seed of 32 bits from seed, stage, epoch and so on; the same on every machine."""
    return zlib.crc32(repr(parts).encode())


def create_generator(*parts: object) -> np.random.Generator:
    return np.random.default_rng(derive_seed(*parts))


def seed_torch(*parts: object) -> None:
    """Fix what initialises weights and drops units out from here on."""
    torch.manual_seed(derive_seed(*parts))


def seed_epoch(seed: int, stage: str, epoch: int, rank: int) -> None:
    """Fix the dropout, masks and shifts of one epoch of a stage in one process, whatever was drawn before.

    From the second epoch on the first number is skipped: unbroken runs have always lost it to the data loader, and keep
    their results by that.
    """
    seed_torch(seed, stage, epoch, rank)
    if epoch > 0:
        torch.empty((), dtype=torch.int64).random_()
