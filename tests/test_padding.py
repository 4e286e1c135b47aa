import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from moodline.modeling.batching import build_length_mask, compute_masked_mean, pad_sequences, repeat_full_length
from tests.rounding import assert_rounded_alike

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)
SHAPES = st.sampled_from([(), (3,), (2, 4)])


def sequences(lengths: list[int], shape: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, *shape, generator=generator) for length in lengths]


@given(lengths=LENGTHS, excess=st.integers(0, 3))
def test_the_mask_is_true_where_there_is_data(lengths: list[int], excess: int) -> None:
    size = max(lengths) + excess
    expected = [[place < length for place in range(size)] for length in lengths]
    assert build_length_mask(torch.tensor(lengths), size).tolist() == expected


@given(lengths=LENGTHS, shape=SHAPES)
def test_padded_sequences_begin_at_0_and_end_in_zeros(lengths: list[int], shape: tuple[int, ...]) -> None:
    originals = sequences(lengths, shape)
    padded, found = pad_sequences(originals)
    assert found.tolist() == lengths
    assert padded.shape == (len(lengths), max(lengths), *shape)
    for row, original in zip(padded, originals, strict=True):
        assert row[: len(original)].equal(original)
        assert (row[len(original) :] == 0).all()


@given(lengths=LENGTHS, shape=SHAPES)
def test_the_masked_mean_is_the_mean_of_the_data(lengths: list[int], shape: tuple[int, ...]) -> None:
    originals = sequences(lengths, shape)
    padded, found = pad_sequences(originals)
    spoilt = padded.clone()
    for row, length in zip(spoilt, lengths, strict=True):
        row[length:] = torch.nan
    expected = np.stack([original.double().numpy().mean(axis=0) for original in originals])
    operations = max(lengths) + 1  # a sum and a division
    for values in (padded, spoilt):
        assert_rounded_alike(compute_masked_mean(values, found), expected, operations)


def test_without_padding_all_lengths_are_the_size() -> None:
    assert repeat_full_length(torch.zeros(3, 7, 2)).tolist() == [7, 7, 7]
