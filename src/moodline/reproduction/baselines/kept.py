"""Features that take long are computed once: for all folds and seeds, and after a kill."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

from moodline.embeddings import read_embeddings, write_embeddings
from moodline.files import unwritable

PORTION = 500  # computed between one write and the next: what a kill loses


def kept_features(
    path: Path, keys: Sequence[str], compute: Callable[[Sequence[int]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Features (N, D) by their keys, from a file of vectors; what it lacks is computed and added to it.

    Processes that share the file wait for each other, so that nothing is computed twice.

    Args:
        path: see ``moodline.embeddings``; the keys are its ids
        keys: of all that the features are a function of, N of them; the same may come twice
        compute: the features (n, D) of what has these places in ``keys``

    Raises:
        MoodlineError: the file cannot be read or written
    """
    with held(path):
        found = dict(read_embeddings(path).vectors) if path.is_file() else {}
        missing = [place for key, place in dict(zip(keys, range(len(keys)), strict=True)).items() if key not in found]
        for first in range(0, len(missing), PORTION):
            places = missing[first : first + PORTION]
            vectors = torch.from_numpy(compute(places))
            found.update(zip((keys[place] for place in places), vectors, strict=True))
            write_embeddings(path, found)
    return torch.stack([found[key] for key in keys]).numpy()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from a file meanwhile; wait for one that has it."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()
