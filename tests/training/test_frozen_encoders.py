"""Frozen encoders run once: their features are kept beside the corpus, for all folds, seeds and runs."""

import json
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from moodline.config import AUDIO_UTTERANCE, FUSION, TEXT_UTTERANCE
from moodline.corpora.corpus import read_corpus
from moodline.errors import MoodlineError
from moodline.evaluation.evaluate import evaluate_model
from moodline.evaluation.leaf_figures import load_encoder
from moodline.inference import encode
from moodline.inference.feature_store import FeatureFolder, FeatureStore, hash_encoder
from moodline.inference.pipeline import load
from moodline.modeling.audio_assets import load_audio_backbone
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.text_encoder import TextEncoder, load_text_backbone
from moodline.training import fold_training
from moodline.training.run import read_run
from tests.audio.speech_encoders import build_extractor, build_model
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike
from tests.system import OPERATIONS, moodline, write_recipe
from tests.tiny import tiny_bert

FROZEN = (
    "--audio_utterance.encoder=pretrained",
    "--audio_utterance.pooling=mean_std",
    "--text_utterance.num_unfrozen_layers=0",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Path:
    """A corpus, a recipe, and a run over a frozen speech encoder and a frozen encoder of words."""
    place = tmp_path_factory.mktemp("frozen")
    moodline("prepare", "iemocap", tree, "-o", place / "corpus")
    write_recipe(place / "recipe.yaml", tiny_bert(place / "bert"))
    build_model("wavlm").save_pretrained(place / "wavlm")
    build_extractor("wavlm").save_pretrained(place / "wavlm")
    train(place, place / "run")
    return place


def train(place: Path, run: Path, *options: object, corpus: Path | None = None) -> None:
    """Train the fold of session 5."""
    moodline(
        *("train", corpus or place / "corpus", "--recipe", place / "recipe.yaml", "--protocol", "session5", "-o", run),
        *(f"--audio_utterance.pretrained={place / 'wavlm'}", *FROZEN, *options),
    )


@pytest.fixture
def extractions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of utterances of each call of a pretrained encoder."""
    found: list[int] = []
    for part in (PretrainedAudio, TextEncoder):
        extract = part.extract

        def count(self: Any, values: torch.Tensor, *others: Any, extract: Any = extract) -> Any:
            found.append(len(values))
            return extract(self, values, *others)

        monkeypatch.setattr(part, "extract", count)
    return found


def test_another_seed_a_wider_layer_and_an_evaluation_run_no_encoder_again(
    place: Path, tmp_path: Path, extractions: list[int]
) -> None:
    moodline("evaluate", place / "run")  # the test set's features are computed here
    extractions.clear()
    train(place, tmp_path / "again", "--seed=1", "--audio_utterance.layers=[1]", "--text_utterance.embedding=5")
    moodline("evaluate", tmp_path / "again")
    assert extractions == []
    assert not (tmp_path / "again/features").exists()


def test_features_of_a_corpus_that_can_only_be_read_are_read(
    place: Path, tmp_path: Path, extractions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = shutil.copytree(place / "corpus", tmp_path / "corpus")
    before = sorted(corpus.rglob("*"))
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == corpus.resolve() and mode == os.W_OK))
    train(place, tmp_path / "run", corpus=corpus)
    assert extractions == []
    assert not (tmp_path / "run/features").exists()
    train(place, tmp_path / "other", "--audio_utterance.pooling=mean", corpus=corpus)
    assert extractions
    assert list((tmp_path / "other/features").rglob("*.safetensors"))
    assert sorted(corpus.rglob("*")) == before


def test_conversations_that_trained_a_model_are_refused_before_anything_is_computed(
    place: Path, tmp_path: Path, extractions: list[int]
) -> None:
    corpus = shutil.copytree(place / "corpus", tmp_path / "corpus", ignore=shutil.ignore_patterns("features"))
    model = read_run(place / "run").get_model_folder("5")
    with refuses("evaluation.seen_conversation"):
        evaluate_model(model, corpus, tmp_path / "out", lambda *_: None)
    assert extractions == []


def test_other_pooling_is_computed_anew(place: Path, tmp_path: Path, extractions: list[int]) -> None:
    train(place, tmp_path / "run", "--modalities=audio", "--audio_utterance.pooling=mean")
    assert extractions


@pytest.mark.parametrize("option", ["--audio_utterance.pooling=attentive", "--audio_utterance.num_unfrozen_layers=1"])
def test_what_the_training_changes_is_not_kept(place: Path, tmp_path: Path, option: str) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(place / "corpus", corpus, ignore=shutil.ignore_patterns("features"))
    train(place, tmp_path / "run", "--modalities=audio", option, corpus=corpus)
    assert not (corpus / "features").exists()


def test_a_stage_taken_over_from_another_run_has_its_encoder(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "again/fold-5/model/audio").mkdir(parents=True)
    (tmp_path / "again/fold-5/model/audio/model.bin").write_bytes(b"former")
    shutil.copy(place / "run/run.json", tmp_path / "again")
    loaded = list[str]()
    load_backbone = fold_training.load_backbone
    monkeypatch.setattr(fold_training, "load_backbone", lambda *of: loaded.append(of[0]) or load_backbone(*of))
    train(place, tmp_path / "again", "--reuse", place / "run", "--fusion.layers=2")
    assert loaded == [FUSION]
    models = [read_run(run).get_model_folder("5") for run in (place / "run", tmp_path / "again")]
    found = [sorted(path.relative_to(one) for path in one.rglob("*.*")) for one in models]
    assert found[1] == found[0]
    load(models[1])


def test_a_model_predicts_the_same_with_and_without_features(place: Path) -> None:
    model = load(read_run(place / "run").get_model_folder("5"))
    conversations = read_corpus(place / "corpus").conversations[:2]
    kept = model.with_features(FeatureFolder(place / "corpus/features"), conversations)
    for one in conversations:
        for stage, encoding in model.encode(one).items():
            assert_rounded_alike(kept.encode(one)[stage].embeddings, encoding.embeddings, OPERATIONS)
            assert_rounded_alike(kept.encode(one)[stage].logits, encoding.logits, OPERATIONS)


def test_other_audio_under_the_same_name_is_computed_again(place: Path, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "tree")
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    turns = [encode.Turn(one) for one in read_corpus(tmp_path / "corpus").conversations[0].utterances]
    before = encode.name_features(AUDIO_UTTERANCE, turns)
    clip = turns[0].utterance.audio
    assert clip is not None
    samples, rate = soundfile.read(clip.path)
    soundfile.write(clip.path, np.flip(samples), rate)
    after = encode.name_features(AUDIO_UTTERANCE, turns)
    assert [one != two for one, two in zip(before, after, strict=True)] == [turn is turns[0] for turn in turns]


def test_audio_that_changed_after_prepare_is_refused_by_a_finished_run(place: Path, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "tree")
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    train(place, tmp_path / "run", corpus=tmp_path / "corpus")
    clip = next(read_corpus(tmp_path / "corpus").utterances).audio
    assert clip is not None
    content, times = clip.path.read_bytes(), clip.path.stat()
    samples, rate = soundfile.read(clip.path)
    soundfile.write(clip.path, np.flip(samples), rate)
    os.utime(clip.path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps its times
    model = read_run(tmp_path / "run").get_model_folder("5")
    for use in (
        lambda: train(place, tmp_path / "run", corpus=tmp_path / "corpus"),
        lambda: moodline("evaluate", tmp_path / "run"),
        lambda: moodline("evaluate", "--model", model, "--corpus", tmp_path / "corpus", "-o", tmp_path / "out"),
    ):
        with pytest.raises(SystemExit) as end:
            use()
        error = end.value.__context__
        assert isinstance(error, MoodlineError)
        assert (error.code, str(clip.path) in str(error)) == ("corpus.changed_audio", True)
    clip.path.write_bytes(content)  # restored, though it is newer than the table
    train(place, tmp_path / "run", corpus=tmp_path / "corpus")


def test_the_same_weights_under_another_configuration_have_features_of_their_own(place: Path, tmp_path: Path) -> None:
    def hash_speech(folder: Path) -> str:
        backbone = load_audio_backbone("pretrained", str(folder), key="audio_utterance.pretrained")
        return hash_encoder(PretrainedAudio(*backbone, classes=4), None)

    def hash_words(folder: Path) -> str:
        backbone, tokenizer = load_text_backbone(str(folder), 64)
        return hash_encoder(TextEncoder(backbone, classes=4, num_unfrozen_layers=0), tokenizer)

    for name, hash_folder in (("wavlm", hash_speech), ("bert", hash_words)):
        copied = shutil.copytree(place / name, tmp_path / name)
        assert hash_folder(copied) == hash_folder(place / name)
        config = json.loads((copied / "config.json").read_text())
        (copied / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
        assert hash_folder(copied) != hash_folder(place / name)


def test_words_are_named_with_those_before_them(place: Path) -> None:
    utterance = read_corpus(place / "corpus").conversations[0].utterances[0]
    turns = [encode.Turn(utterance), encode.Turn(utterance, ("before",))]
    assert len({*encode.name_features(TEXT_UTTERANCE, turns)}) == 2


def test_two_processes_and_a_broken_file_lose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = FeatureStore(tmp_path), FeatureStore(tmp_path)
    arrays = {name: torch.full((rows, 3), float(rows)) for name, rows in (("a", 1), ("b", 2), ("c", 4))}
    one.add({name: arrays[name] for name in "ab"})
    other.add({name: arrays[name] for name in "bc"})
    one.read_index()
    for store in (one, other, FeatureStore(tmp_path)):
        assert all(store[name].equal(values) for name, values in arrays.items())
        assert [store.get_size(name) for name in arrays] == [1, 2, 4]
        assert store.select_missing(["c", "d", "a", "d"]) == [1]
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:20])
    for _ in range(2):  # the second one does not meet them again
        assert FeatureStore(tmp_path).select_missing([*arrays]) == [0, 1, 2]
        assert len([record for record in caplog.records if record.name == "moodline"]) == 2


def test_features_are_read_a_batch_at_a_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "FEATURE_BATCH", 2)
    model = load(read_run(place / "run").get_model_folder("5"))
    (conversation,) = read_corpus(place / "corpus").conversations[:1]
    kept = model.with_features(FeatureFolder(place / "corpus/features"), [conversation])
    read, most = list[weakref.ref[torch.Tensor]](), 0
    get = FeatureStore.__getitem__

    def count(self: FeatureStore, name: str) -> torch.Tensor:
        nonlocal most
        found = get(self, name)
        read.append(weakref.ref(found))
        most = max(most, sum(one() is not None for one in read))
        return found

    monkeypatch.setattr(FeatureStore, "__getitem__", count)
    turns = encode.list_turns(conversation.utterances, model.model.recipe)
    kept.get_encoder(TEXT_UTTERANCE).encode(turns, kept.features)
    assert len(read) == len(turns) > 4
    assert most <= 4  # two batches: the one before is in use while the next one is read


def test_an_audio_file_is_hashed_once_until_it_changes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode.hash_version.cache_clear()
    hashed: list[Path] = []
    monkeypatch.setattr(encode, "hash_file", lambda path: hashed.append(path) or str(path))
    turns = [encode.Turn(one) for one in read_corpus(place / "corpus").conversations[0].utterances]
    for _ in range(2):
        encode.name_features(AUDIO_UTTERANCE, turns)
    assert len(hashed) == len({*hashed})
    encode.hash_version.cache_clear()


def test_an_interrupted_computation_resumes(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encode, "FEATURES_PER_FILE", 1)
    model = load(read_run(place / "run").get_model_folder("5")).model
    part = model.network.parts[TEXT_UTTERANCE]
    words = [one.utterances[0] for one in read_corpus(place / "corpus").conversations]
    turns = [encode.Turn(one, (str(number),)) for number, one in enumerate([*words, *words, *words])]
    assert len(turns) > encode.ENCODER_BATCH
    store = FeatureStore(tmp_path)

    def interrupt(done: int, total: int) -> None:
        if done < total:
            return
        raise KeyboardInterrupt

    encoder = encode.UtteranceEncoder(TEXT_UTTERANCE, part, model.recipe, model.tokenizer)
    with pytest.raises(KeyboardInterrupt):
        encoder.store_features(turns, store, progress=interrupt)
    left = len(FeatureStore(tmp_path).select_missing(encode.name_features(TEXT_UTTERANCE, turns)))
    assert 0 < left < len(turns)
    totals: list[int] = []
    encoder.store_features(turns, FeatureStore(tmp_path), progress=lambda done, total: totals.append(total))
    assert totals[0] == left


def test_a_model_without_leaf_has_no_picture_of_it(place: Path, tmp_path: Path) -> None:
    with refuses("model.no_leaf", "no LEAF", "audio_utterance.encoder pretrained", "(wavlm)"):
        load_encoder(read_run(place / "run").get_model_folder("5"))


def test_an_encoder_of_another_rate_reads_resampled_audio_and_training_says_so(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "wavlm", tmp_path / "telephone")
    build_extractor("wavlm", sampling_rate=8_000).save_pretrained(tmp_path / "telephone")
    options = ("--modalities=audio", f"--audio_utterance.pretrained={tmp_path / 'telephone'}")
    train(place, tmp_path / "run", *options)
    assert "reads 8000 Hz" in " ".join(capsys.readouterr().out.split())
    model = load(read_run(tmp_path / "run").get_model_folder("5"))
    part = model.model.network.parts[AUDIO_UTTERANCE]
    assert isinstance(part, PretrainedAudio)
    utterance = read_corpus(place / "corpus").conversations[0].utterances[0]
    assert utterance.audio is not None
    waveform = encode.read_waveform(utterance, 8_000)
    assert len(waveform) == pytest.approx(utterance.audio.duration * 8_000, abs=1)
    with torch.inference_mode():
        expected = part(waveform[None]).embeddings
    conversation = read_corpus(place / "corpus").conversations[0]
    found = model.encode_utterances(conversation.utterances[:1], "audio").embeddings[AUDIO_UTTERANCE]
    assert_rounded_alike(found, expected, OPERATIONS)
