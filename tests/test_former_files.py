"""Models, corpora and runs written before the files and recipe keys had today's names are read as they were.

``tests/golden/former`` was written by the last commit with the former names (tests/golden/README.md).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import moodline
from moodline.corpora.corpus import read_corpus
from moodline.training.run import read_run
from tests import system

FORMER = Path(__file__).parent / "golden" / "former"
TRANSCRIPT = """1
00:00:00,000 --> 00:00:01,200
ANN: yes i am so happy

2
00:00:01,500 --> 00:00:02,900
BEN: no
"""


@pytest.fixture
def expected() -> dict[str, list[list[float]]]:
    return json.loads((FORMER / "probabilities.json").read_text())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FORMER, tmp_path / "former"))


def test_a_former_model_labels_words_as_before(expected: dict[str, list[list[float]]]) -> None:
    turns = [
        moodline.Utterance(id=f"t{number}", speaker="AB"[number % 2], words=words)
        for number, words in enumerate(("yes i am so happy", "no", "i am not sad", "angry"))
    ]
    talk = moodline.Conversation(id="talk", utterances=tuple(turns))
    found = moodline.load(FORMER / "run" / "fold-5" / "model").predict(talk, modalities="text").utterances
    assert [list(one.probabilities.values()) for one in found] == [
        pytest.approx(row, abs=system.SAME_PROBABILITY) for row in expected["words"]
    ]


def test_a_former_model_labels_a_recording_as_before(expected: dict[str, list[list[float]]], tmp_path: Path) -> None:
    (tmp_path / "talk.srt").write_text(TRANSCRIPT)
    samples = np.sin(np.arange(48_000) ** 2 / 4e5).astype(np.float32) * 0.1
    model = moodline.load(FORMER / "run" / "fold-5" / "model")
    timeline = model.recognise(samples, sample_rate=16_000, transcript=tmp_path / "talk.srt")
    assert [list(turn.probabilities.values()) for turn in timeline.turns] == [
        pytest.approx(row, abs=system.SAME_PROBABILITY) for row in expected["recording"]
    ]


def test_a_former_corpus_is_read() -> None:
    corpus = read_corpus(FORMER / "corpus")
    assert (len(corpus.conversations), len(list(corpus.utterances))) == (5, 40)
    assert corpus.table_hash == json.loads((FORMER / "corpus" / "corpus.json").read_text())["table_hash"]


def test_a_former_run_is_finished(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its recipe has the former keys. The same command trains nothing again."""
    monkeypatch.chdir(place)
    files = {path: path.read_bytes() for path in (place / "run" / "fold-5").rglob("*.safetensors")}
    assert len(files) == 5
    times = {path: path.stat().st_mtime_ns for path in files}
    overrides = ("--audio_utterance.front_end_rate=2", "--text_utterance.bert_rate=.5")
    command = ("train", "corpus", "--recipe", "tiny.yaml", "--protocol", "session5", "-o", "run")
    system.moodline(*command, *overrides, "--text_utterance.trained_layers=2")
    assert {path: path.stat().st_mtime_ns for path in files} == times
    assert {path: path.read_bytes() for path in files} == files
    assert read_run(place / "run").is_complete("5")
