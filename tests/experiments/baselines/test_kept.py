"""Features are computed once, whatever happens between."""

from collections.abc import Callable, Sequence
from pathlib import Path

import filelock
import numpy as np
import pytest
from numpy.typing import NDArray

from moodline.conversation import Utterance
from moodline.embeddings import read_embeddings
from moodline.errors import MoodlineError
from moodline.experiments import baselines
from moodline.experiments.baselines import Features, create_cached_reader, list_words

Compute = Callable[[Sequence[Utterance]], NDArray]


def features_of(key: str) -> list[float]:
    return [float(len(key)), float(ord(key[0]))]


def computing(done: list[str], at_most: int = 100) -> Compute:
    """Computes, notes what, and dies when it has computed so many."""

    def compute(utterances: Sequence[Utterance]) -> NDArray:
        if len(done) >= at_most:
            raise KeyboardInterrupt
        done.extend(list_words(utterances))
        return np.array([features_of(one.words) for one in utterances], dtype=np.float32)

    return compute


def read(path: Path, keys: Sequence[str], compute: Compute) -> Features:
    utterances = [Utterance(id=str(number), speaker="A", words=key) for number, key in enumerate(keys)]
    return create_cached_reader(path, list_words, compute)(utterances)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "features.parquet"


def test_features_come_in_the_order_of_the_keys_and_each_is_computed_once(path: Path) -> None:
    done: list[str] = []
    for keys in (["bb", "a", "bb"], ["a"], ["ccc", "bb", "ccc", "a"]):
        np.testing.assert_array_equal(read(path, keys, computing(done)), [features_of(key) for key in keys])
    assert sorted(done) == ["a", "bb", "ccc"]


def test_what_was_computed_before_a_kill_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BATCH_SIZE", 2)
    keys, done = [f"key {number}" for number in range(7)], []
    with pytest.raises(KeyboardInterrupt):
        read(path, keys, computing(done, at_most=4))
    assert len(read_embeddings(path).vectors) == 4
    read(path, keys, computing(done))
    assert sorted(done) == keys


def test_a_second_process_waits(path: Path) -> None:
    def compute(utterances: Sequence[Utterance]) -> NDArray:
        with pytest.raises(filelock.Timeout):
            other.acquire(timeout=0)
        return np.zeros((len(utterances), 2), np.float32)

    other = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    read(path, ["a"], compute)
    with other.acquire(timeout=0):
        pass


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MoodlineError) as error:
        read(tmp_path / "file" / "features.parquet", ["a"], computing([]))
    assert error.value.code == "file.not_writable"
