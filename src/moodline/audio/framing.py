"""How signals are cut into the blocks that LEAF filters, and where their frames come from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moodline.audio.energies import Layout
from moodline.audio.quadrature import OVERHANG

# A short block is mostly overlap, a long one leaves the cache: this costs least.
WINDOWS_PER_BLOCK = 24


class Run(NamedTuple):
    """Consecutive frames that are taken from consecutive blocks, from the first frame of a layout on."""

    signal: int
    first: int
    frames: int


def long_layout(window: int, stride: int) -> Layout:
    """Of the blocks that whole signals are cut into."""
    reach = 2 * (window // 2) + OVERHANG  # of a frame's nodes, and of the filters around them
    margin = -(-reach // stride)
    target = WINDOWS_PER_BLOCK * window
    candidates = range(2 * margin + 1, max(4 * margin, 2 * target // stride) + 2)
    strides = min(filter(_is_smooth, candidates), key=lambda number: abs(number * stride - target))
    return Layout(strides, margin, (strides * stride - reach - 1) // stride - margin + 1)


def edge_layout(window: int, stride: int) -> Layout:
    """Of a block for the frames whose windows reach out of one end of a signal."""
    half = window // 2
    margin, frames = -(-2 * half // stride), -(-half // stride)
    return Layout(margin + frames + -(-(2 * half + 1) // stride) - 1, margin, frames)


def _is_smooth(number: int) -> bool:
    """Whether it has no prime factor above 5: a fast size for a Fourier transform."""
    return 30**16 % number == 0


def edge_runs(
    centres: Sequence[int], lengths: Sequence[int], counts: Sequence[int], window: int, stride: int
) -> list[Run]:
    """The frames whose windows reach out of their signals, some more at times.

    Args:
        centres: of the signals' first frames, in samples.
        lengths, counts: samples and frames of the signals.
    """
    half = window // 2
    most = -(-half // stride)
    runs = []
    for signal, (centre, length, count) in enumerate(zip(centres, lengths, counts, strict=True)):
        # The first frame that is not among those at the beginning and whose window ends beyond the signal.
        last = max(most, -(-(length - half - centre) // stride))
        runs += [Run(signal, first, min(most, count - first)) for first in (0, last) if first < count]
    return runs


def cut(
    waveforms: Tensor, lengths: Sequence[int], runs: Sequence[Run], starts: Sequence[int], layout: Layout, stride: int
) -> Tensor:
    """The blocks of all runs: waveforms (B, T) -> (K, N).

    Args:
        lengths: of the signals, beyond which they count as zero.
        starts: the sample that each run's first block begins with, before the signal or in it.
    """
    size, hop = layout.strides * stride, layout.frames * stride
    blocks = [waveforms.new_empty(0, size)]
    for run, start in zip(runs, starts, strict=True):
        stop = start + (blocks_of(run, layout) - 1) * hop + size
        # Padding crops where it is negative.
        signal = waveforms[run.signal, : lengths[run.signal]]
        blocks.append(nn.functional.pad(signal, (-start, stop - len(signal))).unfold(0, size, hop))
    return torch.cat(blocks)


def blocks_of(run: Run, layout: Layout) -> int:
    """How many blocks it takes."""
    return -(-run.frames // layout.frames)


def places(counts: Sequence[int], runs: Sequence[tuple[Run, Layout]]) -> Tensor:
    """For each signal and frame, where the runs' frames have it; of several the last; -1 beyond a signal's frames.

    Returns:
        (B, F)
    """
    found = torch.full((len(counts), max(counts, default=0)), -1)
    first = 0
    for run, layout in runs:
        found[run.signal, run.first : run.first + run.frames] = torch.arange(first, first + run.frames)
        first += blocks_of(run, layout) * layout.frames
    return found
