"""LEAF's filters, squared modulus and pooling (sections 3.1 and 3.2) in overlap-save FFT blocks (docs/leaf.md)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from moodline.device import widen
from moodline.modeling.pooling_decimation import MAX_OVERHANG

# Of spectra and of filtered signal at a time: what the cache holds goes through fastest; other devices want fewer,
# larger steps.
CHUNK_BYTES = {"cpu": 1_000_000}
ACCELERATOR_CHUNK_BYTES = 250_000_000
# More than all chunks' memory together.
MIN_TRIM_BYTES = 16_000_000


class FilterBank(NamedTuple):
    """Filters that share a step: the sampling interval of their output.

    Args:
        filters: their places among all (n,).
        first_bins: the bin of a block's spectrum at which each one's band begins, negative below zero frequency.
        response: over each one's band of M = N / step bins, unscaled (n, M).
        weights: of the samples of the energy around a frame's centre, ``rows`` strides of them (n, rows, M / strides).
        rows_before: how many of these strides begin before the centre.
    """

    filters: Tensor
    first_bins: list[int]
    response: Tensor
    weights: Tensor
    rows_before: int


class BlockLayout(NamedTuple):
    """Where a block's frames are.

    Args:
        strides: of which the block consists.
        margin: strides before the centre of the first frame.
        frames: how many.
    """

    strides: int
    margin: int
    frames: int


def compute_pooled_energies(
    blocks: Tensor, banks: Sequence[FilterBank], layout: BlockLayout, inside: Tensor | None = None
) -> Tensor:
    """Filters blocks of signal, squares the modulus and pools it around every frame's centre.

    The filters are applied by circular convolution: the caller's frames keep away from where it wraps round. Of each
    filter, only its band of the spectrum is transformed back, which gives its output at the band's rate. The filtered
    signal is never whole in memory: it is made chunk by chunk, and made again in the backward pass.

    Args:
        blocks: (K, N).
        banks: of C filters together.
        layout: of the frames.
        inside: (K, N), zero where the energy counts as zero; for banks at the full rate.

    Returns:
        (C, K, frames)
    """
    tensors: list[Tensor] = []
    for bank in banks:
        # Real and imaginary parts lie side by side and share their factors. The inverse transform's factor 1 / N is
        # taken here, once: inside, all transforms are unscaled, the forward and inverse ones each other's adjoints.
        tensors.append((bank.response / blocks.shape[1]).repeat_interleave(2, dim=-1))
        tensors.append(bank.weights.repeat_interleave(2, dim=-1))
    return _PooledEnergyFunction.apply(blocks, inside, banks, layout, *tensors)


class _PooledEnergyFunction(torch.autograd.Function):
    """Blocks (K, N); for each bank its response (n, 2M) and weights (n, rows, 2r) in pairs -> (C, K, frames)."""

    @staticmethod
    def forward(
        ctx: Any,
        blocks: Tensor,
        inside: Tensor | None,
        banks: Sequence[FilterBank],
        layout: BlockLayout,
        *tensors: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(blocks, inside, *tensors)
        chunks = _BlockChunks(blocks)
        ctx.layout, ctx.groups = layout, _group_filters(banks, chunks.budget)
        ctx.filters = torch.cat([bank.filters for bank in banks])
        pooled = blocks.new_empty(len(ctx.filters), len(blocks), layout.frames)  # bank after bank
        room = chunks.allocate_bands(ctx.groups, tensors)
        for chunk in chunks:
            spectrum = _compute_spectrum(blocks[chunk])
            for group in ctx.groups:
                response, weights = (tensor[group.members] for tensor in tensors[2 * group.bank : 2 * group.bank + 2])
                filtered = _filter_group(spectrum, group, response, inside, chunk, room)
                strides = filtered.view(len(response), -1, weights.shape[-1])  # (n, k, 2M) -> (n, k strides, 2r)
                sums = weights @ strides.square_().mT
                torch.sum(_assemble_frames(sums, layout, group.rows_before), dim=1, out=pooled[group.places, chunk])
        return pooled[ctx.filters.argsort()]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        blocks, inside, *tensors = ctx.saved_tensors
        gradient = grad_outputs[0][ctx.filters]
        of_blocks = torch.empty_like(blocks) if ctx.needs_input_grad[0] else None
        of_tensors = [torch.zeros_like(tensor) for tensor in tensors]
        chunks = _BlockChunks(blocks)
        room = chunks.allocate_bands(ctx.groups, tensors)
        for chunk in chunks:
            spectrum = _compute_spectrum(blocks[chunk])
            of_spectrum = torch.zeros_like(spectrum) if of_blocks is not None else None
            for group in ctx.groups:
                of_bank = slice(2 * group.bank, 2 * group.bank + 2)
                response, weights = (tensor[group.members] for tensor in tensors[of_bank])
                of_response, of_weights = (tensor[group.members] for tensor in of_tensors[of_bank])
                filtered = _filter_group(spectrum, group, response, inside, chunk, room)
                strides = filtered.view(len(response), -1, weights.shape[-1])  # (n, k, 2M) -> (n, k strides, 2r)
                free = room[: strides.numel()].view_as(strides)
                of_sums = strides.new_zeros(len(response), weights.shape[1], strides.shape[1])
                _assemble_frames(of_sums, ctx.layout, group.rows_before).copy_(gradient[group.places, None, chunk])
                of_weights.baddbmm_(of_sums, torch.square(strides, out=free))
                # d|z|^2 = 2 (Re z dRe z + Im z dIm z)
                strides *= torch.bmm(of_sums.mT, 2 * weights, out=free)
                of_product = _transform(filtered)
                bands = _slice_bands(spectrum, group.first_bins, response.shape[-1])
                if of_spectrum is not None:
                    of_bands = _slice_bands(of_spectrum, group.first_bins, response.shape[-1])
                    for of_band, *factors in zip(of_bands, of_product, response, strict=True):
                        of_band.addcmul_(*factors)
                for of_filter, band in zip(of_product, bands, strict=True):
                    of_filter *= band
                of_response += of_product.sum(dim=1)
            if of_blocks is not None and of_spectrum is not None:
                of_blocks[chunk] = _backpropagate_spectrum(of_spectrum)
        return of_blocks, None, None, None, *of_tensors


class _FilterGroup(NamedTuple):
    """Filters of a bank that go through together: of about as many values as one has at the full rate.

    Args:
        bank: which.
        members, places: which of the bank's filters, and of those of all banks one after the other.
        first_bins, rows_before: see Bank.
    """

    bank: int
    members: slice
    places: slice
    first_bins: list[int]
    rows_before: int


def _group_filters(banks: Sequence[FilterBank], most: int) -> list[_FilterGroup]:
    """Of at most so many numbers a block, or of one filter."""
    groups, before = [], 0
    for number, bank in enumerate(banks):
        filters, bins = bank.response.shape
        size = _split_evenly(filters, max(1, most // (2 * bins)))
        for first in range(0, filters, size):
            members = slice(first, min(first + size, filters))
            places = slice(before + members.start, before + members.stop)
            groups.append(_FilterGroup(number, members, places, bank.first_bins[members], bank.rows_before))
        before += filters
    return groups


class _BlockChunks:
    """Blocks that go through together: as many as a budget of memory holds the spectra of.

    Args:
        size: how many.
        budget: numbers a block.
    """

    def __init__(self, blocks: Tensor) -> None:
        budget = CHUNK_BYTES.get(blocks.device.type, ACCELERATOR_CHUNK_BYTES) // blocks.element_size()
        self.blocks = blocks
        self.size = _split_evenly(len(blocks), max(1, budget // (2 * blocks.shape[1])))
        self.budget = max(2 * blocks.shape[1], budget // self.size)

    def __iter__(self) -> Iterator[slice]:
        for start in range(0, len(self.blocks), self.size):
            yield slice(start, min(start + self.size, len(self.blocks)))

    def allocate_bands(self, groups: Sequence[_FilterGroup], tensors: Sequence[Tensor]) -> Tensor:
        """Memory for a group's bands, which all of them use in turn: fresh memory costs more than what is done in it.

        glibc hands memory back to the system unless it has seen a larger piece come and go; nothing is written to it.
        """
        torch.empty(MIN_TRIM_BYTES, dtype=torch.uint8)
        largest = max((group.members.stop - group.members.start) * tensors[2 * group.bank].shape[1] for group in groups)
        return self.blocks.new_empty(self.size * largest)


def _split_evenly(number: int, most: int) -> int:
    """The size of parts of about the same size, at most so large."""
    parts = max(1, -(-number // most))
    return max(1, -(-number // parts))


def _to_pairs(values: Tensor) -> Tensor:
    """Complex (..., N) -> its real and imaginary parts side by side (..., 2N)."""
    return torch.view_as_real(values).flatten(-2)


def _to_complex(pairs: Tensor) -> Tensor:
    """Real and imaginary parts side by side (..., 2N) -> complex (..., N)."""
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)))


def _compute_spectrum(blocks: Tensor) -> Tensor:
    """Blocks (k, N) -> their spectrum in pairs (k, 2N), from minus a quarter of the rate up.

    A filter's centre is between zero and half the rate, and its band half the rate wide or less: it is in one piece.

    Transformed in double precision: a loud band's rounding would lie in quiet ones, which are seen alone from here on.
    """
    size = blocks.shape[-1]
    positive = torch.fft.rfft(widen(blocks)).to(blocks.dtype.to_complex())
    below = positive[..., 1 : size // 4 + 1].flip(-1).conj()
    above = positive[..., 1 : (size + 1) // 2].flip(-1).conj()
    return _to_pairs(torch.cat([below, positive, above], dim=-1)[..., :size])


def _backpropagate_spectrum(of_spectrum: Tensor) -> Tensor:
    """The adjoint of ``_compute_spectrum``: (k, 2N) -> (k, N)."""
    of_spectrum = _to_complex(of_spectrum)
    return torch.fft.ifft(of_spectrum.roll(-(of_spectrum.shape[-1] // 4), dims=-1), norm="forward").real


def _transform(pairs: Tensor) -> Tensor:
    return _to_pairs(torch.fft.fft(_to_complex(pairs)))


def _slice_bands(spectrum: Tensor, first_bins: Sequence[int], size: int) -> list[Tensor]:
    """Each filter's band (k, size) of a spectrum in pairs (k, 2N)."""
    lowest = -(spectrum.shape[-1] // 2 // 4)
    return [spectrum.narrow(1, 2 * (first_bin - lowest), size) for first_bin in first_bins]


def _filter_group(
    spectrum: Tensor, group: _FilterGroup, response: Tensor, inside: Tensor | None, chunk: slice, room: Tensor
) -> Tensor:
    """A group's output at its band's rate, in pairs: spectrum (k, 2N), response (n, 2M) -> (n, k, 2M)."""
    shape = len(response), len(spectrum), response.shape[-1]
    product = room[: math.prod(shape)].view(shape)
    bands = _slice_bands(spectrum, group.first_bins, response.shape[-1])
    if len(bands) == 1:
        torch.mul(bands[0], response, out=product[0])
    else:
        torch.stack(bands, out=product).mul_(response[:, None])
    filtered = _to_pairs(torch.fft.ifft(_to_complex(product), norm="forward"))
    if inside is not None:
        filtered *= inside[chunk].repeat_interleave(2, dim=-1)
    return filtered


def _assemble_frames(sums: Tensor, layout: BlockLayout, rows_before: int) -> Tensor:
    """Of the weighted sums over each stride, contiguous (n, rows, k strides), those a frame adds up, as a view.

    Row r of frame f is that of the stride r after the frame's first.

    Returns:
        (n, rows, k, frames)
    """
    filters, rows, strides = sums.shape
    return sums.as_strided(
        (filters, rows, strides // layout.strides, layout.frames),
        (rows * strides, strides + 1, layout.strides, 1),
        layout.margin - rows_before,
    )


# A short block is mostly overlap, a long one leaves the cache: this costs least.
WINDOWS_PER_BLOCK = 24


class FrameRun(NamedTuple):
    """Consecutive frames that are taken from consecutive blocks, from the first frame of a layout on."""

    signal: int
    first: int
    frames: int


def build_interior_layout(window: int, stride: int) -> BlockLayout:
    """Of the blocks that whole signals are cut into."""
    reach = 2 * (window // 2) + MAX_OVERHANG  # of a frame's nodes, and of the filters around them
    margin = -(-reach // stride)
    target = WINDOWS_PER_BLOCK * window
    candidates = range(2 * margin + 1, max(4 * margin, 2 * target // stride) + 2)
    strides = min(filter(_is_smooth, candidates), key=lambda number: abs(number * stride - target))
    return BlockLayout(strides, margin, (strides * stride - reach - 1) // stride - margin + 1)


def build_edge_layout(window: int, stride: int) -> BlockLayout:
    """Of a block for the frames whose windows reach out of one end of a signal."""
    half = window // 2
    margin, frames = -(-2 * half // stride), -(-half // stride)
    return BlockLayout(margin + frames + -(-(2 * half + 1) // stride) - 1, margin, frames)


def _is_smooth(number: int) -> bool:
    """Whether it has no prime factor above 5: a fast size for a Fourier transform."""
    return 30**16 % number == 0


def find_edge_runs(
    centres: Sequence[int], lengths: Sequence[int], counts: Sequence[int], window: int, stride: int
) -> list[FrameRun]:
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
        runs += [FrameRun(signal, first, min(most, count - first)) for first in (0, last) if first < count]
    return runs


def cut_blocks(
    waveforms: Tensor,
    lengths: Sequence[int],
    runs: Sequence[FrameRun],
    starts: Sequence[int],
    layout: BlockLayout,
    stride: int,
) -> Tensor:
    """The blocks of all runs: waveforms (B, T) -> (K, N).

    Args:
        lengths: of the signals, beyond which they count as zero.
        starts: the sample that each run's first block begins with, before the signal or in it.
    """
    size, hop = layout.strides * stride, layout.frames * stride
    blocks = [waveforms.new_empty(0, size)]
    for run, start in zip(runs, starts, strict=True):
        stop = start + (count_blocks(run, layout) - 1) * hop + size
        # Padding crops where it is negative.
        signal = waveforms[run.signal, : lengths[run.signal]]
        blocks.append(nn.functional.pad(signal, (-start, stop - len(signal))).unfold(0, size, hop))
    return torch.cat(blocks)


def count_blocks(run: FrameRun, layout: BlockLayout) -> int:
    """How many blocks it takes."""
    return -(-run.frames // layout.frames)


def locate_frames(counts: Sequence[int], runs: Sequence[tuple[FrameRun, BlockLayout]]) -> Tensor:
    """For each signal and frame, where the runs' frames have it; of several the last; -1 beyond a signal's frames.

    Returns:
        (B, F)
    """
    found = torch.full((len(counts), max(counts, default=0)), -1)
    first = 0
    for run, layout in runs:
        found[run.signal, run.first : run.first + run.frames] = torch.arange(first, first + run.frames)
        first += count_blocks(run, layout) * layout.frames
    return found
