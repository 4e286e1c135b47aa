import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moodline.modeling.batching import Encoding
from moodline.modeling.context import BiGruAttention, SelfAttention
from tests.rounding import assert_rounded_alike, count_operations

INPUTS, HIDDEN = 5, 8


def box(self_attention: bool = True, **arguments) -> BiGruAttention:
    torch.manual_seed(0)
    model = BiGruAttention(
        INPUTS, **{"classes": 4, "hidden": HIDDEN, "self_attention": self_attention} | arguments
    ).eval()
    with torch.no_grad():  # so that attention is far from uniform
        for attention in model.attention:
            attention.map.weight.mul_(6)
    return model


def embeddings(turns: int, seed: int = 0) -> Tensor:
    return torch.randn(turns, INPUTS, generator=torch.Generator().manual_seed(seed))


def encode(model: BiGruAttention, values: Tensor, lengths: list[int]) -> Encoding:
    with torch.no_grad():
        return model(values, torch.tensor(lengths))


BOXES = {True: box(True), False: box(False)}
TURNS = 9  # the most that a test reads
OPERATIONS = count_operations(BOXES[True], TURNS)


def softmax_rows(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_self_attention_is_the_papers_equation() -> None:
    model = BOXES[True]
    values = embeddings(7)
    with torch.no_grad():
        outputs = model.gru(values[None])[0][0].double().numpy()  # (S, 2H), unpadded
    expected = []
    for attention, one in zip(model.attention, (outputs[:, :HIDDEN], outputs[:, HIDDEN:]), strict=True):
        mapped = one @ attention.map.weight.detach().double().numpy().T  # O W, as PyTorch keeps W transposed
        expected.append(softmax_rows(mapped @ mapped.T) @ one)
    encoding = encode(model, values[None], [7])
    assert_rounded_alike(encoding.embeddings[0].numpy(), np.concatenate(expected, axis=1), OPERATIONS)
    logits = torch.nn.functional.linear(encoding.embeddings, model.classify.weight, model.classify.bias)
    assert_rounded_alike(encoding.logits, logits, OPERATIONS)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), excess=st.integers(0, 3))
def test_each_turn_attends_to_a_distribution_over_the_turns(lengths: list[int], excess: int) -> None:
    torch.manual_seed(1)
    attention = SelfAttention(HIDDEN)
    size = max(lengths) + excess
    mask = torch.arange(size) < torch.tensor(lengths)[:, None]
    weights = attention.weights(3 * torch.randn(len(lengths), size, HIDDEN), mask).detach()
    for row, length in enumerate(lengths):
        assert (weights[row, :length] >= 0).all()
        assert_rounded_alike(weights[row, :length, :length].sum(dim=1), torch.ones(length), 2 * length)
        assert (weights[row, :, length:] == 0).all()


def test_the_softmax_is_over_the_turns_attended_to() -> None:
    attention = SelfAttention(2)
    torch.nn.init.eye_(attention.map.weight)
    outputs = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])  # scores [[0, 0], [0, 1]]
    weights = attention.weights(outputs, torch.ones(1, 2, dtype=torch.bool))[0]
    e = float(np.e)
    assert_rounded_alike(weights, torch.tensor([[1 / 2, 1 / 2], [1 / (1 + e), e / (1 + e)]]), OPERATIONS)


def test_without_self_attention_the_output_is_the_grus() -> None:
    model = BOXES[False]
    values = embeddings(6)[None]
    with torch.no_grad():
        outputs, _ = model.gru(values)
    assert_rounded_alike(encode(model, values, [6]).embeddings, outputs, OPERATIONS)
    assert not any("attention" in name for name, _ in model.named_parameters())
