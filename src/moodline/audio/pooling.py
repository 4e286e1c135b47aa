"""Squared modulus of the filters' output and Gaussian pooling of it (LEAF, section 3.2), in overlap-save blocks."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Of filtered signal at a time: what the cache holds goes through fastest; other devices want fewer, larger steps.
CHUNK_BYTES = {"cpu": 2_500_000}
CHUNK_BYTES_ELSEWHERE = 250_000_000


class GaussianPooling(nn.Module):
    """Learned windows exp(-(t / (h p))^2 / 2) for t = -h ... h, h = window // 2, with one width p per channel.

    They are not normalised.
    """

    def __init__(self, *, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.widths = nn.Parameter(torch.full((channels,), 0.4))
        self.width_range = (2 / window, 0.5)

    @torch.no_grad()
    def project(self) -> None:
        """Bring the widths back into their range; to be called after each optimiser step."""
        self.widths.clamp_(*self.width_range)

    def weights(self) -> Tensor:
        """The windows (channels, window)."""
        widths = self.widths.clamp(*self.width_range)[:, None]
        time = torch.linspace(-1, 1, self.window, dtype=widths.dtype, device=widths.device)
        return torch.exp(-0.5 * (time / widths) ** 2)


class Silence(NamedTuple):
    """A stretch of a block's filtered signal that lies outside its utterance and counts as zero."""

    block: int
    start: int
    stop: int


def pooled_energies(
    blocks: Tensor, response: Tensor, weights: Tensor, stride: int, silences: Sequence[Silence]
) -> Tensor:
    """Filters blocks of signal, squares the modulus and pools it at every stride from the block's beginning.

    The filters are applied by circular convolution, of which the caller takes the frames that do not wrap round.
    The filtered signal, ``filters`` times as large as the input, is never whole in memory: it is made chunk by chunk,
    and made again in the backward pass.

    Args:
        blocks: (K, N), with N a multiple of the stride.
        response: the filters' real discrete Fourier transforms (C, N).
        weights: the pooling windows (C, window).
        stride: samples from one frame to the next.
        silences: what counts as zero, in the order of the blocks.

    Returns:
        (C, K, G), G = N / stride - ceil(window / stride) + 1, pooled over window samples from each multiple of stride.
    """
    window = weights.shape[-1]
    parts = -(-window // stride)
    # A window longer than the stride is cut into parts, which weigh successive strides of a frame.
    weights = nn.functional.pad(weights, (0, parts * stride - window))
    # Real and imaginary parts lie side by side and share their factors. The inverse transform's factor 1 / N is taken
    # here, once: inside, all transforms are unscaled, and the forward and the inverse one are each other's adjoint.
    sums = _StrideSums.apply(
        blocks,
        (response / response.shape[-1]).repeat_interleave(2, dim=-1),
        weights.repeat_interleave(2, dim=-1).unflatten(-1, (parts, 2 * stride)),
        silences,
    )
    sums = sums.unflatten(-1, (len(blocks), -1))  # (C, parts, K N / stride) -> (C, parts, K, N / stride)
    frames = sums.shape[-1] - parts + 1
    pooled = sums[:, 0, :, :frames]
    for part in range(1, parts):
        pooled = pooled + sums[:, part, :, part : part + frames]
    return pooled


class _StrideSums(torch.autograd.Function):
    """Weighted sums of the filtered blocks' energy over each stride.

    Blocks (K, N), response over N in pairs (C, 2N), weights in pairs (C, parts, 2 stride) -> (C, parts, K N / stride).
    """

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, response: Tensor, weights: Tensor, silences: Sequence[Silence]) -> Tensor:
        ctx.save_for_backward(blocks, response, weights)
        ctx.silences = silences
        rows = response.shape[-1] // weights.shape[-1]
        sums = blocks.new_empty(*weights.shape[:2], len(blocks) * rows)
        for chunk in _chunks(blocks, response):
            filtered = _filtered(_pairs(torch.fft.fft(blocks[chunk])), response, silences, chunk)
            strides = filtered.view(len(weights), -1, weights.shape[-1])  # (C, k, 2N) -> (C, k rows, 2 stride)
            sums[..., chunk.start * rows : chunk.stop * rows] = weights @ strides.square_().mT
        return sums

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None]:
        (gradient,) = grad_outputs
        blocks, response, weights = ctx.saved_tensors
        rows = response.shape[-1] // weights.shape[-1]
        of_blocks = torch.empty_like(blocks) if ctx.needs_input_grad[0] else None
        of_response, of_weights = torch.zeros_like(response), torch.zeros_like(weights)
        for chunk in _chunks(blocks, response):
            of_sums = gradient[..., chunk.start * rows : chunk.stop * rows]
            spectrum = _pairs(torch.fft.fft(blocks[chunk]))  # (k, 2N)
            filtered = _filtered(spectrum, response, ctx.silences, chunk)
            strides = filtered.view(len(weights), -1, weights.shape[-1])
            of_weights += of_sums @ strides.square()
            # d|z|^2 = 2 (Re z dRe z + Im z dIm z)
            strides *= of_sums.mT @ (2 * weights)
            of_product = _transform(filtered)
            for block in range(len(spectrum)):
                of_response.addcmul_(of_product[:, block], spectrum[block])
            if of_blocks is not None:
                of_spectrum = (of_product * response[:, None]).sum(dim=0)
                of_blocks[chunk] = _inverse_transform(of_spectrum)[..., ::2]  # the real parts
        return of_blocks, of_response, of_weights, None


def _chunks(blocks: Tensor, response: Tensor) -> Iterator[slice]:
    budget = CHUNK_BYTES.get(blocks.device.type, CHUNK_BYTES_ELSEWHERE)
    size = max(1, budget // (response.numel() * response.element_size()))
    for start in range(0, len(blocks), size):
        yield slice(start, min(start + size, len(blocks)))


def _pairs(values: Tensor) -> Tensor:
    """Complex (..., N) -> its real and imaginary parts side by side (..., 2N)."""
    return torch.view_as_real(values).flatten(-2)


def _complex(pairs: Tensor) -> Tensor:
    """Real and imaginary parts side by side (..., 2N) -> complex (..., N)."""
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)))


def _transform(pairs: Tensor) -> Tensor:
    return _pairs(torch.fft.fft(_complex(pairs)))


def _inverse_transform(pairs: Tensor) -> Tensor:
    return _pairs(torch.fft.ifft(_complex(pairs), norm="forward"))


def _filtered(spectrum: Tensor, response: Tensor, silences: Sequence[Silence], chunk: slice) -> Tensor:
    """The filtered blocks of a chunk in pairs: spectrum (k, 2N), response (C, 2N) -> (C, k, 2N)."""
    filtered = _inverse_transform(spectrum * response[:, None])
    for block, start, stop in silences:
        if chunk.start <= block < chunk.stop:
            filtered[:, block - chunk.start, 2 * start : 2 * stop] = 0
    return filtered
