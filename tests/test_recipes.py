"""The recipes that come with moodline: the paper's sizes, and that every stage of it learns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertModel

import moodline as package
from moodline.config import AUDIO_UTTERANCE, STAGES
from moodline.modeling.model import build_stage
from moodline.recipe import parse_recipe, read_recipe
from tests.rounding import rounding
from tests.system import moodline
from tests.tiny import tiny_bert
from tests.trees import write_tree

BERT_BASE_CASED = {"vocab_size": 28_996, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two steps or more of every stage of recipes/iemocap.yaml; BERT has bert-base-cased's size and random weights."""
    place = tmp_path_factory.mktemp("paper")
    torch.manual_seed(0)
    BertModel(BertConfig(**BERT_BASE_CASED), add_pooling_layer=False).save_pretrained(place / "bert")
    AutoTokenizer.from_pretrained(tiny_bert(place / "tiny")).save_pretrained(place / "bert")
    write_tree(place / "tree")
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    two_epochs = [option for stage in STAGES for option in (f"--{stage}.training.epochs", "2")]
    encoder = ("--text_utterance.pretrained", place / "bert")
    options = ("--recipe", "iemocap", "--protocol", "session5", *encoder, *two_epochs)
    moodline("train", place / "corpus", *options, "-o", place / "run")
    return place


@pytest.mark.slow
def test_every_stage_of_the_paper_learns_at_its_sizes(trained: Any) -> None:
    model = trained / "run" / "fold-5" / "model"
    weights = {stage: load_file(model / f"{stage}.safetensors") for stage in STAGES}
    assert all(torch.isfinite(tensor).all() for tensors in weights.values() for tensor in tensors.values())
    shapes = {
        stage: {name: tuple(tensor.shape) for name, tensor in tensors.items()} for stage, tensors in weights.items()
    }
    assert shapes["audio_utterance"]["embedding.weight"] == (100, 100)
    assert shapes["audio_utterance"]["front_end.pooling.widths"] == (40,)
    assert shapes["text_utterance"]["gru.weight_ih_l0"] == (3 * 100, 4 * 768)
    assert shapes["text_utterance"]["gru.weight_ih_l1_reverse"] == (3 * 100, 2 * 100)
    assert shapes["text_utterance"]["embed.weight"] == (100, 2 * 100)
    for stage in ("audio_context", "text_context"):
        assert shapes[stage]["gru.weight_ih_l0"] == (3 * 100, 100)
        assert shapes[stage]["attention.1.map.weight"] == (100, 100)
        assert shapes[stage]["classify.weight"] == (4, 2 * 100)
    assert shapes["fusion"]["text_map.weight"] == (120, 2 * 100)
    assert shapes["fusion"]["encoder.layers.2.linear1.weight"] == (3072, 120)
    assert "encoder.layers.3.linear1.weight" not in shapes["fusion"]
    assert shapes["fusion"]["classify.weight"] == (4, 2 * 120)


@pytest.mark.slow
def test_bert_is_fine_tuned_and_the_front_end_learns(trained: Any) -> None:
    learnt = load_file(trained / "run/fold-5/model/text_utterance.safetensors")
    before = load_file(trained / "bert/model.safetensors")
    names = [name for name in before if name.startswith("encoder.layer.") and name.endswith("query.weight")]
    assert len(names) == BERT_BASE_CASED["num_hidden_layers"]
    assert all(not torch.equal(before[name], learnt[f"bert.{name}"]) for name in names)
    widths = load_file(trained / "run/fold-5/model/audio_utterance.safetensors")["front_end.pooling.widths"]
    assert not torch.equal(widths, torch.full_like(widths, widths[0].item()))


@pytest.mark.slow
def test_the_papers_model_loads_and_predicts(trained: Any) -> None:
    from moodline.corpora.corpus import read_corpus

    predictor = package.load(trained / "run/fold-5/model")
    conversation = read_corpus(trained / "corpus").conversations[-1]
    for one in predictor.predict(conversation).utterances:
        assert np.isclose(sum(one.probabilities.values()), 1, atol=rounding(2 * len(one.probabilities)))
        assert one.label == max(one.probabilities, key=lambda name: one.probabilities[name])


@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_one(path: Path) -> None:
    content, found = read_recipe(path.stem)
    assert found.resolve() == path.resolve() or found.read_text() == path.read_text()
    assert set(parse_recipe(content, str(path)).stages) == set(STAGES)


def test_ten_milliseconds_is_all_that_differs_from_the_paper() -> None:
    paper, finer = (parse_recipe(read_recipe(name)[0], name) for name in ("iemocap", "iemocap-10ms"))
    assert finer.audio_utterance.stride_ms == 10
    assert replace(finer, audio_utterance=replace(finer.audio_utterance, stride_ms=30)) == paper


def test_what_a_step_of_speech_at_10_ms_keeps_fits_into_memory() -> None:
    """The tensors kept for the backward pass: they grow with the seconds of a batch, so that two short ones tell."""
    recipe = parse_recipe(read_recipe("iemocap-10ms")[0], "iemocap-10ms")
    part = build_stage(AUDIO_UTTERANCE, recipe, 4).train()
    two, four = (kept_for_backward(part, seconds * recipe.audio_utterance.sample_rate) for seconds in (2, 4))
    assert 0 < (four - two) / 2 * recipe.audio_utterance.batch_seconds < 3 * 2**30


def kept_for_backward(part: nn.Module, samples: int) -> int:
    """Bytes, of one utterance."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        encoding = part(torch.randn(1, samples))  # holds the graph, and so what it keeps
    assert encoding.logits.requires_grad
    return sum(kept.values())
