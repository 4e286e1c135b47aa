"""Half precision in inference: where it computes, what it refuses, and how far its probabilities are off."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import moodline
from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Recipe
from moodline.conversation import Conversation
from moodline.device import run_on_device, set_precision
from moodline.errors import MoodlineError
from moodline.inference.encode import UtteranceEncoder, list_turns
from moodline.inference.predictor import Predictor
from moodline.modeling.batching import Encoding
from moodline.modeling.model import ConversationModel
from tests.inference.tiny_models import write_model, write_talk

RATE = 16_000
UNIT_ROUNDOFF = torch.finfo(torch.bfloat16).eps / 2
# Autocast also rounds within functions, such as attention, which ``round_as_bf16`` does not see.
MORE_ROUNDINGS = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("precision")


@pytest.fixture(scope="module")
def model(place: Path) -> Path:
    return write_model(place / "plain", "both")


@pytest.fixture(scope="module")
def talk(place: Path) -> Conversation:
    return write_talk(place)


def compute_probabilities(predictor: Predictor, talk: Conversation) -> Tensor:
    """The probabilities (turns, stages, classes) of all stages."""
    turns = predictor.predict(talk).utterances
    return torch.tensor([[list(one.values()) for one in turn.by_stage.values()] for turn in turns])


def round_as_bf16(network: ConversationModel) -> ConversationModel:
    """A copy that rounds to bf16 the weights, the inputs and the results of all layers with weight matrices."""

    def rounded(value: object) -> object:
        if isinstance(value, Tensor) and value.dtype == torch.float32:
            return value.bfloat16().float()
        return value

    copied = copy.deepcopy(network)
    for layer in copied.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.RNNBase):
            for weight in layer.parameters():
                weight.data = weight.data.bfloat16().float()
            layer.register_forward_pre_hook(lambda _, inputs: tree_map(rounded, inputs))
            layer.register_forward_hook(lambda _, inputs, result: tree_map(rounded, result))
    return copied


def measure_rounding_error(model: Path, talk: Conversation) -> float:
    """The largest error of a probability if all layers round to bf16, in single precision."""
    predictor = moodline.load(model, device="cpu")
    expected = compute_probabilities(predictor, talk)
    predictor.model.network.parts = round_as_bf16(predictor.model.network).parts
    return (compute_probabilities(predictor, talk) - expected).abs().max().item()


def test_bf16_is_off_by_as_much_as_rounding_all_layers(model: Path, talk: Conversation) -> None:
    expected = compute_probabilities(moodline.load(model, device="cpu"), talk)
    predictor = moodline.load(model, device="cpu", precision="bf16")
    error = (compute_probabilities(predictor, talk) - expected).abs().max().item()
    assert 0 < error <= MORE_ROUNDINGS * measure_rounding_error(model, talk)
    assert {one.dtype for one in predictor.model.network.parameters()} == {torch.float32}
    encodings = predictor.encode(talk).values()
    assert {values.dtype for encoding in encodings for values in encoding} == {torch.float32}
    stream = predictor.stream()
    last = [stream.predict(one) for one in talk.utterances][-1]
    assert last.probabilities == pytest.approx(predictor.predict(talk).utterances[-1].probabilities, abs=error)


def test_bf16_probabilities_of_a_network_are_within_the_bound_of_its_roundings() -> None:
    """A layer rounds its weights, its input and its result, each by the unit roundoff u; its sums are in single.

    Then |dz| <= g (|W| (|x| + |dx|) + |b|) + |W| |dx| with g = (1 + u)^3 (1 + n 2^-24) - 1 for n terms; and a
    softmax's gradient has the 1-norm 2 p (1 - p) <= 1/2.
    """
    torch.manual_seed(0)
    first, second = nn.Linear(64, 32), nn.Linear(32, 4)
    network, inputs = nn.Sequential(first, nn.ReLU(), second), 2 * torch.randn(50, 64)

    def compute_error(layer: nn.Linear, values: Tensor, error: Tensor) -> Tensor:
        weight, terms = layer.weight.abs(), layer.in_features + 1
        growth = (1 + UNIT_ROUNDOFF) ** 3 * (1 + terms * 2**-24) - 1
        return growth * ((values.abs() + error) @ weight.T + layer.bias.abs()) + error @ weight.T

    with torch.inference_mode():
        expected = run_on_device(network, inputs)
        hidden = first(inputs).relu()
        bound = compute_error(second, hidden, compute_error(first, inputs, torch.zeros_like(inputs)))  # (50, 4)
        set_precision(network, "bf16")
        found = run_on_device(network, inputs)
    assert found.dtype == torch.float32
    assert (found != expected).any()
    assert ((found - expected).abs() <= bound).all()
    differences = (found.double().softmax(dim=1) - expected.double().softmax(dim=1)).abs().amax(dim=1)
    assert (differences <= bound.amax(dim=1) / 2).all()


@pytest.mark.parametrize(("precision", "code"), [("fp16", "device.no_fp16"), ("16-mixed", "option.unknown_precision")])
def test_a_precision_that_does_not_fit_the_cpu_is_refused(model: Path, precision: str, code: str) -> None:
    with pytest.raises(MoodlineError) as refused:
        moodline.load(model, device="cpu", precision=precision)  # pyright: ignore[reportArgumentType]
    assert refused.value.code == code
    assert precision in str(refused.value)


def test_a_model_in_fp16_does_not_move_to_the_cpu(model: Path) -> None:
    predictor = moodline.load(model, device="cpu")
    set_precision(predictor.model.network, "fp16")  # as on a GPU
    with pytest.raises(MoodlineError) as refused:
        predictor.to("cpu")
    assert refused.value.code == "device.no_fp16"


class Large(nn.Module):
    """Encodes lengths as numbers that are finite in single precision alone."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(1, 2)
        nn.init.constant_(self.map.weight, 2.0**16)  # fp16 ends at 65504

    def forward(self, values: Tensor, lengths: Tensor) -> Encoding:
        found = self.map(lengths[:, None].float())
        return Encoding(found, found)


def test_numbers_beyond_fp16_are_refused(talk: Conversation) -> None:
    part = Large()
    assert (
        UtteranceEncoder(AUDIO_UTTERANCE, part, Recipe(), None)
        .encode(list_turns(talk.utterances, Recipe()))
        .logits.isfinite()
        .all()
    )
    set_precision(part, "fp16")
    with pytest.raises(MoodlineError) as refused:
        UtteranceEncoder(AUDIO_UTTERANCE, part, Recipe(), None).encode(list_turns(talk.utterances, Recipe()))
    assert refused.value.code == "device.overflow"
    assert AUDIO_UTTERANCE in str(refused.value)


def test_pretrained_encoders_attend_by_one_kernel(model: Path) -> None:
    """transformers would fall back to products of its own without a word."""
    backbone: Any = moodline.load(model, device="cpu").model.network.parts[TEXT_UTTERANCE].bert
    assert backbone.config._attn_implementation == "sdpa"
