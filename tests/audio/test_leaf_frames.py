"""Where LEAF's frames lie on a signal, and that a batch gives what each signal gives alone."""

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.modeling import Leaf
from tests.direct_leaf import count_transform_stages, double_rounding, fast_energies, speech_like, white_noise
from tests.rounding import assert_rounded_alike


@pytest.mark.parametrize("frame", [0, 3, 9])
def test_symmetric_frames_are_centred_on_multiples_of_the_stride(frame: int) -> None:
    leaf = Leaf(filters=6).double()
    impulse = torch.zeros(10 * leaf.stride)
    impulse[frame * leaf.stride] = 1.0
    pooled = fast_energies(leaf, impulse)
    assert (pooled.argmax(dim=1) == frame).all()
    if 0 < frame < 9:
        allowed = double_rounding(leaf) * pooled.max().item()
        torch.testing.assert_close(pooled[:, frame - 1], pooled[:, frame + 1], rtol=0, atol=allowed)


def test_symmetric_frames_do_not_move_with_the_end_of_the_signal() -> None:
    leaf = Leaf(filters=6).double()
    waveform = white_noise(9000)
    whole = fast_energies(leaf, waveform)
    allowed = double_rounding(leaf) * whole.max().item()
    for samples in (4000, 4001, 4479):
        # These frames' windows, and the filters around them, end before the cut.
        frames = (samples - leaf.window) // leaf.stride + 1
        cut = fast_energies(leaf, waveform[:samples])
        torch.testing.assert_close(cut[:, :frames], whole[:, :frames], rtol=0, atol=allowed)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6000), min_size=1, max_size=4),
    excess=st.integers(0, 3000),
    padding=st.sampled_from(["symmetric", "same"]),
    stride_ms=st.sampled_from([10.0, 30.0]),
)
def test_a_batch_gives_what_each_signal_gives_alone(
    lengths: list[int], excess: int, padding: Literal["symmetric", "same"], stride_ms: float
) -> None:
    leaf = Leaf(filters=6, stride_ms=stride_ms, padding=padding)
    batch = torch.full((len(lengths), max(lengths) + excess), torch.nan)  # beyond its length nobody looks at a signal
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = speech_like(6000)[:length]
    with torch.no_grad():
        features, frames = leaf(batch, torch.tensor(lengths))
        assert features.shape[-1] == max(frames.tolist())
        for row, count, length, waveform in zip(features, frames.tolist(), lengths, batch, strict=True):
            alone, _ = leaf(waveform[None, :length])
            assert count == alone.shape[-1] == -(-length // leaf.stride)
            assert_rounded_alike(row[:, :count], alone[0], count_transform_stages(leaf) + leaf.window)
            assert (row[:, count:] == 0).all()


def test_the_shortest_signal_of_so_many_frames() -> None:
    for leaf in (Leaf(), Leaf(stride_ms=10.0)):
        shortest = leaf.count_min_samples(36)
        assert leaf.frames(torch.tensor([0, 1, shortest - 1, shortest])).tolist() == [0, 1, 35, 36]


@pytest.mark.parametrize("shape", [(0, 1000), (0, 0), (2, 0)])
def test_nothing_gives_no_frames(shape: tuple[int, int]) -> None:
    leaf = Leaf(filters=4)
    features, frames = leaf(torch.zeros(shape))
    assert features.shape == (shape[0], 4, 0)
    assert frames.tolist() == [0] * shape[0]
    features.sum().backward()
    assert all((parameter.grad == 0).all() for parameter in leaf.parameters() if parameter.grad is not None)
