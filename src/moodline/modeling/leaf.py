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
    locate_frames,
)
from moodline.modeling.frontend import FrontEnd, build_mel_triangles
from moodline.modeling.pooling_decimation import PlannedBank, plan_banks, plan_full_rate

# The full width at half maximum of a Gaussian's spectrum, in radians per sample, is 2 HALF_WIDTH / bandwidth.
HALF_MAXIMUM_WIDTH = math.sqrt(2 * math.log(2))
# Of the mel filters that the Gabor filters are fitted to: LEAF's, and larger ones where a filter would have no bin.
SPECTRUM_SIZES = [2**power for power in range(9, 17)]


class GaborFilters(nn.Module):
    """Complex sinusoids under Gaussian envelopes, one centre frequency and one bandwidth each.

    phi(t) = exp(-t^2 / (2 sigma^2)) / (sqrt(2 pi) sigma) * exp(i mu t), for t = -window // 2 ... window // 2,
    with mu the centre frequency in radians per sample, in [0, pi], and sigma the inverse bandwidth in samples.

    Args:
        filters: number of filters.
        window: taps of a filter, an odd number.
        sample_rate, minimum_frequency, maximum_frequency: in Hz, of the mel filters to begin with.
    """

    def __init__(
        self, *, filters: int, window: int, sample_rate: int, minimum_frequency: float, maximum_frequency: float
    ) -> None:
        super().__init__()
        centres, bandwidths = compute_mel_initialisation(
            filters=filters,
            sample_rate=sample_rate,
            minimum_frequency=minimum_frequency,
            maximum_frequency=maximum_frequency,
        )
        self.window = window
        self.centre_frequencies = nn.Parameter(torch.tensor(centres, dtype=torch.get_default_dtype()))
        self.inverse_bandwidths = nn.Parameter(torch.tensor(bandwidths, dtype=torch.get_default_dtype()))
        # From a spectrum whose half maximum spans half the band to one as narrow as the window resolves.
        self.bandwidth_range = (4 * HALF_MAXIMUM_WIDTH / math.pi, window * HALF_MAXIMUM_WIDTH / math.pi)
        self.project()  # mel filters may be narrower than that, or wider

    @torch.no_grad()
    def project(self) -> None:
        """Bring the parameters back into their ranges; to be called after each optimiser step."""
        self.centre_frequencies.clamp_(0.0, math.pi)
        self.inverse_bandwidths.clamp_(*self.bandwidth_range)

    def compute_response(self, filters: Tensor, first_bins: Tensor, bins: int, size: int) -> Tensor:
        """Some filters' discrete Fourier transforms of length ``size``, on a band of bins for each.

        They are real, because phi(-t) is the conjugate of phi(t).

        Args:
            filters, first_bins: which filters, and the bins that their bands begin at (n,).

        Returns:
            (n, bins)
        """
        mu, sigma = self._get_double_parameters(filters)
        time = torch.arange(self.window // 2 + 1, dtype=mu.dtype, device=mu.device)
        envelope = torch.exp(-0.5 * (time / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
        # The gradient of polar divides by the envelope: below the smallest normal number its reciprocal is infinite.
        envelope = nn.functional.threshold(envelope, torch.finfo(envelope.dtype).tiny, 0.0)
        phase = (mu - widen(first_bins[:, None]) * (2 * math.pi / size)) * time  # the band is moved to the beginning
        taps = torch.polar(envelope, phase).to(self.centre_frequencies.dtype.to_complex())
        return torch.fft.hfft(taps, n=size)[:, :bins]

    def compute_gaussian_response(self, filters: Tensor, first_bins: Tensor, bins: int, size: int) -> Tensor:
        """What ``response`` is near the centre of a filter that the window does not cut: a Gaussian."""
        mu, sigma = self._get_double_parameters(filters)
        band = first_bins[:, None] + torch.arange(bins, dtype=mu.dtype, device=mu.device)
        response = torch.exp(-0.5 * (sigma * (band * (2 * math.pi / size) - mu)) ** 2)
        return response.to(self.centre_frequencies.dtype)

    def _get_double_parameters(self, filters: Tensor) -> tuple[Tensor, Tensor]:
        """Some filters' parameters (n, 1): what is rounded here would be off at every sample, in the same way."""
        mu = widen(self.centre_frequencies[filters].clamp(0.0, math.pi))
        sigma = widen(self.inverse_bandwidths[filters].clamp(*self.bandwidth_range))
        return mu[:, None], sigma[:, None]


def compute_mel_initialisation(
    *, filters: int, sample_rate: int, minimum_frequency: float, maximum_frequency: float
) -> tuple[np.ndarray, np.ndarray]:
    """Centre frequencies and inverse bandwidths (filters,) of Gabor filters that resemble mel filters.

    A Gabor filter takes the frequency at which a triangular mel filter has its peak, and a full width at half
    maximum of as many bins as the filter's square root has at half its peak or above (LEAF, section 3.1).

    Raises:
        ValueError: where the frequencies do not ascend within what the sample rate can hold, or are too close.
    """
    for size in SPECTRUM_SIZES:
        triangles = build_mel_triangles(
            np.linspace(0.0, sample_rate / 2, size // 2 + 1),
            filters=filters,
            sample_rate=sample_rate,
            minimum_frequency=minimum_frequency,
            maximum_frequency=maximum_frequency,
        )  # (filters, bins)
        triangles[:, 0] = 0.0
        if triangles.any(axis=1).all():
            break
    else:
        raise ValueError(
            f"mel filters lie no closer than a spectrum of {SPECTRUM_SIZES[-1]} samples resolves, "
            f"received {filters} between {minimum_frequency} and {maximum_frequency} Hz"
        )
    amplitudes = np.sqrt(triangles)
    peaks = amplitudes.max(axis=1, keepdims=True)
    width = (amplitudes >= peaks / 2).sum(axis=1)
    centres = amplitudes.argmax(axis=1) * 2 * math.pi / size
    return centres, HALF_MAXIMUM_WIDTH * size / (math.pi * width)


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
        """The windows (channels, window), in double precision: what is rounded here would be off in every frame."""
        widths = widen(self.widths.clamp(*self.width_range))[:, None]
        half = self.window // 2
        time = torch.arange(-half, half + 1, device=widths.device)
        return torch.exp(-0.5 * (time / (half * widths)) ** 2)


ENERGY_FLOOR = 1e-5
MIN_OFFSET = 1e-3


class Pcen(nn.Module):
    """Divides each channel by a smoothed version of itself, then compresses its range.

    (y / (1e-12 + M)^alpha + delta)^(1/r) - delta^(1/r), with M_t = s y_t + (1 - s) M_(t-1) and M_(-1) = y_0.
    A frame depends on the frames before it alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((channels,), 0.96))  # alpha
        self.offset = nn.Parameter(torch.full((channels,), 2.0))  # delta
        self.root = nn.Parameter(torch.full((channels,), 2.0))  # r
        self.smoothing = nn.Parameter(torch.full((channels,), 0.04))  # s

    @torch.no_grad()
    def project(self) -> None:
        """Bring the parameters back into their ranges; to be called after each optimiser step.

        LEAF leaves delta free; a negative one has no real root, and the root's slope at zero is infinite.
        """
        self.exponent.clamp_(max=1.0)
        self.offset.clamp_(min=MIN_OFFSET)
        self.root.clamp_(min=1.0)
        self.smoothing.clamp_(0.0, 1.0)

    def forward(self, energies: Tensor) -> Tensor:
        """Energies (B, channels, F), not negative -> (B, channels, F)."""
        return self.continue_from(energies, None)[0]

    def continue_from(self, energies: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The same for what follows on earlier frames, whose last smoothed energies are the state (B, channels).

        Returns:
            The normalised energies, and the state after them.
        """
        energies = energies.clamp(min=ENERGY_FLOOR)
        if not energies.shape[-1]:
            return energies, state
        exponent = self.exponent.clamp(max=1.0)[:, None]
        offset = self.offset[:, None]
        root = 1 / self.root.clamp(min=1.0)[:, None]
        # The smoother begins with the first value: a state put before the values is one.
        before = energies[..., :0] if state is None else state[..., None]
        smoothed = smooth(torch.cat([before, energies], dim=-1), self.smoothing.clamp(0.0, 1.0))
        smoothed = smoothed[..., before.shape[-1] :]
        gained = energies * (smoothed + 1e-12).pow(-exponent)
        return (gained + offset).pow(root) - offset.pow(root), smoothed[..., -1]


def smooth(values: Tensor, s: Tensor) -> Tensor:
    """First-order smoothing M_t = s x_t + (1 - s) M_(t-1) with M_(-1) = x_0: values (B, C, F), s (C,) -> (B, C, F).

    Exact and without a loop over frames. The frames are cut into about sqrt(F) blocks of as many frames: a triangular
    matrix smooths within each block, another one carries the blocks' last values from block to block.
    """
    steps = values.shape[-1]
    if steps == 0:
        return values
    size = math.isqrt(steps - 1) + 1
    count = -(-steps // size)
    s = widen(s)
    decay = 1 - s  # in single precision a small s would not survive this
    inside = (s[:, None, None] * _build_power_matrix(decay, size)).to(values)
    across = _build_power_matrix(decay.pow(size), count).to(values)
    decays = (decay[:, None] ** torch.arange(1, size + 1, device=s.device)).to(values)  # (C, size)
    padded = nn.functional.pad(values, (0, count * size - steps))
    blocks = padded.unflatten(-1, (count, size))  # (B, C, F) -> (B, C, count, size)
    within = torch.einsum("bckj,cij->bcki", blocks, inside)
    ends = torch.cat([values[..., :1], within[..., :-1, -1]], dim=-1)  # the initial state, then the blocks' own ends
    states = torch.einsum("bcj,cij->bci", ends, across)  # before each block
    smoothed = within + states[..., None] * decays[:, None, :]
    return smoothed.flatten(-2)[..., :steps]  # (B, C, count, size) -> (B, C, F)


def _build_power_matrix(base: Tensor, size: int) -> Tensor:
    """base^(i - j) where i >= j, zero above the diagonal: (C,) -> (C, size, size)."""
    steps = torch.arange(size, device=base.device)
    exponents = (steps[:, None] - steps).clamp(min=0)
    return (base[:, None, None] ** exponents).tril()


EnergyMethod = Callable[["Leaf", Tensor, Sequence[int]], Tensor]


def _disable_compilation(method: EnergyMethod) -> EnergyMethod:
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

    def compute_features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrontEnd``."""
        return self.pcen(self.compute_energies(waveforms.to(self.pooling.widths.dtype), lengths.tolist()))

    @_disable_compilation
    def compute_energies(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pooled energies (B, filters, F) before normalisation, F that of the longest waveform."""
        window, stride = self.window, self.stride
        counts = [-(-length // stride) for length in lengths]
        centres = [self._compute_first_centre(length) for length in lengths]
        long, edge = build_interior_layout(window, stride), build_edge_layout(window, stride)

        whole = [FrameRun(signal, 0, count) for signal, count in enumerate(counts) if count]
        starts = [centres[run.signal] - long.margin * stride for run in whole]
        blocks = cut_blocks(waveforms, lengths, whole, starts, long, stride)
        inner = compute_pooled_energies(
            blocks, self._build_banks(self._get_plan(blocks.shape[1]), blocks.shape[1]), long
        )

        # Where a window reaches out of the signal the energy is cut off, not only weighed: that takes the full rate.
        ends = find_edge_runs(centres, lengths, counts, window, stride)
        starts = [centres[run.signal] + (run.first - edge.margin) * stride for run in ends]
        blocks = cut_blocks(waveforms, lengths, ends, starts, edge, stride)
        time = torch.arange(blocks.shape[1]) + torch.tensor(starts, dtype=torch.long)[:, None]
        stops = torch.tensor([lengths[run.signal] for run in ends], dtype=torch.long)[:, None]
        inside = ((time >= 0) & (time < stops)).to(blocks)
        banks = self._build_banks(plan_full_rate(self.filters, window, blocks.device), blocks.shape[1])
        outer = compute_pooled_energies(blocks, banks, edge, inside)

        # (C, K, frames) of either -> (C, all frames), and at the end a zero for what lies beyond a signal's frames
        pooled = nn.functional.pad(torch.cat([inner.flatten(1), outer.flatten(1)], dim=1), (0, 1))
        found = locate_frames(counts, [(run, long) for run in whole] + [(run, edge) for run in ends])
        found[found < 0] = pooled.shape[1] - 1
        chosen = pooled[:, found.flatten().to(pooled.device)]
        return chosen.view(self.filters, *found.shape).transpose(0, 1)  # (C, B F) -> (C, B, F) -> (B, C, F)

    def _get_plan(self, size: int) -> list[PlannedBank]:
        sigma = self.gabor.inverse_bandwidths.detach().clamp(*self.gabor.bandwidth_range).tolist()
        widths = self.pooling.widths.detach().clamp(*self.pooling.width_range).tolist()
        parameters = self.pooling.widths
        return plan_banks(
            sigma,
            widths,
            window=self.window,
            stride=self.stride,
            size=size,
            dtype=parameters.dtype,
            device=parameters.device,
        )

    def _build_banks(self, planned: Sequence[PlannedBank], size: int) -> list[FilterBank]:
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
                parts.append(self.gabor.compute_response(filters[:truncated], first_bins[:truncated], bins, size))
            if truncated < len(filters):
                parts.append(
                    self.gabor.compute_gaussian_response(filters[truncated:], first_bins[truncated:], bins, size)
                )
            weights = windows[filters]
            if matrices is not None:
                weights = (matrices @ weights[:, :, None])[:, :, 0]
            per_row = self.stride // step
            before = -(-reach // per_row)
            after = reach // per_row + 1
            weights = nn.functional.pad(weights, (before * per_row - reach, after * per_row - reach - 1))
            banks.append(
                FilterBank(
                    filters,
                    first_bins.tolist(),
                    torch.cat(parts),
                    weights.to(parameters).unflatten(1, (-1, per_row)),  # (n, rows, per row)
                    before,
                )
            )
        return banks

    def _compute_first_centre(self, length: int) -> int:
        """The sample that the first frame is centred on."""
        if self.padding == "symmetric":
            return 0
        # TensorFlow's SAME padding.
        last = (-(-length // self.stride) - 1) * self.stride
        return self.window // 2 - max(last + self.window - length, 0) // 2


class LeafStream:
    """Takes a signal in pieces of any size and gives the frames of the whole, as soon as their windows are complete.

    What is kept of the past is some windows of samples and the smoother's state. Gradients are not kept.

    Args:
        leaf: with symmetric padding, because TensorFlow's needs to know the length beforehand.
    """

    def __init__(self, leaf: Leaf) -> None:
        if leaf.padding != "symmetric":
            raise ValueError(f'a stream needs a Leaf with padding "symmetric", received "{leaf.padding}"')
        self.leaf = leaf
        self._reach = 2 * (leaf.window // 2)  # of a frame, to either side: its window, and the filters around it
        self._samples = leaf.pooling.widths.new_empty(0)
        self._first = 0  # what of the samples' frames was not given yet begins here
        self._state: Tensor | None = None

    def push(self, samples: Tensor) -> Tensor:
        """The next samples (T,) -> the frames that they complete (filters, F).

        Raises:
            ValueError: where the samples are not floating-point numbers in one dimension.
        """
        if samples.dim() != 1 or not samples.is_floating_point():
            received = f"{samples.dtype} of the shape {tuple(samples.shape)}"
            raise ValueError(f"samples are floating-point numbers (T,), received {received}")
        self._samples = torch.cat([self._samples, samples.detach().to(self._samples)])
        return self._compute_frames(max(self._first, (len(self._samples) - self._reach - 1) // self.leaf.stride + 1))

    def finish(self) -> Tensor:
        """The last frames (filters, F), whose windows reach out of the signal. A new signal may follow."""
        frames = self._compute_frames(-(-len(self._samples) // self.leaf.stride))
        self._samples, self._first, self._state = self._samples[:0], 0, None
        return frames

    @torch.no_grad()
    def _compute_frames(self, stop: int) -> Tensor:
        """The frames up to that one, and only so many samples kept as the next ones need."""
        energies = self._samples.new_empty(1, self.leaf.filters, 0)
        if stop > self._first:
            energies = self.leaf.compute_energies(self._samples[None], [len(self._samples)])[..., self._first : stop]
        features, self._state = self.leaf.pcen.continue_from(energies, self._state)
        spare = max(0, stop - -(-self._reach // self.leaf.stride))  # frames, of whose strides nothing is needed
        self._samples = self._samples[spare * self.leaf.stride :].clone()
        self._first = stop - spare
        return features[0]
