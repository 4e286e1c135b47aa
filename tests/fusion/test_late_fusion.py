"""Late fusion: Bayes' rule for modalities that are independent given the class, averaged with the fusion."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moodline.modeling.fusion import Concatenation, Fusion, HierarchicalBcLstm, LateFusion, MultimodalTransformer
from tests.rounding import assert_rounded_alike, count_operations

INPUTS, CLASSES, TURNS = 5, 4, 6
SHARES = torch.tensor([0.5, 0.3, 0.15, 0.05])
SIZES = {"classes": CLASSES, "hidden": 8, "output_dropout": 0.0, "late_fusion": True}
BOXES: dict[str, Callable[[], Fusion]] = {
    "transformer": lambda: MultimodalTransformer(INPUTS, heads=2, layers=1, feed_forward=8, dropout=0.0, **SIZES),
    "concatenation": lambda: Concatenation(INPUTS, **SIZES),
    "bc_lstm": lambda: HierarchicalBcLstm(INPUTS, **SIZES),
}


def build_late() -> LateFusion:
    late = LateFusion(INPUTS, CLASSES)
    torch.manual_seed(0)
    late.copy_contexts(nn.Linear(INPUTS, CLASSES), nn.Linear(INPUTS, CLASSES), SHARES)
    return late


def draw_turns() -> tuple[Tensor, Tensor]:
    audio, text = torch.randn(2, 1, TURNS, INPUTS, generator=torch.Generator().manual_seed(1)).unbind()
    return audio, text


def classify(layer: nn.Linear, values: Tensor) -> np.ndarray:
    """softmax(W x + b) in float64: (1, S, D) -> (S, C)."""
    weight, bias = (one.double().numpy() for one in (layer.weight, layer.bias))
    exponentials = np.exp(values[0].double().numpy() @ weight.T + bias)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@torch.no_grad()
def test_late_fusion_is_bayes_rule_for_the_modalities_that_a_turn_has() -> None:
    late, (audio, text) = build_late(), draw_turns()
    shares = SHARES.double().numpy()
    has_audio = torch.tensor([[True, True, False, False, True, False]])
    has_text = torch.tensor([[True, False, True, False, True, True]])
    found = late(audio, text, has_audio, has_text)[0].exp()
    expected = np.tile(shares, (TURNS, 1))
    for layer, values, mask in ((late.audio, audio, has_audio), (late.text, text, has_text)):
        likelihoods = classify(layer, values) / shares
        expected *= np.where(mask[0].numpy()[:, None], likelihoods, 1.0)
    expected /= expected.sum(axis=1, keepdims=True)
    # Of a logarithm's argument, which is at most e^9: its error is the probability's relative one.
    assert_rounded_alike(found, expected, 10 * (count_operations(late) + 4 * CLASSES))
    everywhere = torch.ones(1, TURNS, dtype=torch.bool)
    assert torch.equal(late(audio, text, None, None), late(audio, text, everywhere, everywhere))


@pytest.mark.parametrize("name", BOXES)
def test_the_mean_is_read_and_the_fusion_alone_trains(name: str) -> None:
    torch.manual_seed(0)
    box, (audio, text) = BOXES[name]().eval(), draw_turns()
    assert box.late_fusion is not None
    box.late_fusion.copy_contexts(nn.Linear(INPUTS, CLASSES), nn.Linear(INPUTS, CLASSES), SHARES)
    lengths = torch.tensor([TURNS])
    with torch.no_grad():
        found = box(audio, text, lengths).logits
        late = box.late_fusion(audio, text, None, None)
        box.late_fusion, kept = None, box.late_fusion
        own = box(audio, text, lengths).logits.log_softmax(-1)
        box.late_fusion = kept
    assert_rounded_alike(found, (own + late) / 2, 4)
    trained = box.train()(audio, text, lengths).logits
    assert_rounded_alike(trained.detach().log_softmax(-1), own, 10 * (count_operations(box, TURNS) + 4 * TURNS))
    trained.square().sum().backward()
    frozen = {name for name, parameter in box.named_parameters() if parameter.grad is None}
    assert frozen == {f"late_fusion.{one}.{kind}" for one in ("audio", "text") for kind in ("weight", "bias")}
