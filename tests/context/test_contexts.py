"""Properties of every box that reads a conversation's utterance embeddings."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from moodline.modeling.batching import Encoding
from moodline.modeling.context import BcLstm, BiGruAttention
from tests.gradients import assert_every_weight_learns
from tests.rounding import assert_rounded_alike, count_operations

INPUTS, HIDDEN = 5, 8


def box(name: str, hidden: int = HIDDEN, classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    if name == "bc_lstm":
        model = BcLstm(INPUTS, classes=classes, hidden=hidden)
        nn.init.constant_(model.dense.bias, 0.3)  # so that no turn is cut off by the rectifier everywhere
        return model.eval()
    model = BiGruAttention(INPUTS, classes=classes, hidden=hidden, self_attention=name == "bigru_attention")
    with torch.no_grad():  # so that attention is far from uniform
        for attention in model.attention:
            attention.map.weight.mul_(6)
    return model.eval()


NAMES = ("bigru_attention", "bigru", "bc_lstm")
BOXES = {name: box(name) for name in NAMES}
TURNS = 12  # the most that a test reads
OPERATIONS = {name: count_operations(model, TURNS) + 2 * TURNS for name, model in BOXES.items()}


def embeddings(turns: int, seed: int = 0) -> Tensor:
    return torch.randn(turns, INPUTS, generator=torch.Generator().manual_seed(seed))


def encode(model: nn.Module, values: Tensor, lengths: list[int]) -> Encoding:
    with torch.no_grad():
        return model(values, torch.tensor(lengths))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), excess=st.integers(0, 20))
def test_padding_never_changes_a_result(name: str, lengths: list[int], excess: int) -> None:
    model = BOXES[name]
    batch = torch.full((len(lengths), max(lengths) + excess, INPUTS), 7.0)
    for row, length in enumerate(lengths):
        batch[row, :length] = embeddings(length, row)
    together = encode(model, batch, lengths)
    for row, length in enumerate(lengths):
        alone = encode(model, embeddings(length, row)[None], [length])
        assert_rounded_alike(together.embeddings[row, :length], alone.embeddings[0], OPERATIONS[name])
        assert_rounded_alike(together.logits[row, :length], alone.logits[0], OPERATIONS[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_turn_hears_every_other(name: str) -> None:
    model, values = BOXES[name], embeddings(5)
    expected = encode(model, values[None], [5]).embeddings[0]
    for turn in range(5):
        changed = values.clone()
        changed[turn] += 1
        differences = (encode(model, changed[None], [5]).embeddings[0] - expected).abs().amax(dim=1)
        assert differences.min() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_padding_gets_no_gradient_and_every_weight_does(name: str) -> None:
    model = box(name).train()
    values = embeddings(12).view(2, 6, INPUTS).requires_grad_()
    encoding = model(values, torch.tensor([6, 2]))
    (encoding.logits[0].square().sum() + encoding.logits[1, :2].square().sum()).backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert (values.grad[1, 2:] == 0).all()
    assert (values.grad[1, :2] != 0).any(dim=1).all()
    assert_every_weight_learns(model)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_the_arguments(name: str) -> None:
    encoding = encode(box(name, classes=6, hidden=9), embeddings(8).view(2, 4, INPUTS), [4, 3])
    assert encoding.embeddings.shape == (2, 4, 18)
    assert encoding.logits.shape == (2, 4, 6)
