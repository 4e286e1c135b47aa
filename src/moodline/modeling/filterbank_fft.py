"""LEAF's filters, squared modulus and pooling (sections 3.1 and 3.2) in overlap-save FFT blocks (docs/leaf.md)."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from moodline.device import widen
from moodline.modeling.pooling_decimation import MAX_OVERHANG

# Spectra and filtered signal processed at a time: a CPU's cache is fastest, other devices need fewer, larger steps.
CHUNK_BYTES = {"cpu": 1_000_000}
ACCELERATOR_CHUNK_BYTES = 250_000_000
MIN_TRIM_BYTES = 16_000_000  # more than all memory of a chunk
WINDOWS_PER_BLOCK = 24  # the fastest: a short block is mostly overlap, a long one exceeds the cache

_Bands = Sequence[tuple[list[int], int]]  # first bins and rows before the centre, by group of filters
_Filtered = Iterator[tuple[list[int], int, Tensor, Tensor, Tensor, Tensor]]


class FilterBank(NamedTuple):
    """Hold filters that share a step, the sampling interval of their output; each has a band of M = N / step bins."""

    filters: Tensor  # indices (n,)
    first_bins: list[int]  # of the bands in a block's spectrum, negative below zero frequency
    response: Tensor  # within the band, unscaled (n, M)
    weights: Tensor  # of the energy's samples around a frame's centre, by stride (n, rows, M / strides)
    rows_before: int  # number of these strides that begin before the centre


class BlockLayout(NamedTuple):
    """Place frames in a block, one per stride."""

    strides: int  # length of the block
    margin: int  # strides before the centre of the first frame
    frames: int

    def count_blocks(self, frames: int) -> int:
        return -(-frames // self.frames)


class FrameRun(NamedTuple):
    """Locate consecutive frames of a signal, computed from consecutive blocks."""

    signal: int
    first: int
    frames: int
    centre: int  # the sample on which the first frame is centred


def compute_pooled_energies(
    blocks: Tensor, banks: Sequence[FilterBank], layout: BlockLayout, inside: Tensor | None = None
) -> Tensor:
    """Filter blocks (K, N), square the modulus and pool it around every frame's centre: (C, K, frames).

    Filters are applied by circular convolution; the layout's frames keep away from where it wraps round. Only each
    filter's band of the spectrum is transformed back, which gives its output at the band's rate. The filtered signal is
    computed in chunks of blocks and groups of filters, and again in the backward pass. ``inside`` (K, N), only for
    banks at the full rate, is zero where the energy counts as zero.
    """
    budget = CHUNK_BYTES.get(blocks.device.type, ACCELERATOR_CHUNK_BYTES) // blocks.element_size()
    spectrum = 2 * blocks.shape[1]
    chunk = _split_evenly(len(blocks), budget // spectrum)
    bands: list[tuple[list[int], int]] = []
    tensors: list[Tensor] = []
    for bank in banks:
        # Real and imaginary parts are neighbours and share their factors. The inverse transform's factor 1 / N is here:
        # the transforms themselves are unscaled, so that forward and inverse ones are each other's adjoints.
        response = (bank.response / blocks.shape[1]).repeat_interleave(2, dim=-1)  # (n, 2M)
        weights = bank.weights.repeat_interleave(2, dim=-1)
        size = _split_evenly(len(response), max(spectrum, budget // chunk) // response.shape[1])
        bands += [(bank.first_bins[first : first + size], bank.rows_before) for first in range(0, len(response), size)]
        tensors += itertools.chain(*zip(response.split(size), weights.split(size), strict=True))
    pooled = _PooledEnergyFunction.apply(blocks, inside, layout, chunk, bands, *tensors)
    return pooled[torch.cat([bank.filters for bank in banks]).argsort()]


class _PooledEnergyFunction(torch.autograd.Function):
    """Map blocks (K, N), and per group the response (n, 2M) and weights (n, rows, 2r) in pairs, to (C, K, frames)."""

    @staticmethod
    def forward(
        ctx: Any,
        blocks: Tensor,
        inside: Tensor | None,
        layout: BlockLayout,
        chunk_size: int,
        bands: _Bands,
        *tensors: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(blocks, inside, *tensors)
        ctx.layout, ctx.chunk_size, ctx.bands = layout, chunk_size, bands
        pooled = [blocks.new_empty(len(response), len(blocks), layout.frames) for response in tensors[::2]]
        for chunk, _, filtered in _filter_blocks(blocks, inside, chunk_size, bands, tensors):
            for (_, rows_before, _, weights, strides, _), out in zip(filtered, pooled, strict=True):
                sums = weights @ strides.square_().mT
                torch.sum(_assemble_frames(sums, layout, rows_before), dim=1, out=out[:, chunk])
        return torch.cat(pooled)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        blocks, inside, *tensors = ctx.saved_tensors
        gradients = grad_outputs[0].split([len(response) for response in tensors[::2]])
        of_blocks = torch.empty_like(blocks) if ctx.needs_input_grad[0] else None
        of_tensors = [torch.zeros_like(tensor) for tensor in tensors]
        for chunk, spectrum, filtered in _filter_blocks(blocks, inside, ctx.chunk_size, ctx.bands, tensors):
            of_spectrum = torch.zeros_like(spectrum)
            for (first_bins, rows_before, response, weights, strides, free), of_response, of_weights, gradient in zip(
                filtered, of_tensors[::2], of_tensors[1::2], gradients, strict=True
            ):
                of_sums = strides.new_zeros(len(response), weights.shape[1], strides.shape[1])
                _assemble_frames(of_sums, ctx.layout, rows_before).copy_(gradient[:, None, chunk])
                of_weights.baddbmm_(of_sums, torch.square(strides, out=free))
                # d|z|^2 = 2 (Re z dRe z + Im z dIm z)
                strides *= torch.bmm(of_sums.mT, 2 * weights, out=free)
                of_product = _to_pairs(torch.fft.fft(_to_complex(strides.view(len(response), -1, response.shape[-1]))))
                if of_blocks is not None:
                    of_bands = _slice_bands(of_spectrum, first_bins, response.shape[-1])
                    for of_band, *factors in zip(of_bands, of_product, response, strict=True):
                        of_band.addcmul_(*factors)
                bands = _slice_bands(spectrum, first_bins, response.shape[-1])
                for of_filter, band in zip(of_product, bands, strict=True):
                    of_filter *= band
                of_response += of_product.sum(dim=1)
            if of_blocks is not None:
                unrolled = _to_complex(of_spectrum).roll(-(blocks.shape[1] // 4), dims=-1)
                of_blocks[chunk] = torch.fft.ifft(unrolled, norm="forward").real
        return of_blocks, None, None, None, None, *of_tensors


def _split_evenly(number: int, most: int) -> int:
    """Return the size of nearly equal parts, at most ``most`` and at least 1."""
    parts = max(1, -(-number // max(1, most)))
    return max(1, -(-number // parts))


def _to_pairs(values: Tensor) -> Tensor:
    """Convert complex values (..., N) to neighbouring real and imaginary parts (..., 2N)."""
    return torch.view_as_real(values).flatten(-2)


def _to_complex(pairs: Tensor) -> Tensor:
    """Convert neighbouring real and imaginary parts (..., 2N) to complex values (..., N)."""
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)))


def _compute_spectrum(blocks: Tensor) -> Tensor:
    """Compute the spectrum of blocks (k, N) in pairs (k, 2N), from minus a quarter of the sample rate up.

    A filter's centre is between zero and half the rate, and its band at most half the rate wide: it is contiguous.
    The transform is in double precision, because a loud band's rounding would exceed quiet bands.
    """
    size = blocks.shape[-1]
    positive = torch.fft.rfft(widen(blocks)).to(blocks.dtype.to_complex())
    below = positive[..., 1 : size // 4 + 1].flip(-1).conj()
    above = positive[..., 1 : (size + 1) // 2].flip(-1).conj()
    return _to_pairs(torch.cat([below, positive, above], dim=-1)[..., :size])


def _slice_bands(spectrum: Tensor, first_bins: Sequence[int], size: int) -> list[Tensor]:
    """Slice each filter's band (k, size) from a spectrum in pairs (k, 2N)."""
    lowest = -(spectrum.shape[-1] // 2 // 4)
    return [spectrum.narrow(1, 2 * (first_bin - lowest), size) for first_bin in first_bins]


def _filter_blocks(
    blocks: Tensor, inside: Tensor | None, chunk_size: int, bands: _Bands, tensors: Sequence[Tensor]
) -> Iterator[tuple[slice, Tensor, _Filtered]]:
    """Yield each chunk of blocks, its spectrum (k, 2N) and its filtered groups."""
    # All groups share memory, because fresh memory costs more than the work in it. glibc returns memory to the system
    # unless it has seen a larger piece come and go; nothing is written to that piece.
    torch.empty(MIN_TRIM_BYTES, dtype=torch.uint8)
    room = blocks.new_empty(chunk_size * max(response.numel() for response in tensors[::2]))
    for start in range(0, len(blocks), chunk_size):
        chunk = slice(start, start + chunk_size)
        spectrum = _compute_spectrum(blocks[chunk])
        yield chunk, spectrum, _filter_groups(spectrum, bands, tensors, None if inside is None else inside[chunk], room)


def _filter_groups(
    spectrum: Tensor, bands: _Bands, tensors: Sequence[Tensor], inside: Tensor | None, room: Tensor
) -> _Filtered:
    """Yield each group, its output at the band's rate in pairs by stride (n, k strides, 2r), and free memory."""
    for (first_bins, rows_before), response, weights in zip(bands, tensors[::2], tensors[1::2], strict=True):
        shape = len(response), len(spectrum), response.shape[-1]  # (n, k, 2M)
        product = room[: math.prod(shape)].view(shape)
        sliced = _slice_bands(spectrum, first_bins, shape[-1])
        if len(sliced) == 1:
            torch.mul(sliced[0], response, out=product[0])
        else:
            torch.stack(sliced, out=product).mul_(response[:, None])
        filtered = _to_pairs(torch.fft.ifft(_to_complex(product), norm="forward"))
        if inside is not None:
            filtered *= inside.repeat_interleave(2, dim=-1)
        strides = filtered.view(len(response), -1, weights.shape[-1])  # (n, k, 2M) -> (n, k strides, 2r)
        yield first_bins, rows_before, response, weights, strides, product.view_as(strides)


def _assemble_frames(sums: Tensor, layout: BlockLayout, rows_before: int) -> Tensor:
    """View the weighted sums over strides, contiguous (n, rows, k strides), by frame: (n, rows, k, frames).

    Row r of frame f is that of the stride r after the frame's first.
    """
    filters, rows, strides = sums.shape
    return sums.as_strided(
        (filters, rows, strides // layout.strides, layout.frames),
        (rows * strides, strides + 1, layout.strides, 1),
        layout.margin - rows_before,
    )


def build_interior_layout(window: int, stride: int) -> BlockLayout:
    """Lay out the blocks of whole signals, with a length that transforms fast: no prime factor above 5."""
    reach = 2 * (window // 2) + MAX_OVERHANG  # of a frame's nodes and their filters
    margin = -(-reach // stride)
    target = WINDOWS_PER_BLOCK * window
    candidates = range(2 * margin + 1, max(4 * margin, 2 * target // stride) + 2)
    smooth = (number for number in candidates if 30**16 % number == 0)
    strides = min(smooth, key=lambda number: abs(number * stride - target))
    return BlockLayout(strides, margin, (strides * stride - reach - 1) // stride - margin + 1)


def build_edge_layout(window: int, stride: int) -> BlockLayout:
    """Lay out a block for the frames whose windows reach beyond one end of a signal."""
    half = window // 2
    margin, frames = -(-2 * half // stride), -(-half // stride)
    return BlockLayout(margin + frames + -(-(2 * half + 1) // stride) - 1, margin, frames)


def find_edge_runs(wholes: Sequence[FrameRun], lengths: Sequence[int], window: int, stride: int) -> list[FrameRun]:
    """Find the frames whose windows reach beyond their signals, and a few others, from the runs of whole signals."""
    half = window // 2
    most = -(-half // stride)
    runs = []
    for signal, _, count, centre in wholes:
        # The first frame that is not among those at the beginning and whose window ends beyond the signal.
        last = max(most, -(-(lengths[signal] - half - centre) // stride))
        for first in (0, last):
            if first < count:
                runs.append(FrameRun(signal, first, min(most, count - first), centre + first * stride))
    return runs


def cut_blocks(
    waveforms: Tensor, lengths: Sequence[int], runs: Sequence[FrameRun], layout: BlockLayout, stride: int
) -> Tensor:
    """Cut waveforms (B, T), zero beyond their lengths, into the blocks of all runs (K, N)."""
    size, hop = layout.strides * stride, layout.frames * stride
    blocks = [waveforms.new_empty(0, size)]
    for run in runs:
        start = run.centre - layout.margin * stride
        stop = start + (layout.count_blocks(run.frames) - 1) * hop + size
        signal = waveforms[run.signal, : lengths[run.signal]]
        blocks.append(nn.functional.pad(signal, (-start, stop - len(signal))).unfold(0, size, hop))  # may crop
    return torch.cat(blocks)
