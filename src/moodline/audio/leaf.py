"""LEAF, the learnable front-end of the audio encoder (Zeghidour et al., ICLR 2021)."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from moodline.audio.gabor import GaborFilters
from moodline.audio.pcen import Pcen
from moodline.audio.pooling import GaussianPooling, Silence, pooled_energies
from moodline.padding import length_mask, pad, same_length_for_all

# A short block is mostly overlap, a long one leaves the cache: this costs least.
WINDOWS_PER_BLOCK = 9


class Leaf(nn.Module):
    """Waveforms to features: Gabor filters, squared modulus, Gaussian pooling and sPCEN, all of it learned.

    The filters are applied at the full rate in overlap-save blocks, exactly at any parameters. The features are
    those of the LEAF authors' implementation with ``padding="same"``, whose alignment to the signal depends on the
    length of the signal; with ``"symmetric"`` frame f is centred on sample f * stride.

    It computes in its parameters' precision, under automatic mixed precision too.
    """

    def __init__(
        self,
        *,
        filters: int = 40,
        sample_rate: int = 16000,
        window_ms: float = 25.0,
        stride_ms: float = 30.0,
        minimum_frequency: float = 60.0,
        maximum_frequency: float = 7800.0,
        padding: Literal["symmetric", "same"] = "symmetric",
    ) -> None:
        super().__init__()
        self.filters = filters
        self.sample_rate = sample_rate
        self.window = 2 * round(window_ms * sample_rate / 2000) + 1
        self.stride = round(stride_ms * sample_rate / 1000)
        self.padding = padding
        self.gabor = GaborFilters(
            filters=filters,
            window=self.window,
            sample_rate=sample_rate,
            minimum_frequency=minimum_frequency,
            maximum_frequency=maximum_frequency,
        )
        self.pooling = GaussianPooling(channels=filters, window=self.window)
        self.pcen = Pcen(filters)

    def project(self) -> None:
        """Bring all parameters back into their ranges; to be called after each optimiser step."""
        self.gabor.project()
        self.pooling.project()
        self.pcen.project()

    def frames(self, lengths: Tensor) -> Tensor:
        """How many frames signals of so many samples give."""
        return -(-lengths // self.stride)

    def shortest(self, frames: int) -> int:
        """The least number of samples that gives so many frames."""
        return (frames - 1) * self.stride + 1

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Waveforms (B, T) at the sample rate, lengths (B,) in samples -> features (B, filters, F), frames (B,).

        What lies beyond a waveform's length is not looked at; features beyond its frames are zero.
        """
        if lengths is None:
            lengths = same_length_for_all(waveforms)
        with torch.autocast(waveforms.device.type, enabled=False):
            energies = self.energies(waveforms.to(self.pooling.widths.dtype), lengths.tolist())
            features = self.pcen(energies)
        frames = self.frames(lengths)
        return features * length_mask(frames, features.shape[-1])[:, None], frames

    def energies(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pooled energies (B, filters, F) before normalisation, F that of the longest waveform."""
        size, block_frames = self._block()
        hop, half = block_frames * self.stride, self.window // 2
        frames = [-(-length // self.stride) for length in lengths]
        numbers = [max(1, -(-count // block_frames)) for count in frames]  # of blocks
        blocks: list[Tensor] = []
        silences: list[Silence] = []
        first = 0
        for waveform, length, number in zip(waveforms, lengths, numbers, strict=True):
            before = self._samples_before(length)
            after = (number - 1) * hop + size - before - length - half
            padded = nn.functional.pad(waveform[:length], (before + half, after))  # cropped where negative
            blocks.append(padded.unfold(0, size, hop))
            silences += _outside(length, before, hop, range(first, first + number), size)
            first += number
        # Circularly, the samples before a block's first energy stand at its end.
        stacked = torch.cat(blocks).roll(-half, dims=1)  # (K, N)
        pooled = pooled_energies(stacked, self.gabor.response(size), self.pooling.weights(), self.stride, silences)
        pooled = pooled[:, :, :block_frames].permute(1, 2, 0).flatten(0, 1)  # (C, K, G) -> (K frames, C)
        parts = pooled.split([number * block_frames for number in numbers])
        padded, _ = pad([part[:count] for part, count in zip(parts, frames, strict=True)])
        return padded.mT  # (B, F, C) -> (B, C, F)

    def _samples_before(self, length: int) -> int:
        """How far the first frame's window reaches out before the signal."""
        if self.padding == "symmetric":
            return self.window // 2
        # TensorFlow's SAME padding.
        last = (-(-length // self.stride) - 1) * self.stride
        return max(last + self.window - length, 0) // 2

    def _block(self) -> tuple[int, int]:
        """Samples of a block, a multiple of the stride, and the frames of it that the circular convolution leaves."""
        size = self.stride * 2 ** max(0, math.ceil(math.log2(WINDOWS_PER_BLOCK * self.window / self.stride)))
        return size, (size - 2 * (self.window - 1) - 1) // self.stride + 1


def _outside(length: int, before: int, hop: int, blocks: range, size: int) -> Iterator[Silence]:
    """What of the filtered signal in a waveform's blocks lies before its beginning or after its end."""
    for position, block in enumerate(blocks):
        start = position * hop - before  # the time of the block's first energy
        if start < 0:
            yield Silence(block, 0, -start)
        if length < start + size:
            yield Silence(block, max(0, length - start), size)
