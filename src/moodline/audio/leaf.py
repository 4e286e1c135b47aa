"""LEAF, the learnable front-end of the audio encoder (Zeghidour et al., ICLR 2021)."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from moodline.audio.energies import Bank, Layout, pooled_energies
from moodline.audio.gabor import GaborFilters
from moodline.audio.pcen import Pcen
from moodline.audio.plan import PlannedBank, block_size, full_rate, plan
from moodline.audio.pooling import GaussianPooling
from moodline.audio.quadrature import OVERHANG
from moodline.padding import length_mask, same_length_for_all

# A short block is mostly overlap, a long one leaves the cache: this costs least.
WINDOWS_PER_BLOCK = 24

Energies = Callable[["Leaf", Tensor, Sequence[int]], Tensor]


def _uncompiled(method: Energies) -> Energies:
    """Looks a plan up and loops over blocks, which torch.compile is to leave as it is."""
    return torch.compiler.disable(method)  # pyright: ignore[reportReturnType]


class Leaf(nn.Module):
    """Waveforms to features: Gabor filters, squared modulus, Gaussian pooling and sPCEN, all of it learned.

    The features are those of the LEAF authors' implementation with ``padding="same"``, whose alignment to the signal
    depends on the length of the signal; with ``"symmetric"`` frame f is centred on sample f * stride.

    It computes in its parameters' precision, under automatic mixed precision too. In single precision a filter's
    energy is sampled as coarsely as its bandwidth allows at that precision; in double precision, which is for
    reference, at the full rate.
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

    @_uncompiled
    def energies(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pooled energies (B, filters, F) before normalisation, F that of the longest waveform."""
        counts = [-(-length // self.stride) for length in lengths]
        window, stride = self.window, self.stride
        half = window // 2
        margin = -(-(2 * half + OVERHANG) // stride)
        size = block_size(WINDOWS_PER_BLOCK * window, stride, 2 * margin + 1)
        layout = Layout(size // stride, margin, (size - margin * stride - 2 * half - OVERHANG - 1) // stride + 1)
        numbers = [-(-count // layout.frames) for count in counts]  # of blocks
        starts = [self._first_centre(length) - margin * stride for length in lengths]
        blocks = _blocks(waveforms, lengths, starts, numbers, size, layout.frames * stride)
        inner = pooled_energies(blocks, self._banks(self._plan(size), size), layout)

        # Where the window reaches out of the signal its energy is cut off: that takes the full rate.
        most = -(-half // stride)
        edge_layout = Layout(-(-(margin * stride + (most - 1) * stride + 2 * half + 1) // stride), margin, most)
        edge_size = edge_layout.strides * stride
        edges = [
            (signal, first)
            for signal, (length, count) in enumerate(zip(lengths, counts, strict=True))
            for first in self._edges(length, count)
        ]
        edge_starts = [starts[signal] + first * stride for signal, first in edges]
        rows = torch.tensor([signal for signal, _ in edges], dtype=torch.long, device=waveforms.device)
        edge_lengths = [lengths[signal] for signal, _ in edges]
        edge_blocks = _blocks(waveforms[rows], edge_lengths, edge_starts, [1] * len(edges), edge_size, edge_size)
        time = torch.arange(edge_size) + torch.tensor(edge_starts)[:, None]
        inside = (time >= 0) & (time < torch.tensor(edge_lengths)[:, None])
        outer = pooled_energies(
            edge_blocks,
            self._banks(full_rate(self.filters, window, waveforms.device), edge_size),
            edge_layout,
            inside.to(waveforms),
        )

        # (C, K, frames), (C, edges, frames) -> (C, K frames + edges frames), and at the end a zero
        pooled = nn.functional.pad(torch.cat([inner.flatten(1), outer.flatten(1)], dim=1), (0, 1))
        places = torch.full((len(lengths), max(counts, default=0)), -1)
        first = 0
        for signal, (count, number) in enumerate(zip(counts, numbers, strict=True)):
            places[signal, :count] = torch.arange(first, first + count)
            first += number * layout.frames
        first = inner.shape[1] * layout.frames
        for signal, frame in edges:
            last = min(frame + most, counts[signal])
            places[signal, frame:last] = torch.arange(first, first + last - frame)
            first += most
        places[places < 0] = pooled.shape[1] - 1
        return pooled[:, places.flatten().to(pooled.device)].unflatten(1, places.shape).transpose(0, 1)

    def _edges(self, length: int, count: int) -> list[int]:
        """The first frames of the two runs whose windows may reach out of a signal."""
        if count == 0:
            return []
        half = self.window // 2
        most = -(-half // self.stride)
        inside = range(most, count)
        later = [f for f in inside if self._first_centre(length) + f * self.stride + half >= length]
        return [0, later[0]] if later else [0]

    def _plan(self, size: int) -> list[PlannedBank]:
        sigma = self.gabor.inverse_bandwidths.detach().clamp(*self.gabor.bandwidth_range).tolist()
        widths = self.pooling.widths.detach().clamp(*self.pooling.width_range).tolist()
        parameters = self.pooling.widths
        return plan(
            sigma,
            widths,
            window=self.window,
            stride=self.stride,
            size=size,
            dtype=parameters.dtype,
            device=parameters.device,
        )

    def _banks(self, planned: Sequence[PlannedBank], size: int) -> list[Bank]:
        """The planned banks with the parameters of now, for blocks of so many samples."""
        windows = self.pooling.weights()
        centres = self.gabor.centre_frequencies.detach().clamp(0.0, math.pi) * (size / (2 * math.pi))
        banks = []
        for filters, step, reach, matrices, uncut in planned:
            bins = size // step
            if step == 1:
                first_bins = torch.full_like(filters, -(size // 4))
            else:
                first_bins = centres[filters].round().long() - bins // 2
            response = self.gabor.gaussian_response if uncut else self.gabor.response
            weights = windows[filters]
            if matrices is not None:
                weights = (matrices @ weights[:, :, None])[:, :, 0]
            per_row = self.stride // step
            before = -(-reach // per_row)
            after = reach // per_row + 1
            weights = nn.functional.pad(weights, (before * per_row - reach, after * per_row - reach - 1))
            banks.append(
                Bank(
                    filters,
                    first_bins.tolist(),
                    response(filters, first_bins, bins, size),
                    weights.unflatten(1, (-1, per_row)),  # (n, rows, per row)
                    before,
                )
            )
        return banks

    def _first_centre(self, length: int) -> int:
        """The sample that the first frame is centred on."""
        if self.padding == "symmetric":
            return 0
        # TensorFlow's SAME padding.
        last = (-(-length // self.stride) - 1) * self.stride
        return self.window // 2 - max(last + self.window - length, 0) // 2


def _blocks(
    waveforms: Tensor, lengths: Sequence[int], starts: Sequence[int], numbers: Sequence[int], size: int, hop: int
) -> Tensor:
    """From each waveform, so many blocks of (size,), one every hop samples from the start: (B, T) -> (K, size)."""
    blocks = [waveforms.new_empty(0, size)]
    for waveform, length, start, number in zip(waveforms, lengths, starts, numbers, strict=True):
        if number:
            after = start + (number - 1) * hop + size - length
            blocks.append(nn.functional.pad(waveform[:length], (-start, after)).unfold(0, size, hop))
    return torch.cat(blocks)
