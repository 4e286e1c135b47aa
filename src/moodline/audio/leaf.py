"""LEAF, the learnable front-end of the audio encoder (Zeghidour et al., ICLR 2021)."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from moodline.audio.energies import Bank, pooled_energies
from moodline.audio.framing import Run, cut, edge_layout, edge_runs, long_layout, places
from moodline.audio.front_end import FrontEnd
from moodline.audio.gabor import GaborFilters
from moodline.audio.pcen import Pcen
from moodline.audio.plan import PlannedBank, full_rate, plan
from moodline.audio.pooling import GaussianPooling

Energies = Callable[["Leaf", Tensor, Sequence[int]], Tensor]


def _uncompiled(method: Energies) -> Energies:
    """Looks a plan up and loops over blocks, which torch.compile is to leave as it is."""
    return torch.compiler.disable(method)  # pyright: ignore[reportReturnType]


class Leaf(FrontEnd):
    """Waveforms to features: Gabor filters, squared modulus, Gaussian pooling and sPCEN, all of it learned.

    The features are those of the LEAF authors' implementation with ``padding="same"``, whose alignment to the signal
    depends on the length of the signal; with ``"symmetric"`` frame f is centred on sample f * stride.

    It computes in its parameters' precision, under automatic mixed precision too. In single precision a filter's
    energy is sampled as coarsely as its bandwidth allows at that precision; in double precision, which is for
    reference, at the full rate.

    Raises:
        ValueError: where there is no filter, a window of less than three samples, a stride of less than one, a padding
            of another name, or the frequencies do not ascend within what the sample rate can hold.
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
        super().__init__(filters=filters, sample_rate=sample_rate, window_ms=window_ms, stride_ms=stride_ms)
        self.padding = padding
        if padding not in ("symmetric", "same"):
            raise ValueError(f'padding is "symmetric" or "same", received "{padding}"')
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

    def features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrontEnd``."""
        return self.pcen(self.energies(waveforms.to(self.pooling.widths.dtype), lengths.tolist()))

    @_uncompiled
    def energies(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pooled energies (B, filters, F) before normalisation, F that of the longest waveform."""
        window, stride = self.window, self.stride
        counts = [-(-length // stride) for length in lengths]
        centres = [self._first_centre(length) for length in lengths]
        long, edge = long_layout(window, stride), edge_layout(window, stride)

        whole = [Run(signal, 0, count) for signal, count in enumerate(counts) if count]
        starts = [centres[run.signal] - long.margin * stride for run in whole]
        blocks = cut(waveforms, lengths, whole, starts, long, stride)
        inner = pooled_energies(blocks, self._banks(self._plan(blocks.shape[1]), blocks.shape[1]), long)

        # Where a window reaches out of the signal the energy is cut off, not only weighed: that takes the full rate.
        ends = edge_runs(centres, lengths, counts, window, stride)
        starts = [centres[run.signal] + (run.first - edge.margin) * stride for run in ends]
        blocks = cut(waveforms, lengths, ends, starts, edge, stride)
        time = torch.arange(blocks.shape[1]) + torch.tensor(starts, dtype=torch.long)[:, None]
        stops = torch.tensor([lengths[run.signal] for run in ends], dtype=torch.long)[:, None]
        inside = ((time >= 0) & (time < stops)).to(blocks)
        banks = self._banks(full_rate(self.filters, window, blocks.device), blocks.shape[1])
        outer = pooled_energies(blocks, banks, edge, inside)

        # (C, K, frames) of either -> (C, all frames), and at the end a zero for what lies beyond a signal's frames
        pooled = nn.functional.pad(torch.cat([inner.flatten(1), outer.flatten(1)], dim=1), (0, 1))
        found = places(counts, [(run, long) for run in whole] + [(run, edge) for run in ends])
        found[found < 0] = pooled.shape[1] - 1
        chosen = pooled[:, found.flatten().to(pooled.device)]
        return chosen.view(self.filters, *found.shape).transpose(0, 1)  # (C, B F) -> (C, B, F) -> (B, C, F)

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
        parameters, windows = self.pooling.widths, self.pooling.weights()
        centres = self.gabor.centre_frequencies.detach().clamp(0.0, math.pi) * (size / (2 * math.pi))
        banks = []
        for filters, truncated, step, reach, matrices in planned:
            bins = size // step
            if step == 1:
                first_bins = torch.full_like(filters, -(size // 4))
            else:
                first_bins = centres[filters].round().long() - bins // 2
            parts = []
            if truncated:
                parts.append(self.gabor.response(filters[:truncated], first_bins[:truncated], bins, size))
            if truncated < len(filters):
                parts.append(self.gabor.gaussian_response(filters[truncated:], first_bins[truncated:], bins, size))
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
                    torch.cat(parts),
                    weights.to(parameters).unflatten(1, (-1, per_row)),  # (n, rows, per row)
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
