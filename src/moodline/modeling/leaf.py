"""LEAF, the learnable front-end of the audio encoder (Zeghidour et al., ICLR 2021)."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from moodline.device import widen
from moodline.modeling.filterbank_fft import (
    FilterBank,
    FrameRun,
    build_edge_layout,
    build_interior_layout,
    compute_pooled_energies,
    cut_blocks,
    find_edge_runs,
)
from moodline.modeling.frontend import ENERGY_FLOOR, FrontEnd, build_mel_triangles
from moodline.modeling.pooling_decimation import PlannedBank, plan_banks, plan_full_rate

# The full width at half maximum of a Gaussian's spectrum is 2 HALF_MAXIMUM_WIDTH / sigma, in radians per sample.
HALF_MAXIMUM_WIDTH = math.sqrt(2 * math.log(2))
# Of the mel filters that the Gabor filters are fitted to: LEAF's, and larger ones where a filter would have no bin.
SPECTRUM_SIZES = [2**power for power in range(9, 17)]

Method = Callable[["Leaf", Tensor, Sequence[int]], Tensor]
_disable_compiler: Callable[[Method], Method] = torch.compiler.disable  # pyright: ignore[reportAssignmentType]


class BoundedModule(nn.Module):
    """Keep parameters within ``limits``: by name, the lowest and the highest value, None for no limit."""

    limits: dict[str, tuple[float | None, float | None]]

    def clamp(self, name: str) -> Tensor:
        """Return a parameter within its limits; beyond them its gradient is zero."""
        return getattr(self, name).clamp(*self.limits[name])

    @torch.no_grad()
    def project(self) -> None:
        """Bring the parameters back into their limits; call it after each optimiser step."""
        for name, limits in self.limits.items():
            getattr(self, name).clamp_(*limits)


class GaborFilters(BoundedModule):
    """Hold complex sinusoids under Gaussian envelopes.

    phi(t) = exp(-t^2 / (2 sigma^2)) / (sqrt(2 pi) sigma) * exp(i mu t), for t = -window // 2 ... window // 2, with mu
    the centre frequencies in radians per sample and sigma the inverse bandwidths in samples (filters,).
    """

    def __init__(self, centres: np.ndarray, bandwidths: np.ndarray, window: int) -> None:
        super().__init__()
        self.window = window
        self.centre_frequencies = nn.Parameter(torch.tensor(centres, dtype=torch.get_default_dtype()))
        self.inverse_bandwidths = nn.Parameter(torch.tensor(bandwidths, dtype=torch.get_default_dtype()))
        self.limits = {
            "centre_frequencies": (0.0, math.pi),
            # From a spectrum whose half maximum spans half the band to one as narrow as the window resolves.
            "inverse_bandwidths": (4 * HALF_MAXIMUM_WIDTH / math.pi, window * HALF_MAXIMUM_WIDTH / math.pi),
        }
        self.project()  # mel filters may be narrower or wider

    def compute_response(self, filters: Tensor, first_bins: Tensor, bins: int, size: int) -> Tensor:
        """Compute the spectra of filters (n,), of length ``size``, on bands that begin at ``first_bins``: (n, bins).

        They are real, because phi(-t) is the conjugate of phi(t).
        """
        mu, sigma = self._get_double_parameters(filters)
        time = torch.arange(self.window // 2 + 1, dtype=mu.dtype, device=mu.device)
        envelope = torch.exp(-0.5 * (time / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
        # The gradient of polar divides by the envelope; the reciprocal of a subnormal number is infinite.
        envelope = nn.functional.threshold(envelope, torch.finfo(envelope.dtype).tiny, 0.0)
        phase = (mu - widen(first_bins[:, None]) * (2 * math.pi / size)) * time  # shifts the band to bin 0
        taps = torch.polar(envelope, phase).to(self.centre_frequencies.dtype.to_complex())
        return torch.fft.hfft(taps, n=size)[:, :bins]

    def compute_gaussian_response(self, filters: Tensor, first_bins: Tensor, bins: int, size: int) -> Tensor:
        """Approximate ``compute_response`` by a Gaussian, for filters that the window does not truncate."""
        mu, sigma = self._get_double_parameters(filters)
        band = first_bins[:, None] + torch.arange(bins, dtype=mu.dtype, device=mu.device)
        response = torch.exp(-0.5 * (sigma * (band * (2 * math.pi / size) - mu)) ** 2)
        return response.to(self.centre_frequencies.dtype)

    def _get_double_parameters(self, filters: Tensor) -> list[Tensor]:
        """Return some filters' mu and sigma (n, 1), whose rounding would recur at every sample."""
        return [widen(getattr(self, name)[filters].clamp(*limits))[:, None] for name, limits in self.limits.items()]


def compute_mel_initialisation(
    filters: int, sample_rate: int, minimum_frequency: float, maximum_frequency: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute mu and sigma (filters,) of Gabor filters with mel filters' peaks and widths (LEAF, section 3.1).

    The full width at half maximum is as many bins as the square root of a mel filter has at or above half its peak.
    """
    for size in SPECTRUM_SIZES:
        bins = np.linspace(0.0, sample_rate / 2, size // 2 + 1)
        triangles = build_mel_triangles(bins, filters, sample_rate, minimum_frequency, maximum_frequency)
        triangles[:, 0] = 0.0  # (filters, bins)
        if triangles.any(axis=1).all():
            break
    else:
        raise ValueError(
            f"mel filters are closer than a spectrum of {SPECTRUM_SIZES[-1]} samples resolves, "
            f"received {filters} from {minimum_frequency} to {maximum_frequency} Hz"
        )
    amplitudes = np.sqrt(triangles)
    peaks = amplitudes.max(axis=1, keepdims=True)
    width = (amplitudes >= peaks / 2).sum(axis=1)
    centres = amplitudes.argmax(axis=1) * 2 * math.pi / size
    return centres, HALF_MAXIMUM_WIDTH * size / (math.pi * width)


class GaussianPooling(BoundedModule):
    """Hold windows exp(-(t / (h p))^2 / 2), t = -h ... h, h = window // 2, not normalised, one p per channel."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.widths = nn.Parameter(torch.full((channels,), 0.4))
        self.limits = {"widths": (2 / window, 0.5)}

    def compute_windows(self) -> Tensor:
        """Compute the windows (channels, window) in double precision: their rounding would recur in every frame."""
        half = self.window // 2
        time = torch.arange(-half, half + 1, device=self.widths.device)
        return torch.exp(-0.5 * (time / (half * widen(self.clamp("widths"))[:, None])) ** 2)


class Pcen(BoundedModule):
    """Divide each channel by its smoothed past, then compress its range (LEAF, section 3.3).

    (y / (1e-12 + M)^alpha + delta)^(1/r) - delta^(1/r), with M_t = s y_t + (1 - s) M_(t-1) and M_(-1) = y_0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((channels,), 0.96))  # alpha
        self.offset = nn.Parameter(torch.full((channels,), 2.0))  # delta
        self.root = nn.Parameter(torch.full((channels,), 2.0))  # r
        self.smoothing = nn.Parameter(torch.full((channels,), 0.04))  # s
        # LEAF leaves delta free, but a negative one has no real root, and at zero the root's slope is infinite.
        self.limits = {"exponent": (None, 1.0), "offset": (1e-3, None), "root": (1.0, None), "smoothing": (0.0, 1.0)}

    def forward(self, energies: Tensor) -> Tensor:
        """Normalise energies (B, channels, F), not negative, to (B, channels, F)."""
        return self.continue_from(energies, None)[0]

    def continue_from(self, energies: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Normalise energies after earlier ones; the state is the last smoothed values (B, channels)."""
        energies = energies.clamp(min=ENERGY_FLOOR)
        if not energies.shape[-1]:
            return energies, state
        exponent, offset, root = self.clamp("exponent")[:, None], self.offset[:, None], 1 / self.clamp("root")[:, None]
        # The smoother starts at its first value, which is the state if there is one.
        before = energies[..., :0] if state is None else state[..., None]
        smoothed = smooth(torch.cat([before, energies], dim=-1), self.clamp("smoothing"))
        smoothed = smoothed[..., before.shape[-1] :]
        gained = energies * (smoothed + 1e-12).pow(-exponent)
        return (gained + offset).pow(root) - offset.pow(root), smoothed[..., -1]


def smooth(values: Tensor, s: Tensor) -> Tensor:
    """Compute M_t = s x_t + (1 - s) M_(t-1) with M_(-1) = x_0: values (B, C, F), s (C,) -> (B, C, F).

    A triangular matrix smooths within blocks of about sqrt(F) frames, another carries values from block to block.
    """
    steps = values.shape[-1]
    if steps == 0:
        return values
    size = math.isqrt(steps - 1) + 1
    count = -(-steps // size)
    s = widen(s)
    decay = 1 - s  # in single precision a small s would be lost
    inside = (s[:, None, None] * _build_power_matrix(decay, size)).to(values)
    across = _build_power_matrix(decay.pow(size), count).to(values)
    decays = (decay[:, None] ** torch.arange(1, size + 1, device=s.device)).to(values)  # (C, size)
    padded = nn.functional.pad(values, (0, count * size - steps))
    blocks = padded.unflatten(-1, (count, size))  # (B, C, F) -> (B, C, count, size)
    within = torch.einsum("bckj,cij->bcki", blocks, inside)
    ends = torch.cat([values[..., :1], within[..., :-1, -1]], dim=-1)  # the initial state, then the blocks' ends
    states = torch.einsum("bcj,cij->bci", ends, across)  # before each block
    smoothed = within + states[..., None] * decays[:, None, :]
    return smoothed.flatten(-2)[..., :steps]  # (B, C, count, size) -> (B, C, F)


def _build_power_matrix(base: Tensor, size: int) -> Tensor:
    """Build base^(i - j) where i >= j, zero above the diagonal: (C,) -> (C, size, size)."""
    steps = torch.arange(size, device=base.device)
    exponents = (steps[:, None] - steps).clamp(min=0)
    return (base[:, None, None] ** exponents).tril()


class Leaf(FrontEnd):
    """Map waveforms to features with learned Gabor filters, squared modulus, Gaussian pooling and sPCEN.

    It computes in its parameters' precision, also under automatic mixed precision.

    Args:
        padding: symmetric centres frame f on sample f * stride; same is that of the LEAF authors' implementation, whose
            alignment depends on the signal's length

    Raises:
        ValueError: too few filters, samples of window or stride, or frequencies beyond half the rate or too close
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
            raise ValueError(f'padding must be "symmetric" or "same", received "{padding}"')
        initial = compute_mel_initialisation(filters, sample_rate, minimum_frequency, maximum_frequency)
        self.gabor = GaborFilters(*initial, self.window)
        self.pooling = GaussianPooling(filters, self.window)
        self.pcen = Pcen(filters)

    def project(self) -> None:
        """Bring all parameters back into their ranges; call it after each optimiser step."""
        for part in (self.gabor, self.pooling, self.pcen):
            part.project()

    def compute_features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        return self.pcen(self.compute_energies(waveforms.to(self.pooling.widths.dtype), lengths.tolist()))

    @_disable_compiler  # it looks up a plan and loops over blocks
    def compute_energies(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """Compute pooled energies (B, filters, F) before normalisation, F that of the longest waveform."""
        window, stride, device = self.window, self.stride, waveforms.device
        interior, edge = build_interior_layout(window, stride), build_edge_layout(window, stride)
        wholes = [
            FrameRun(signal, 0, -(-length // stride), self._compute_first_centre(length))
            for signal, length in enumerate(lengths)
            if length
        ]
        # The second pass replaces frames of the first: energy beyond a signal is cut off, which takes the full rate.
        passes = (
            (interior, wholes, self._get_plan(interior.strides * stride)),
            (edge, find_edge_runs(wholes, lengths, window, stride), plan_full_rate(self.filters, window, device)),
        )
        pooled = [waveforms.new_zeros(self.filters, 1)]  # a zero for what lies beyond a signal's frames
        places = torch.zeros(len(lengths), max((run.frames for run in wholes), default=0), dtype=torch.long)
        count = 1
        for layout, runs, planned in passes:
            blocks, inside = cut_blocks(waveforms, lengths, runs, layout, stride), None
            if layout is edge:
                ones = waveforms.new_ones(1, 1).expand_as(waveforms)
                inside = cut_blocks(ones, lengths, runs, layout, stride)
            banks = self._build_banks(planned, blocks.shape[1])
            pooled.append(compute_pooled_energies(blocks, banks, layout, inside).flatten(1))  # (C, K, frames)
            for run in runs:
                places[run.signal, run.first : run.first + run.frames] = torch.arange(count, count + run.frames)
                count += layout.count_blocks(run.frames) * layout.frames
        chosen = torch.cat(pooled, dim=1)[:, places.flatten().to(device)]
        return chosen.view(self.filters, *places.shape).transpose(0, 1)  # (C, B F) -> (C, B, F) -> (B, C, F)

    def _get_plan(self, size: int) -> list[PlannedBank]:
        sigma, widths = self.gabor.clamp("inverse_bandwidths"), self.pooling.clamp("widths")
        return plan_banks(sigma.detach(), widths.detach(), self.window, self.stride, size)

    def _build_banks(self, planned: Sequence[PlannedBank], size: int) -> list[FilterBank]:
        """Fill planned banks with the current parameters, for blocks of so many samples."""
        windows = self.pooling.compute_windows()
        centres = self.gabor.clamp("centre_frequencies").detach() * (size / (2 * math.pi))
        banks = []
        for filters, truncated, step, reach, matrices in planned:
            bins = size // step
            first_bins = centres[filters].round().long() - bins // 2
            if step == 1:
                first_bins.fill_(-(size // 4))
            parts = (
                (self.gabor.compute_response, slice(truncated)),
                (self.gabor.compute_gaussian_response, slice(truncated, None)),
            )
            responses = [
                compute(filters[part], first_bins[part], bins, size) for compute, part in parts if len(filters[part])
            ]
            weights = windows[filters]
            if matrices is not None:
                weights = (matrices @ weights[:, :, None])[:, :, 0]
            per_row = self.stride // step
            before, after = -(-reach // per_row), reach // per_row + 1
            weights = nn.functional.pad(weights, (before * per_row - reach, after * per_row - reach - 1))
            weights = weights.to(self.pooling.widths).unflatten(1, (-1, per_row))  # (n, rows, per row)
            banks.append(FilterBank(filters, first_bins.tolist(), torch.cat(responses), weights, before))
        return banks

    def _compute_first_centre(self, length: int) -> int:
        """Return the sample on which the first frame is centred."""
        if self.padding == "symmetric":
            return 0
        # TensorFlow's SAME padding.
        last = (-(-length // self.stride) - 1) * self.stride
        return self.window // 2 - max(last + self.window - length, 0) // 2


class LeafStream:
    """Compute a signal's features from pieces of any size, each frame as soon as its window is complete.

    Memory is constant, and there are no gradients. ``leaf`` has symmetric padding (ValueError otherwise), because the
    other depends on the signal's length.
    """

    def __init__(self, leaf: Leaf) -> None:
        if leaf.padding != "symmetric":
            raise ValueError(f'a stream needs a Leaf with padding "symmetric", received "{leaf.padding}"')
        self.leaf = leaf
        self._reach = 2 * (leaf.window // 2)  # of a frame, to either side: its window and its filters
        self._samples = leaf.pooling.widths.new_empty(0)
        self._first = 0  # the next frame, counted from the first sample kept
        self._state: Tensor | None = None

    def push(self, samples: Tensor) -> Tensor:
        """Add floating-point samples (T,), or raise ValueError; return the frames that they complete (filters, F)."""
        if samples.dim() != 1 or not samples.is_floating_point():
            received = f"{samples.dtype} of the shape {tuple(samples.shape)}"
            raise ValueError(f"samples must be floating-point numbers (T,), received {received}")
        self._samples = torch.cat([self._samples, samples.detach().to(self._samples)])
        return self._compute_frames(max(self._first, (len(self._samples) - self._reach - 1) // self.leaf.stride + 1))

    def finish(self) -> Tensor:
        """Return the last frames (filters, F), whose windows reach beyond the signal. A new signal may follow."""
        frames = self._compute_frames(-(-len(self._samples) // self.leaf.stride))
        self._samples, self._first, self._state = self._samples[:0], 0, None
        return frames

    @torch.no_grad()
    def _compute_frames(self, stop: int) -> Tensor:
        """Compute the frames before ``stop``, and keep only the samples that later frames need."""
        energies = self._samples.new_empty(1, self.leaf.filters, 0)
        if stop > self._first:
            energies = self.leaf.compute_energies(self._samples[None], [len(self._samples)])[..., self._first : stop]
        features, self._state = self.leaf.pcen.continue_from(energies, self._state)
        spare = max(0, stop - -(-self._reach // self.leaf.stride))  # frames whose strides no later frame needs
        self._samples = self._samples[spare * self.leaf.stride :].clone()
        self._first = stop - spare
        return features[0]
