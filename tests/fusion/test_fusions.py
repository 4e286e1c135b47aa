"""Properties of every box that reads both modalities' contextual embeddings."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from moodline.modeling.batching import Encoding
from moodline.modeling.fusion import Concatenation, HierarchicalBcLstm, MultimodalTransformer
from tests.gradients import assert_every_weight_learns
from tests.rounding import assert_rounded_alike, count_operations

INPUTS, HIDDEN = 6, 12
BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "transformer": lambda **sizes: MultimodalTransformer(INPUTS, heads=3, layers=2, feed_forward=20, **sizes),
    "concatenation": lambda **sizes: Concatenation(INPUTS, **sizes),
    "bc_lstm": lambda **sizes: HierarchicalBcLstm(INPUTS, **sizes),
}
# How wide each box's embeddings are.
WIDTHS = {"transformer": 2, "concatenation": 1, "bc_lstm": 2}


def box(name: str, hidden: int = HIDDEN, classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    model = BUILDERS[name](hidden=hidden, classes=classes).eval()
    with torch.no_grad():
        for layer in getattr(getattr(model, "encoder", None), "layers", ()):
            layer.self_attn.in_proj_weight.mul_(3)  # so that attention is far from uniform
    return model


BOXES = {name: box(name) for name in BUILDERS}
TURNS = 10  # the most that a test reads
OPERATIONS = {name: count_operations(model, TURNS) + 4 * TURNS for name, model in BOXES.items()}


def conversation(turns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Contextual embeddings of speech and of words."""
    audio, text = torch.randn(2, turns, INPUTS, generator=torch.Generator().manual_seed(seed)).unbind()
    return audio, text


def encode(model: nn.Module, audio: Tensor, text: Tensor, lengths: list[int]) -> Encoding:
    with torch.no_grad():
        return model(audio, text, torch.tensor(lengths))


def encode_one(model: nn.Module, audio: Tensor, text: Tensor) -> Encoding:
    return Encoding(*(one[0] for one in encode(model, audio[None], text[None], [len(audio)])))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("grad", [False, True])  # PyTorch has a second transformer for inference
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 10), min_size=1, max_size=5), excess=st.integers(0, 20))
def test_padding_never_changes_a_result(name: str, grad: bool, lengths: list[int], excess: int) -> None:
    model = BOXES[name]
    audio, text = torch.full((2, len(lengths), max(lengths) + excess, INPUTS), 7.0).unbind()
    for row, length in enumerate(lengths):
        audio[row, :length], text[row, :length] = conversation(length, row)
    with torch.set_grad_enabled(grad):
        together = model(audio, text, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = encode_one(model, *conversation(length, row))
        assert_rounded_alike(together.embeddings[row, :length].detach(), alone.embeddings, OPERATIONS[name])
        assert_rounded_alike(together.logits[row, :length].detach(), alone.logits, OPERATIONS[name])


@pytest.mark.parametrize("name", BUILDERS)
def test_a_turn_hears_both_modalities_of_those_turns_that_its_box_reads(name: str) -> None:
    """Concatenation reads a turn by itself; the others read the conversation."""
    audio, text = conversation(4)
    expected = encode_one(BOXES[name], audio, text).embeddings
    for turn in range(4):
        for changed in (audio, text):
            kept = changed[turn].clone()
            changed[turn] += 1
            differences = (encode_one(BOXES[name], audio, text).embeddings - expected).abs().amax(dim=1)
            changed[turn] = kept
            assert differences[turn] > 1e-5
            others = differences[torch.arange(4) != turn]
            assert (others == 0).all() if name == "concatenation" else (others > 1e-5).all()


@pytest.mark.parametrize("name", BUILDERS)
def test_modalities_are_distinguished(name: str) -> None:
    audio, text = conversation(4)
    swapped = encode_one(BOXES[name], text, audio).logits
    assert (encode_one(BOXES[name], audio, text).logits - swapped).abs().max() > 1e-2


@pytest.mark.parametrize("name", BUILDERS)
def test_padding_gets_no_gradient_and_every_weight_does(name: str) -> None:
    model = box(name).train()
    audio, text = (one.view(2, 6, INPUTS).requires_grad_() for one in conversation(12))
    logits = model(audio, text, torch.tensor([6, 2])).logits
    (logits[0].square().sum() + logits[1, :2].square().sum()).backward()
    for values in (audio, text):
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert (values.grad[1, 2:] == 0).all()
        assert (values.grad[1, :2] != 0).any(dim=1).all()
    assert_every_weight_learns(model)


@pytest.mark.parametrize("name", BUILDERS)
def test_sizes_are_the_arguments(name: str) -> None:
    model = box(name, classes=6, hidden=24)
    encoding = encode(model, *torch.randn(2, 3, 5, INPUTS).unbind(), [5, 2, 4])
    assert encoding.embeddings.shape == (3, 5, 24 * WIDTHS[name])
    assert encoding.logits.shape == (3, 5, 6)


def test_the_second_level_is_a_contextual_lstm_over_both_modalities_side_by_side() -> None:
    model, (audio, text) = BOXES["bc_lstm"], conversation(5)
    assert isinstance(model, HierarchicalBcLstm)
    with torch.no_grad():
        expected = model.level(torch.cat([audio, text], dim=1)[None], torch.tensor([5]))
    assert_rounded_alike(encode_one(model, audio, text).logits, expected.logits[0], OPERATIONS["bc_lstm"])


def test_concatenation_is_one_hidden_layer_over_both() -> None:
    model, (audio, text) = BOXES["concatenation"], conversation(5)
    weights = {name: one.detach().double() for name, one in model.named_parameters()}
    both = torch.cat([audio, text], dim=1).double()
    hidden = (both @ weights["fuse.weight"].T + weights["fuse.bias"]).clamp(min=0)
    logits = hidden @ weights["classify.weight"].T + weights["classify.bias"]
    assert_rounded_alike(encode_one(model, audio, text).logits, logits, OPERATIONS["concatenation"])


def masks_of(turns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Where speech and words are present: anywhere, but somewhere."""
    has_audio, has_text = torch.rand(2, 1, turns, generator=torch.Generator().manual_seed(seed)) < 0.5
    has_audio[0, seed % turns] = True
    return has_audio, has_text


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("grad", [False, True])
def test_with_everything_present_it_is_the_same_to_the_last_bit(name: str, grad: bool) -> None:
    audio, text = (torch.stack([one, one.flip(0)]) for one in conversation(5))
    lengths, everywhere = torch.tensor([5, 3]), torch.ones(2, 5, dtype=torch.bool)
    with torch.set_grad_enabled(grad):
        expected = BOXES[name](audio, text, lengths)
        found = BOXES[name](audio, text, lengths, everywhere, everywhere)
    assert torch.equal(found.embeddings, expected.embeddings)
    assert torch.equal(found.logits, expected.logits)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("otherwise", [7.0, torch.nan, torch.inf])
@settings(max_examples=15, deadline=None)
@given(turns=st.integers(1, 8), seed=st.integers(0, 99))
def test_what_is_absent_changes_nothing(name: str, otherwise: float, turns: int, seed: int) -> None:
    masks, lengths = masks_of(turns, seed), torch.tensor([turns])
    values = [one[None] for one in conversation(turns, seed)]
    others = [one.where(mask[..., None], otherwise) for one, mask in zip(values, masks, strict=True)]
    with torch.no_grad():
        expected, found = BOXES[name](*values, lengths, None, *masks), BOXES[name](*others, lengths, None, *masks)
    assert expected.logits.isfinite().all()
    assert torch.equal(found.embeddings, expected.embeddings)
    assert torch.equal(found.logits, expected.logits)


@pytest.mark.parametrize("name", BUILDERS)
def test_padding_never_changes_a_result_where_modalities_are_absent(name: str) -> None:
    masks, (audio, text) = masks_of(4, 3), conversation(4)
    longer = torch.full((2, 1, 9, INPUTS), 7.0)
    longer[0, 0, :4], longer[1, 0, :4] = audio, text
    wider = torch.ones(2, 1, 9, dtype=torch.bool)
    wider[:, :, :4] = torch.stack(masks)
    with torch.no_grad():
        alone = BOXES[name](audio[None], text[None], torch.tensor([4]), None, *masks)
        padded = BOXES[name](*longer, torch.tensor([4]), None, *wider)
    assert_rounded_alike(padded.logits[:, :4], alone.logits, OPERATIONS[name])
