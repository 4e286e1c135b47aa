"""One process at a time writes into a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from moodline.errors import MoodlineError
from moodline.training.stage import is_main_process

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder, so that no second run writes into it; a run's own further processes share it."""
    if not is_main_process():
        yield
        return
    lock = filelock.FileLock(folder / LOCK_FILE, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise MoodlineError(
            f"{folder} is being trained by another process: wait for it, or choose another -o"
        ) from None
    try:
        yield
    finally:
        lock.release()
