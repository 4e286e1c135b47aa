"""The recipes of pretrained encoders train, with small random encoders of the same families on the hub."""

from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import moodline as package
from moodline.config import STAGES, AudioUtteranceConfig, Recipe, TextUtteranceConfig
from moodline.corpora.corpus import read_corpus
from moodline.recipe import parse_recipe, read_recipe
from tests.audio.speech_encoders import LAYERS, WIDTH, build_extractor, build_model
from tests.rounding import rounding
from tests.system import moodline
from tests.text.families import write_encoder
from tests.trees import write_tree

# By recipe: the families of its encoders.
FAMILIES = {"wavlm-roberta": ("wavlm", "roberta"), "whisper-modernbert": ("whisper", "modernbert")}
COMMIT = "c" * 40


class Trained(NamedTuple):
    recipe: Recipe
    place: Path
    audio: Path  # of the encoder on the hub
    text: Path

    @property
    def model(self) -> Path:
        return self.place / "run" / "fold-5" / "model"

    def load(self, stage: str) -> dict[str, Tensor]:
        return load_file(self.model / f"{stage}.safetensors")


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of every stage, from the cache of a hub that has the recipe's encoders at its revisions alone."""
    place = tmp_path_factory.mktemp(request.param)
    recipe = parse_recipe(read_recipe(request.param)[0], request.param)
    speech, words = FAMILIES[request.param]
    audio, text = (add_to_hub(place / "hub", one) for one in (recipe.audio_utterance, recipe.text_utterance))
    build_model(speech).save_pretrained(audio)
    build_extractor(speech).save_pretrained(audio)
    write_encoder(text, words)
    write_tree(place / "tree")
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    two_epochs = [option for stage in STAGES for option in (f"--{stage}.training.epochs", "2")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(place / "hub"))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        options = ("--recipe", request.param, "--protocol", "session5", *two_epochs)
        moodline("train", place / "corpus", *options, "-o", place / "run")
    return Trained(recipe, place, audio, text)


def add_to_hub(cache: Path, config: AudioUtteranceConfig | TextUtteranceConfig) -> Path:
    """Make the folder of an encoder in a hub's cache, empty, at the recipe's revision alone."""
    model = cache / f"models--{config.pretrained.replace('/', '--')}"
    reference = model / "refs" / (config.revision or "main")
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    folder = model / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    return folder


def test_every_stage_learns_at_the_recipes_sizes(trained: Trained) -> None:
    recipe, weights = trained.recipe, {stage: trained.load(stage) for stage in STAGES}
    assert all(tensor.isfinite().all() for tensors in weights.values() for tensor in tensors.values())
    shapes = {stage: {name: tuple(one.shape) for name, one in tensors.items()} for stage, tensors in weights.items()}
    powers = 2 if recipe.audio_utterance.pooling == "mean_std" else 1
    assert shapes["audio_utterance"]["layer_weights"] == (LAYERS + 1,)
    assert shapes["audio_utterance"]["embed.weight"] == (100, powers * WIDTH)
    assert ("gru.weight_ih_l0" in shapes["text_utterance"]) == (recipe.text_utterance.pooling == "gru")
    for stage in ("audio_context", "text_context"):
        assert shapes[stage]["gru.weight_ih_l0"] == (3 * 100, 100)
    assert shapes["fusion"]["text_map.weight"] == (120, 2 * 100)


def test_the_speech_encoder_is_frozen_and_the_weights_of_its_layers_are_not(trained: Trained) -> None:
    before, learnt = load_file(trained.audio / "model.safetensors"), trained.load("audio_utterance")
    kept = {name: tensor for name, tensor in before.items() if f"backbone.{name.removeprefix('encoder.')}" in learnt}
    assert len(kept) > LAYERS
    for name, tensor in kept.items():
        assert torch.equal(tensor, learnt[f"backbone.{name.removeprefix('encoder.')}"]), name
    assert not torch.equal(learnt["layer_weights"], torch.zeros(LAYERS + 1))


def test_the_encoder_of_words_is_fine_tuned(trained: Trained) -> None:
    before, learnt = load_file(trained.text / "model.safetensors"), trained.load("text_utterance")
    names = [name for name in before if name.endswith(("query.weight", "Wqkv.weight"))]
    assert names
    assert all(not torch.equal(before[name], learnt[f"bert.{name}"]) for name in names)


def test_the_model_predicts_without_the_hub(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(trained.place / "nothing"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    predictor: Any = package.load(trained.model)
    conversation = read_corpus(trained.place / "corpus").conversations[-1]
    for turn in predictor.predict(conversation).utterances:
        assert sum(turn.probabilities.values()) == pytest.approx(1, abs=rounding(2 * len(turn.probabilities)))
        assert turn.label == max(turn.probabilities, key=lambda name: turn.probabilities[name])


def test_context_and_fusion_are_the_papers() -> None:
    paper = parse_recipe(read_recipe("iemocap")[0], "iemocap")
    for name in FAMILIES:
        recipe = parse_recipe(read_recipe(name)[0], name)
        for stage in ("audio_context", "text_context", "fusion"):
            assert getattr(recipe, stage) == getattr(paper, stage)
