"""Features are computed once, whatever happens between."""

from collections.abc import Callable, Sequence
from pathlib import Path

import filelock
import numpy as np
import pytest
from numpy.typing import NDArray

from moodline.embeddings import read_embeddings
from moodline.errors import MoodlineError
from moodline.experiments import baseline_features
from moodline.experiments.baseline_features import compute_cached_features, lock_file


def features_of(key: str) -> list[float]:
    return [float(len(key)), float(ord(key[0]))]


def computing(keys: Sequence[str], done: list[str], at_most: int = 100) -> Callable[[Sequence[int]], NDArray]:
    """Computes, notes what, and dies when it has computed so many."""

    def compute(places: Sequence[int]) -> NDArray:
        if len(done) >= at_most:
            raise KeyboardInterrupt
        done.extend(keys[place] for place in places)
        return np.array([features_of(keys[place]) for place in places], dtype=np.float32)

    return compute


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "features.parquet"


def test_features_come_in_the_order_of_the_keys_and_each_is_computed_once(path: Path) -> None:
    done: list[str] = []
    for keys in (["bb", "a", "bb"], ["a"], ["ccc", "bb", "ccc", "a"]):
        found = compute_cached_features(path, keys, computing(keys, done))
        np.testing.assert_array_equal(found, [features_of(key) for key in keys])
    assert sorted(done) == ["a", "bb", "ccc"]


def test_what_was_computed_before_a_kill_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline_features, "BATCH_SIZE", 2)
    keys, done = [f"key {number}" for number in range(7)], []
    with pytest.raises(KeyboardInterrupt):
        compute_cached_features(path, keys, computing(keys, done, at_most=4))
    assert len(read_embeddings(path).vectors) == 4
    compute_cached_features(path, keys, computing(keys, done))
    assert sorted(done) == keys


def test_a_second_process_waits(path: Path) -> None:
    with lock_file(path), pytest.raises(filelock.Timeout):
        filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0).acquire()
    with lock_file(path):
        pass


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MoodlineError, match="cannot be written"):
        compute_cached_features(tmp_path / "file" / "features.parquet", ["a"], computing(["a"], []))
