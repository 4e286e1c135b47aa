"""Filters, squared modulus and pooling of LEAF (sections 3.1 and 3.2), in overlap-save blocks."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Of filtered signal at a time: what the cache holds goes through fastest; other devices want fewer, larger steps.
CHUNK_BYTES = {"cpu": 2_000_000}
CHUNK_BYTES_ELSEWHERE = 250_000_000


class Bank(NamedTuple):
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


class Layout(NamedTuple):
    """Where a block's frames are.

    Args:
        strides: of which the block consists.
        margin: strides before the centre of the first frame.
        frames: how many.
    """

    strides: int
    margin: int
    frames: int


def pooled_energies(blocks: Tensor, banks: Sequence[Bank], layout: Layout, inside: Tensor | None = None) -> Tensor:
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
    return _PooledEnergies.apply(blocks, inside, banks, layout, *tensors)


class _PooledEnergies(torch.autograd.Function):
    """Blocks (K, N); for each bank its response (n, 2M) and weights (n, rows, 2r) in pairs -> (C, K, frames)."""

    @staticmethod
    def forward(
        ctx: Any, blocks: Tensor, inside: Tensor | None, banks: Sequence[Bank], layout: Layout, *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(blocks, inside, *tensors)
        ctx.banks, ctx.layout = [(bank.filters, bank.first_bins, bank.rows_before) for bank in banks], layout
        filters = sum(len(bank.filters) for bank in banks)
        pooled = blocks.new_empty(filters, len(blocks), layout.frames)
        for chunk in _chunks(blocks, tensors):
            spectrum = _spectrum(blocks[chunk])
            for bank, response, weights in zip(banks, tensors[::2], tensors[1::2], strict=True):
                filtered = _filtered(_bands(spectrum, bank.first_bins, response.shape[-1]), response, inside, chunk)
                strides = filtered.view(len(response), -1, weights.shape[-1])  # (n, k, 2M) -> (n, k strides, 2r)
                sums = (strides.square_() @ weights.mT).unflatten(1, (-1, layout.strides))
                pooled[bank.filters, chunk] = _of_frames(sums, layout, bank.rows_before)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        blocks, inside, *tensors = ctx.saved_tensors
        layout = ctx.layout
        of_blocks = torch.empty_like(blocks) if ctx.needs_input_grad[0] else None
        of_tensors = [torch.zeros_like(tensor) for tensor in tensors]
        for chunk in _chunks(blocks, tensors):
            spectrum = _spectrum(blocks[chunk])
            of_spectrum = torch.zeros_like(spectrum) if of_blocks is not None else None
            for number, (filters, first_bins, rows_before) in enumerate(ctx.banks):
                response, weights = tensors[2 * number : 2 * number + 2]
                of_response, of_weights = of_tensors[2 * number : 2 * number + 2]
                of_sums = _to_rows(gradient[filters, chunk], layout, rows_before, weights.shape[1])
                bands = _bands(spectrum, first_bins, response.shape[-1])
                filtered = _filtered(bands, response, inside, chunk)
                strides = filtered.view(len(response), -1, weights.shape[-1])  # (n, k, 2M) -> (n, k strides, 2r)
                of_weights += of_sums.mT @ strides.square()
                # d|z|^2 = 2 (Re z dRe z + Im z dIm z)
                strides *= of_sums @ (2 * weights)
                of_product = _transform(filtered)
                if of_spectrum is not None:
                    for of_band, *factors in zip(
                        _bands(of_spectrum, first_bins, response.shape[-1]), of_product, response, strict=True
                    ):
                        of_band.addcmul_(*factors)
                for of_filter, band in zip(of_product, bands, strict=True):
                    of_filter *= band
                of_response += of_product.sum(dim=1)
            if of_blocks is not None and of_spectrum is not None:
                of_blocks[chunk] = _of_signal(of_spectrum)
        return of_blocks, None, None, None, *of_tensors


def _chunks(blocks: Tensor, tensors: Sequence[Tensor]) -> Iterator[slice]:
    """Blocks to go through together, as many as the memory for the largest bank's output holds."""
    budget = CHUNK_BYTES.get(blocks.device.type, CHUNK_BYTES_ELSEWHERE)
    largest = max(response.numel() * response.element_size() for response in tensors[::2])
    size = max(1, budget // largest)
    for start in range(0, len(blocks), size):
        yield slice(start, min(start + size, len(blocks)))


def _pairs(values: Tensor) -> Tensor:
    """Complex (..., N) -> its real and imaginary parts side by side (..., 2N)."""
    return torch.view_as_real(values).flatten(-2)


def _complex(pairs: Tensor) -> Tensor:
    """Real and imaginary parts side by side (..., 2N) -> complex (..., N)."""
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)))


def _spectrum(blocks: Tensor) -> Tensor:
    """Blocks (k, N) -> their spectrum in pairs (k, 2N), from minus a quarter of the rate up.

    A filter's centre is between zero and half the rate, and its band half the rate wide or less: it is in one piece.
    """
    return _pairs(torch.fft.fft(blocks).roll(blocks.shape[-1] // 4, dims=-1))


def _of_signal(of_spectrum: Tensor) -> Tensor:
    """The adjoint of ``_spectrum``: (k, 2N) -> (k, N)."""
    of_spectrum = _complex(of_spectrum)
    return torch.fft.ifft(of_spectrum.roll(-(of_spectrum.shape[-1] // 4), dims=-1), norm="forward").real


def _transform(pairs: Tensor) -> Tensor:
    return _pairs(torch.fft.fft(_complex(pairs)))


def _bands(spectrum: Tensor, first_bins: Sequence[int], size: int) -> list[Tensor]:
    """Each filter's band (k, size) of a spectrum in pairs (k, 2N)."""
    lowest = -(spectrum.shape[-1] // 2 // 4)
    return [spectrum.narrow(1, 2 * (first_bin - lowest), size) for first_bin in first_bins]


def _filtered(bands: Sequence[Tensor], response: Tensor, inside: Tensor | None, chunk: slice) -> Tensor:
    """The filters' output at their band's rate, in pairs: bands (k, 2M) each, response (n, 2M) -> (n, k, 2M)."""
    product = response.new_empty(len(response), len(bands[0]), response.shape[-1])
    for factors, of_filter in zip(zip(bands, response, strict=True), product, strict=True):
        torch.mul(*factors, out=of_filter)
    filtered = _pairs(torch.fft.ifft(_complex(product), norm="forward"))
    if inside is not None:
        filtered *= inside[chunk].repeat_interleave(2, dim=-1)
    return filtered


def _of_frames(sums: Tensor, layout: Layout, rows_before: int) -> Tensor:
    """Weighted sums over each stride (n, k, strides, rows) -> what a frame's rows add up to (n, k, frames)."""
    first = layout.margin - rows_before
    pooled = sums[:, :, first : first + layout.frames, 0].clone()
    for row in range(1, sums.shape[-1]):
        pooled += sums[:, :, first + row : first + row + layout.frames, row]
    return pooled


def _to_rows(of_frames: Tensor, layout: Layout, rows_before: int, rows: int) -> Tensor:
    """The adjoint of ``_of_frames``: (n, k, frames) -> (n, k strides, rows)."""
    of_sums = of_frames.new_zeros(*of_frames.shape[:2], layout.strides, rows)
    first = layout.margin - rows_before
    for row in range(rows):
        of_sums[:, :, first + row : first + row + layout.frames, row] = of_frames
    return of_sums.flatten(1, 2)
