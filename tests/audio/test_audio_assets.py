"""Speech encoders from folders as a hub gives them, and with a saved model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from moodline.config import AUDIO_UTTERANCE, AudioUtteranceConfig, Recipe
from moodline.conversation import IEMOCAP4, AudioClip, Utterance
from moodline.inference.encode import UtteranceEncoder, list_turns
from moodline.modeling.audio_assets import AudioBackbone, load_audio_backbone
from moodline.modeling.checkpoint import load_part, save_audio_assets, save_part, save_stage
from moodline.modeling.model import build_stage
from moodline.modeling.pretrained_audio import PretrainedAudio
from tests.audio.speech_encoders import FAMILIES, build_backbone, build_extractor, build_model, speech_like
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike, count_operations

KEY = "audio_utterance.pretrained"
RECIPE = Recipe(audio_utterance=AudioUtteranceConfig(encoder="pretrained", embedding=6, pooling="mean_std"))
LENGTHS = torch.tensor([3_000, 2_000])
WAVEFORMS = torch.stack([speech_like(3_000, 0), speech_like(3_000, 1)])


def write_folder(folder: Path, family: str, **extractor: Any) -> Path:
    """A folder as a hub gives it."""
    build_model(family).save_pretrained(folder)
    build_extractor(family, **extractor).save_pretrained(folder)
    return folder


def load(folder: Path) -> AudioBackbone:
    return load_audio_backbone("pretrained", str(folder), key=KEY)


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save_model(folder: Path, family: str) -> PretrainedAudio:
    """A trained part's files in a model folder."""
    loaded = load(write_folder(folder.with_name("hub"), family))
    torch.manual_seed(0)
    part = build_stage(AUDIO_UTTERANCE, RECIPE, len(IEMOCAP4.classes), loaded)
    assert isinstance(part, PretrainedAudio)
    save_stage(folder, AUDIO_UTTERANCE, part)
    save_audio_assets(folder, part)
    return part.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_gives_the_encoder_and_its_extractor(family: str, tmp_path: Path) -> None:
    loaded = load(write_folder(tmp_path, family))
    expected = build_backbone(family).state_dict()
    found = loaded.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].equal(weight) for name, weight in expected.items())
    assert not loaded.model.training
    assert loaded.extractor.to_dict() == build_extractor(family).to_dict()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_gives_equal_results_without_its_source(family: str, tmp_path: Path) -> None:
    part = save_model(tmp_path / "model", family)
    for path in (tmp_path / "hub").iterdir():
        path.unlink()
    again = load_part(tmp_path / "model", AUDIO_UTTERANCE, RECIPE, IEMOCAP4)
    with torch.no_grad():
        for found, expected in zip(again(WAVEFORMS, LENGTHS), part(WAVEFORMS, LENGTHS), strict=True):
            assert found.equal(expected)
    assert str(tmp_path) not in (tmp_path / "model/audio/config.json").read_text()


def test_a_part_has_no_files_of_the_encoder_that_it_replaces(tmp_path: Path) -> None:
    part = save_model(tmp_path / "model", "wavlm")
    audio = tmp_path / "model/audio"
    expected = {path.name for path in audio.iterdir()}
    for name in ("model.bin", "vocabulary.txt"):  # as faster-whisper's
        (audio / name).write_bytes(b"former")
    save_part(tmp_path / "model", AUDIO_UTTERANCE, part, None)
    assert {path.name for path in audio.iterdir()} == expected
    save_part(tmp_path / "model", AUDIO_UTTERANCE, build_stage(AUDIO_UTTERANCE, Recipe(), 4), None)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"audio_utterance.safetensors"}


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_utterances_are_read_at_the_sample_rate_of_the_extractor(rate: int, tmp_path: Path) -> None:
    part = build_stage(AUDIO_UTTERANCE, RECIPE, 4, load(write_folder(tmp_path, "wavlm", sampling_rate=rate)))
    clip = AudioClip(path=Path("clip.wav"), offset=0.0, duration=1.0, sample_rate=16_000)
    utterances = [Utterance(id=str(place), speaker="A", words="", audio=clip) for place in range(3)]
    rates: list[int] = []

    def read(utterance: Utterance, sample_rate: int) -> torch.Tensor:
        rates.append(sample_rate)
        return speech_like(1_000 + 500 * int(utterance.id))

    recipe = replace(RECIPE, audio_utterance=replace(RECIPE.audio_utterance, padding="released"))  # without effect
    found = UtteranceEncoder(AUDIO_UTTERANCE, part, recipe, read=read).encode(list_turns(utterances, recipe))
    assert rates == [rate] * 3
    with torch.no_grad():
        alone = part(speech_like(1_500)[None], torch.tensor([1_500])).embeddings
    assert_rounded_alike(found.embeddings[1:2], alone, count_operations(part) + 1_500)


@pytest.mark.parametrize(
    "config",
    [
        transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16),
        transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16),
        transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2),
    ],
    ids=lambda config: config.model_type,
)
def test_encoders_of_anything_else_are_refused(config: Any, tmp_path: Path) -> None:
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    with refuses("model.unfit_encoder", tmp_path, config.model_type, KEY):
        load(tmp_path)


def test_an_encoder_without_an_extractor_is_refused(tmp_path: Path) -> None:
    build_model("wavlm").save_pretrained(tmp_path)
    with refuses("model.unreadable_encoder", tmp_path, "it has no preprocessor_config.json", KEY):
        load(tmp_path)


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with refuses("model.unreadable_encoder", tmp_path, "it has no config.json", KEY):
        load(tmp_path)


@pytest.mark.parametrize(
    ("family", "changes", "fault"),
    [
        ("whisper", {"feature_size": 9}, "feature_size is 9"),
        ("whisper", {"chunk_length": 2}, "frames is 200"),
        ("wav2vec2-bert", {"stride": 3}, "stride is 24"),
        ("wavlm", {"feature_size": 2}, "feature_size is 2"),
        ("wavlm", {"sampling_rate": 0}, "sampling_rate is 0"),
        ("wavlm", {"sampling_rate": "fast"}, "sampling_rate is 'fast'"),
        ("wavlm", {"feature_extractor_type": "WhisperFeatureExtractor"}, "WhisperFeatureExtractor"),
    ],
)
def test_an_extractor_that_does_not_fit_is_refused(
    family: str, changes: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, family)
    rewrite(tmp_path / "preprocessor_config.json", **changes)
    with refuses("model.unfit_extractor", tmp_path, fault):
        load(tmp_path)


@pytest.mark.parametrize("content", ['{"feature_size": 1000000000}', "[]", "{", '{"sampling_rate": null}'])
def test_a_saved_extractor_that_is_broken_is_refused(content: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", "whisper")
    path = tmp_path / "model/audio/preprocessor_config.json"
    path.write_text(content)
    with refuses("model.invalid_extractor", path):
        load_part(tmp_path / "model", AUDIO_UTTERANCE, RECIPE, IEMOCAP4)


@pytest.mark.parametrize("name", ["audio/config.json", "audio/preprocessor_config.json"])
def test_a_model_without_a_file_is_refused(name: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", "wavlm")
    (tmp_path / "model" / name).unlink()
    with refuses("model.missing_file", name):
        load_part(tmp_path / "model", AUDIO_UTTERANCE, RECIPE, IEMOCAP4)


def test_a_description_larger_than_its_weights_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model", "wavlm")
    rewrite(tmp_path / "model/audio/config.json", hidden_size=2**20, num_attention_heads=2)
    with refuses("model.invalid_encoder", tmp_path / "model/audio/config.json"):
        load_part(tmp_path / "model", AUDIO_UTTERANCE, RECIPE, IEMOCAP4)
