"""What the baselines read of an utterance."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import opensmile
import pytest
import soundfile
import torch
from transformers import AutoTokenizer, BertModel

from moodline.audio import io
from moodline.config import Recipe, TextUtteranceConfig
from moodline.conversation import Utterance
from moodline.embeddings import read_embeddings
from moodline.errors import MoodlineError
from moodline.experiments.baselines import BASELINES, select_baselines
from tests.rounding import assert_rounded_alike, count_operations
from tests.tiny import tiny_bert

EGEMAPS, SENTENCES = BASELINES["egemaps"], BASELINES["sentence_embeddings"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """one.wav, two.wav and copy.wav, the first again; and a tiny BERT."""
    place = tmp_path_factory.mktemp("readers")
    time = np.arange(16000) / 16000
    for name, pitch in (("one", 140.0), ("two", 220.0)):
        tone = sum(np.sin(2 * np.pi * pitch * partial * time) / partial for partial in range(1, 12))
        soundfile.write(place / f"{name}.wav", 0.1 * tone * (0.6 + 0.4 * np.sin(20 * time)), 16000)
    (place / "copy.wav").write_bytes((place / "one.wav").read_bytes())
    tiny_bert(place / "bert")
    return place


def spoken(path: Path, name: str = "turn", **times: float) -> Utterance:
    clip = replace(io.inspect_file(path), **times)
    return Utterance(id=name, speaker="ann", words="yes", audio=clip)


def said(*words: str) -> list[Utterance]:
    return [Utterance(id=f"turn {number}", speaker="ann", words=one) for number, one in enumerate(words)]


def test_functionals_are_opensmiles_of_the_file(place: Path, tmp_path: Path) -> None:
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    expected = np.concatenate([smile.process_file(place / f"{name}.wav").to_numpy() for name in ("two", "one")])
    found = EGEMAPS.reader(Recipe(), tmp_path)([spoken(place / "two.wav"), spoken(place / "one.wav")])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.shape == (2, 88)


def test_a_recording_is_known_by_its_content_and_times_not_by_its_name(place: Path, tmp_path: Path) -> None:
    read = EGEMAPS.reader(Recipe(), tmp_path)
    part = spoken(place / "one.wav", offset=0.25, duration=0.5)
    rows = np.asarray(read([spoken(place / "one.wav"), spoken(place / "copy.wav", "other"), part]))
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])
    (file,) = tmp_path.glob("*.parquet")
    assert len(read_embeddings(file).vectors) == 2
    hashed = replace(spoken(place / "one.wav"), audio=replace(part.audio, file_hash="another"))  # replaced in its place
    read([hashed])
    assert len(read_embeddings(file).vectors) == 3


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.1])
def test_however_short_a_turn_is_its_functionals_are_numbers(place: Path, tmp_path: Path, seconds: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = np.asarray(EGEMAPS.reader(Recipe(), tmp_path)([spoken(place / "one.wav", duration=seconds)]))
    assert found.shape == (1, 88)
    assert np.isfinite(found).all()


def test_a_turn_without_audio_is_named(tmp_path: Path) -> None:
    with pytest.raises(MoodlineError) as error:
        EGEMAPS.reader(Recipe(), tmp_path)(said("yes"))
    assert error.value.code == "experiment.missing_audio"
    assert "turn 0" in str(error.value)


def test_without_opensmile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(MoodlineError) as error:
        EGEMAPS.reader(Recipe(), tmp_path)
    assert error.value.code == "experiment.missing_package"
    assert "moodline[reproduce]" in str(error.value)


def test_baselines_are_chosen_by_their_keys() -> None:
    assert [one.key for one in select_baselines(None)] == list(BASELINES)
    assert [one.key for one in select_baselines("tf_idf, egemaps,tf_idf")] == ["tf_idf", "egemaps"]
    with pytest.raises(MoodlineError) as error:
        select_baselines("tf_idf,svm")
    assert error.value.code == "experiment.unknown_baseline"
    assert all(one in str(error.value) for one in ("'svm'", *BASELINES))


@torch.no_grad()
def test_sentence_embeddings_are_the_mean_of_berts_last_layer(place: Path, tmp_path: Path) -> None:
    words = ["i am so happy", "no", "", "not sad ! yes ?"]
    recipe = Recipe(text_utterance=TextUtteranceConfig(pretrained=str(place / "bert")))
    found = SENTENCES.reader(recipe, tmp_path)(said(*words))
    bert, tokenizer = BertModel.from_pretrained(place / "bert"), AutoTokenizer.from_pretrained(place / "bert")
    operations = count_operations(bert) + 24  # the mean over the tokens
    for row, text in zip(np.asarray(found), words, strict=True):  # alone: nothing is padded
        expected = bert.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
        assert_rounded_alike(row, expected, operations)


def test_another_bert_has_a_file_of_its_own(place: Path, tmp_path: Path) -> None:
    for maximum in (24, 5):
        text = TextUtteranceConfig(pretrained=str(place / "bert"), maximum_tokens=maximum)
        SENTENCES.reader(Recipe(text_utterance=text), tmp_path)(said("i am so happy yes"))
    vectors = [next(iter(read_embeddings(file).vectors.values())) for file in tmp_path.glob("*.parquet")]
    assert len(vectors) == 2
    assert not torch.equal(*vectors)


def test_a_bert_that_is_not_there_is_told(tmp_path: Path) -> None:
    recipe = Recipe(text_utterance=TextUtteranceConfig(pretrained=str(tmp_path / "none")))
    with pytest.raises(MoodlineError) as error:
        SENTENCES.reader(recipe, tmp_path)
    assert str(tmp_path / "none") in str(error.value)
