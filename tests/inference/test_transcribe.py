"""A recording's transcript holds the turns and words that a model would read of the recording."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import moodline
from moodline.conversation import Segment
from moodline.inference import transcribe as module
from moodline.inference.pipeline import Model, load
from moodline.inference.transcribe import transcribe
from moodline.speech import asr as speech
from moodline.transcripts.formats import read_transcript, write_transcript
from tests.inference.tiny_models import write_model
from tests.refusals import refuses

RATE = 16_000
SECONDS = 5.0
TURNS = [
    Segment(start=0.096, end=1.248),
    Segment(start=1.28, end=2.496),
    Segment(start=2.4, end=3.52, speaker="channel 2"),
    Segment(start=3.616, end=SECONDS),
]


class Counting:
    """Recognises the number of samples, and no words in fewer than ``min_samples``."""

    name, version = "counting", "1"

    def __init__(self, min_samples: int = 0) -> None:
        self.min_samples = min_samples

    def recognise(self, samples: np.ndarray) -> str:
        return f"{len(samples)} samples" if len(samples) >= self.min_samples else ""


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model"), "both"))


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, round(SECONDS * RATE))
    soundfile.write(tmp_path / "talk.wav", noise, RATE)
    return tmp_path / "talk.wav"


@pytest.fixture(autouse=True)
def recogniser(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The recogniser, and ``TURNS`` instead of those of voice activity."""
    counting = Counting()
    monkeypatch.setattr(module, "detect_turns", lambda recording, channels: TURNS)
    monkeypatch.setattr(speech, "choose_recogniser", lambda named: "counting")
    monkeypatch.setattr(speech, "load_recogniser", lambda *chosen: counting)
    return counting


@pytest.mark.parametrize("ending", [".srt", ".vtt", ".TextGrid", ".json", ".csv", ".jsonl"])
def test_a_model_says_the_same_of_a_recording_and_of_it_with_its_transcript(
    predictor: Model, talk: Path, tmp_path: Path, ending: str
) -> None:
    found = transcribe(talk)
    found.write(tmp_path / f"talk{ending}")
    alone, beside = predictor.recognise(talk), predictor.recognise(talk, transcript=tmp_path / f"talk{ending}")
    assert [(turn.start, turn.end, turn.speaker, turn.words) for turn in found.turns] == [
        (turn.start, turn.end, turn.speaker, turn.words) for turn in alone.turns
    ]
    assert alone.words_from == found.words_from == "counting 1"
    assert beside.turns == alone.turns
    assert beside.words_from == f"talk{ending}"


def test_an_end_that_is_rounded_up_is_no_fault_of_the_transcript(tmp_path: Path) -> None:
    frames = round(1.0006 * RATE)
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, frames).astype(np.float32)
    write_transcript(tmp_path / "all.srt", [Segment(start=0, end=frames / RATE, words="all of it")])
    (written,) = read_transcript(tmp_path / "all.srt").turns
    assert written.end > frames / RATE
    found = transcribe(samples, sample_rate=RATE, transcript=tmp_path / "all.srt")
    assert found.turns == (replace(written, end=frames / RATE),)
    assert not found.notes


def test_words_that_a_transcript_has_are_kept_and_only_turns_without_are_recognised(talk: Path, tmp_path: Path) -> None:
    turns = [replace(TURNS[0], words="from the file"), replace(TURNS[2], words=None)]
    write_transcript(tmp_path / "half.json", turns)
    found = transcribe(talk, transcript=tmp_path / "half.json")
    assert [turn.words for turn in found.turns] == ["from the file", f"{round(1.12 * RATE)} samples"]
    assert found.words_from == "half.json, else counting 1"


def test_turns_without_words_are_noted_and_not_written(talk: Path, tmp_path: Path, recogniser: Counting) -> None:
    recogniser.min_samples = round(1.2 * RATE)
    found = transcribe(talk)
    assert [bool(turn.words) for turn in found.turns] == [False, True, False, True]
    assert found.notes == ("no words were found in 2 of 4 turns",)
    found.write(tmp_path / "talk.srt")
    assert read_transcript(tmp_path / "talk.srt").turns == (found.turns[1], found.turns[3])


def test_a_recording_without_words_gives_no_transcript(talk: Path, recogniser: Counting) -> None:
    recogniser.min_samples = 10 * RATE
    with refuses("asr.no_words", "4 turns", talk, "counting 1"):
        transcribe(talk)


def test_gaps_of_a_recording_are_noted(tmp_path: Path) -> None:
    samples = np.full((round(SECONDS * RATE), 1), 0.1, dtype=np.float32)
    samples[RATE : 2 * RATE] = np.nan
    soundfile.write(tmp_path / "damaged.wav", samples, RATE, subtype="FLOAT")
    (note,) = transcribe(tmp_path / "damaged.wav").notes
    assert note.startswith("1.000 s to 2.000 s has samples that are not finite numbers")


def test_a_file_that_holds_no_words_is_refused(talk: Path, tmp_path: Path) -> None:
    with refuses("transcript.wordless_format", ".rttm"):
        transcribe(talk).write(tmp_path / "talk.rttm")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.wav"]


def test_it_is_the_packages() -> None:
    assert moodline.transcribe is transcribe


@pytest.mark.realdata
def test_real_words_are_heard_and_come_back_from_the_file(
    shared: Path, predictor: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(speech, "choose_recogniser", lambda named: "pocketsphinx")
    recording = shared / "corpora" / "ravdess" / "03-01-01-01-01-01-01.flac"  # Kids are talking by the door
    found = transcribe(recording)
    words = " ".join(turn.words or "" for turn in found.turns)
    assert "by the door" in words
    assert found.words_from is not None
    assert found.words_from.startswith("pocketsphinx")
    found.write(tmp_path / "kids.srt")
    model = Model(predictor.model)  # the other one keeps the recogniser of the other tests
    beside = model.recognise(recording, transcript=tmp_path / "kids.srt")
    for found, own in zip(beside.turns, model.recognise(recording).turns, strict=True):
        assert (found.start, found.end) == pytest.approx((own.start, own.end), abs=1e-3)
        assert (found.speaker, found.words) == (own.speaker, own.words)


def test_each_turn_that_is_heard_is_told(talk: Path, tmp_path: Path) -> None:
    reported: list[tuple[str, int, int]] = []
    transcribe(talk, progress=lambda *one: reported.append(one))
    assert reported == [("words recognised", turns, len(TURNS)) for turns in range(len(TURNS) + 1)]
    write_transcript(tmp_path / "talk.srt", [replace(turn, words="well") for turn in TURNS])
    reported.clear()
    transcribe(talk, transcript=tmp_path / "talk.srt", progress=lambda *one: reported.append(one))
    assert reported == []  # all words are known
