import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.modeling import Leaf, LeafStream
from tests.direct_leaf import count_transform_stages, double_rounding
from tests.rounding import assert_rounded_alike

LEAF = Leaf(filters=8, stride_ms=10.0)


def signal(samples: int) -> torch.Tensor:
    envelope = 1.1 + np.sin(np.arange(samples) / 2000)
    return torch.tensor(np.random.default_rng(0).normal(scale=0.1, size=samples) * envelope, dtype=torch.float32)


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.integers(0, 6000), max_size=8))
def test_pieces_give_the_frames_of_the_whole(pieces: list[int]) -> None:
    stream = LeafStream(LEAF)
    for _ in range(2):  # one signal after the other
        whole = signal(sum(pieces))
        with torch.no_grad():
            expected, _ = LEAF(whole[None])
        parts = [stream.push(piece) for piece in whole.split(pieces)] if pieces else []
        operations = 4 * count_transform_stages(LEAF) + LEAF.window
        assert_rounded_alike(torch.cat([*parts, stream.finish()], dim=1), expected[0], operations)


def test_frames_come_as_soon_as_their_windows_are_complete() -> None:
    stream = LeafStream(LEAF)
    assert stream.push(signal(400)).shape == (8, 0)
    assert stream.push(signal(1)).shape == (8, 1)  # samples -400 ... 400
    assert stream.push(signal(160)).shape == (8, 1)


@pytest.mark.parametrize("stride_ms", [2.5, 30.0, 80.0])
@pytest.mark.parametrize("size", [1, 37, 1500])
def test_pieces_of_any_size_give_the_frames_of_the_whole_at_any_stride(stride_ms: float, size: int) -> None:
    leaf = Leaf(filters=4, sample_rate=8000, maximum_frequency=4000.0, stride_ms=stride_ms).double()
    stream, whole = LeafStream(leaf), signal(3000).double()
    with torch.no_grad():
        expected, _ = leaf(whole[None])
    parts = [stream.push(piece) for piece in whole.split(size)]
    allowed = double_rounding(leaf) * expected.abs().max().item()
    torch.testing.assert_close(torch.cat([*parts, stream.finish()], dim=1), expected[0], rtol=0, atol=allowed)


@pytest.mark.parametrize("size", [1, 1000, 50000])
def test_what_is_kept_does_not_grow(size: int) -> None:
    stream = LeafStream(LEAF)
    for _ in range(2000 // size + 2):
        stream.push(signal(size))
    kept = len(stream._samples)
    for _ in range(20):
        stream.push(signal(size))
    assert len(stream._samples) < kept + 2 * LEAF.stride
    assert kept < 4 * LEAF.window


def test_what_is_no_stream_is_refused() -> None:
    with pytest.raises(ValueError, match='padding "symmetric", received "same"'):
        LeafStream(Leaf(padding="same"))
    with pytest.raises(ValueError, match=r"\(T,\), received torch.float32 .*\(1, 100\)"):
        LeafStream(LEAF).push(torch.zeros(1, 100))
    with pytest.raises(ValueError, match=r"received torch.int16"):
        LeafStream(LEAF).push(torch.zeros(100, dtype=torch.int16))
