"""Long conversations in windows: each turn is taken once, from where it stands most centrally."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moodline.config import ENCODERS
from moodline.inference.windows import WINDOW, Window, encode_in_windows, plan_windows
from moodline.modeling.batching import Encoding
from tests.inference.tiny_models import SIZES, conversation_of, network_of, predictor_of, recipe_of
from tests.rounding import assert_rounded_alike, count_operations

SHAPES = st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))
NETWORK = network_of(recipe_of())
OPERATIONS = count_operations(NETWORK, steps=30)  # the largest window's turns


def read_of(turns: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(turns)
    return {encoder: torch.randn(turns, SIZES[encoder], generator=generator) for encoder in ENCODERS}


def alone(read: dict[str, Tensor]) -> dict[str, Encoding]:
    """The stages' results without windows."""
    turns = len(next(iter(read.values())))
    with torch.inference_mode():
        whole = NETWORK({encoder: values[None] for encoder, values in read.items()}, torch.tensor([turns]))
    return {stage: Encoding(one.embeddings[0], one.logits[0]) for stage, one in whole.items()}


def off_centre(window: Window, turn: int) -> float:
    return abs(turn - (window.start + window.stop - 1) / 2)


@given(shape=SHAPES, turns=st.integers(1, 300))
def test_every_turn_is_taken_once_from_the_window_in_which_it_is_most_central(
    shape: tuple[int, int], turns: int
) -> None:
    size, overlap = shape
    windows = plan_windows(turns, size, overlap)
    assert [turn for window in windows for turn in range(window.first, window.last)] == list(range(turns))
    for window in windows:
        assert 0 <= window.start <= window.first < window.last <= window.stop <= turns
        assert window.stop - window.start == min(size, turns)
        for turn in range(window.first, window.last):
            holding = [one for one in windows if one.start <= turn < one.stop]
            assert off_centre(window, turn) == min(off_centre(one, turn) for one in holding)


@given(shape=SHAPES, turns=st.integers(1, 300))
def test_neighbours_share_the_overlap_and_the_last_ends_with_the_conversation(
    shape: tuple[int, int], turns: int
) -> None:
    size, overlap = shape
    windows = plan_windows(turns, size, overlap)
    shared = [one.stop - other.start for one, other in pairwise(windows)]
    assert all(turns == overlap for turns in shared[:-1])
    assert not shared or overlap <= shared[-1] < size
    assert windows[-1].last == windows[-1].stop == turns


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 4), (4, 5), (4, -1)])
def test_windows_that_would_not_go_on_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"{size} turns cannot overlap by {overlap}"):
        plan_windows(9, size, overlap)


@pytest.mark.parametrize("turns", [1, 2, 30])
def test_a_conversation_of_one_window_is_read_whole_to_the_last_bit(turns: int) -> None:
    read = read_of(turns)
    expected, found = alone(read), encode_in_windows(NETWORK, read, size=30, overlap=10)
    assert list(found) == list(expected)
    for stage, encoding in found.items():
        assert torch.equal(encoding.embeddings, expected[stage].embeddings)
        assert torch.equal(encoding.logits, expected[stage].logits)


@pytest.mark.parametrize(("turns", "size", "overlap"), [(31, 30, 10), (90, 9, 3), (100, 12, 11), (40, 20, 0)])
def test_each_turn_of_a_long_one_is_what_its_window_alone_says(turns: int, size: int, overlap: int) -> None:
    read = read_of(turns)
    found = encode_in_windows(NETWORK, read, size, overlap)
    for window in plan_windows(turns, size, overlap):
        part = alone({encoder: values[window.start : window.stop] for encoder, values in read.items()})
        for stage, encoding in part.items():
            kept = encoding.logits[window.first - window.start : window.last - window.start]
            assert_rounded_alike(found[stage].logits[window.first : window.last], kept, OPERATIONS)


def test_predictions_are_made_in_windows() -> None:
    """A turn more than a window away has no influence; a turn within one has."""
    talk = conversation_of(WINDOW + 60)
    predictor = predictor_of(recipe_of(), talk)
    before = predictor.encode(talk)["fusion"].logits
    for vectors in predictor.embeddings.values():
        vectors["turn0"].add_(5)
    moved = (predictor.encode(talk)["fusion"].logits - before).abs().amax(dim=1)
    last = next(window.last for window in plan_windows(len(talk.utterances)))
    assert (moved[last:] == 0).all()
    assert (moved[:last] > 0).all()


def test_what_turns_lack_is_cut_into_windows_as_they_are() -> None:
    turns, size, overlap = 70, 20, 7
    read, generator = read_of(turns), torch.Generator().manual_seed(3)
    encoded = {encoder: torch.rand(turns, generator=generator) < 0.8 for encoder in ENCODERS}
    present = {encoder: mask & (torch.rand(turns, generator=generator) < 0.8) for encoder, mask in encoded.items()}
    masks = (encoded, present)
    found = encode_in_windows(NETWORK, read, size, overlap, *masks)
    for window in plan_windows(turns, size, overlap):
        of_window = slice(window.start, window.stop)
        cut, *cut_masks = (
            {encoder: one[None, of_window] for encoder, one in values.items()} for values in (read, *masks)
        )
        with torch.inference_mode():
            expected = NETWORK(cut, torch.tensor([size]), *cut_masks)
        for stage, encoding in expected.items():
            kept = encoding.logits[0, window.first - window.start : window.last - window.start]
            taken = found[stage].logits[window.first : window.last]
            assert taken.isnan().equal(kept.isnan())
            assert_rounded_alike(taken.nan_to_num(), kept.nan_to_num(), OPERATIONS)
    assert found["audio_context"].logits.isnan().any(dim=1).equal(~encoded["audio_utterance"])
    assert not found["fusion"].logits.isnan().any()
