"""The process: ending with its parent, releasing memory, seeding random generators."""

import ctypes
import math
import multiprocessing
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch


def end_with_parent() -> None:
    """End this process when its parent ends, also when the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a child process has a parent to wait for"

    def wait_for_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


def measure_memory() -> int | None:
    """Measure the bytes of memory that this process may use; None where the system does not report them."""
    if not hasattr(os, "sysconf"):
        return None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()  # of a container
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def measure_peak_mebibytes() -> int | None:
    """Return this process's peak memory; None where the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB; macOS alone counts bytes
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))


class MemoryTrimmer:
    """Returns freed memory from glibc to the system; has no effect with other C libraries.

    glibc may not join freed pieces of aligned memory (sourceware.org, bug 30723), and tensors are aligned. Without
    trimming, an encoder's batches occupy a further gigabyte every ten minutes. Two trims are at least ``interval``
    seconds apart: each costs some 10 ms, including the later reallocation.
    """

    def __init__(self, interval: float = 0.25) -> None:
        self.interval = interval
        self.trimmed_at = -math.inf
        try:
            self.malloc_trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        except (AttributeError, OSError, TypeError):  # not glibc: macOS, musl; Windows has no library without a name
            self.malloc_trim = lambda padding: padding

    def trim(self) -> None:
        now = time.monotonic()
        if now - self.trimmed_at >= self.interval:
            self.trimmed_at = now
            self.malloc_trim(0)


memory_trimmer = MemoryTrimmer()


def derive_seed(*parts: object) -> int:
    """Derive a 32-bit seed from seed, stage, epoch and so on; it is the same on every machine."""
    return zlib.crc32(repr(parts).encode())


def create_generator(*parts: object) -> np.random.Generator:
    return np.random.default_rng(derive_seed(*parts))


def seed_torch(*parts: object) -> None:
    """Seed torch's generator, which initialises weights and draws dropout masks."""
    torch.manual_seed(derive_seed(*parts))


def seed_epoch(seed: int, stage: str, epoch: int, rank: int) -> None:
    """Seed the dropout, masks and shifts of one epoch of a stage in one process, independently of earlier draws.

    From the second epoch on, the first number is skipped: the data loader used to consume it in unbroken runs, and
    skipping it keeps their results.
    """
    seed_torch(seed, stage, epoch, rank)
    if epoch > 0:
        torch.empty((), dtype=torch.int64).random_()
