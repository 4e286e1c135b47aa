"""A disk that is full: prepare, train and evaluate stop with one sentence, and what was finished stays as it is.

A limit on the size of files stands in for the disk: a write beyond it fails in the same place, with another number.
"""

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from moodline.corpora.corpus import FAULTS_FILE, TABLE_FILE, read_corpus
from moodline.training.run import PREDICTIONS_FILE, REPORT_FILE, RESULTS_FILE
from tests.broken.cases import WHOLE
from tests.broken.model import trained
from tests.broken.talk import IemocapTree, conversation_turns
from tests.system import moodline


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def stopped(capsys: pytest.CaptureFixture[str], *arguments: object, reason: str = "File too large") -> str:
    """The one sentence that the command ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        moodline(*arguments)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written: " in line
    assert f"{reason}; free space or choose another folder" in line
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [TABLE_FILE, FAULTS_FILE])
def test_prepare_writes_a_corpus_whole_or_not_at_all(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk has no room for the first file, or for the last, a list longer than the others."""
    mute = tuple(replace(turn, sound=None) for turn in conversation_turns("Ses01F_impro09", "1", 200))
    IemocapTree().write((*WHOLE, *mute), tmp_path / "tree")
    command = ("prepare", "iemocap", tmp_path / "tree", "-o")
    moodline(*command, tmp_path / "first")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "first").iterdir()}
    assert max(sizes, key=lambda one: sizes[one]) == FAULTS_FILE
    with room_for(sizes[name] - 1):
        assert str(tmp_path / "second") in stopped(capsys, *command, tmp_path / "second")
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "first"}
    moodline(*command, tmp_path / "second")
    assert read_corpus(tmp_path / "second") == read_corpus(tmp_path / "first")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that is not evaluated."""
    place = tmp_path_factory.mktemp("full")
    trained(place, options=("--modalities", "text"))
    return place / "run"


@pytest.mark.parametrize(
    "name", ["text_context.pt", "text_context.parquet", "text_context.safetensors", "text_context.json", "README.md"]
)
def test_training_keeps_the_stages_that_are_finished(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space is left when this file of the second stage, or of the model, is written; then there is some again."""
    out, place = tmp_path / "run", run.parent
    command = ("train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", out)
    with monkeypatch.context() as full:
        full.setattr(os, "replace", no_space_for(name))
        line = stopped(capsys, *command, "--modalities", "text", reason="No space left on device")
    assert f"/{name} cannot be written" in line
    fold = out / "fold-5"
    first = ("stages/text_utterance.json", "model/text_utterance.safetensors", "embeddings/text_utterance.parquet")
    kept = {one: (fold / one).stat().st_mtime_ns for one in first}
    assert not [*out.rglob("*.part"), *out.rglob(name)]
    moodline(*command, "--modalities", "text")
    assert "text encoder: finished before" in capsys.readouterr().out
    assert {one: (fold / one).stat().st_mtime_ns for one in first} == kept
    assert contents(fold / "model") == contents(run / "fold-5/model")


def no_space_for(name: str) -> Callable[[Path, Path], None]:
    """``os.replace`` on a disk that has no room for files of this name."""
    replace = os.replace

    def replace_others(source: Path, target: Path) -> None:
        if target.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    return replace_others


@pytest.mark.slow
def test_evaluate_loses_nothing_that_is_finished(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores are written whole or not at all, first and again; the run, and the scores of before, stay."""
    finished = contents(run)
    with room_for(100):
        assert PREDICTIONS_FILE in stopped(capsys, "evaluate", run)
    assert contents(run) == finished
    moodline("evaluate", run)
    scored = contents(run)
    assert scored.keys() - finished.keys() == {PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE}
    sizes = sorted(len(scored[name]) for name in (PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE))
    for size in sizes:
        with room_for(size - 1):
            stopped(capsys, "evaluate", run)
        after = contents(run)
        assert after.keys() == scored.keys()
        assert all(after[name] == scored[name] for name in finished)
        assert after[PREDICTIONS_FILE] == scored[PREDICTIONS_FILE]
        assert same_scores(after[RESULTS_FILE], scored[RESULTS_FILE])
        assert after[REPORT_FILE].rstrip().endswith(b"</html>")


def same_scores(one: bytes, other: bytes) -> bool:
    """Results are whole and equal, but for when they were made."""
    return json.loads(one) | {"created": None} == json.loads(other) | {"created": None}
