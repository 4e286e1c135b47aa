"""What is free is given back, where the C library keeps it."""

import ctypes
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from moodline import runtime

PIECE, PIECES = 100_000, 1_000  # bytes, so few that the C library keeps each once it is free


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="free memory is kept by glibc")
def test_memory_that_is_free_between_what_is_not_is_given_back() -> None:
    pieces = [bytes(bytearray(b"x" * PIECE)) for _ in range(PIECES)]
    kept = pieces[::50]
    full = resident()
    del pieces
    runtime.MemoryTrimmer().trim()
    assert full - resident() > PIECE * PIECES * 0.8
    assert all(len(one) == PIECE for one in kept)


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_elsewhere_there_is_nothing_to_do(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str | None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", none)
    runtime.MemoryTrimmer().trim()


def test_it_is_given_back_once_in_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now, given = [0.0], []
    monkeypatch.setattr(runtime, "time", SimpleNamespace(monotonic=lambda: now[0]))
    library = SimpleNamespace(malloc_trim=lambda padding: given.append(now[0]))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    free_memory = runtime.MemoryTrimmer(interval=2)
    for now[0] in (5.0, 6.9, 7.0, 8.0, 20.0):
        free_memory.trim()
    assert given == [5, 7, 20]
