"""Front-ends: the interface that LEAF and log-mel share, and log-mel."""

import numpy as np
import torch
from torch import Tensor, nn

from moodline.modeling.batching import build_length_mask, repeat_full_length


def convert_to_mel(frequency: np.ndarray | float) -> np.ndarray:
    """Convert Hz to mel."""
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def build_mel_triangles(
    frequencies: np.ndarray, filters: int, sample_rate: int, minimum_frequency: float, maximum_frequency: float
) -> np.ndarray:
    """Build triangular filters at frequencies (N,) in Hz, equally spaced on the mel scale: gains (filters, N)."""
    if not 0 <= minimum_frequency < maximum_frequency <= sample_rate / 2:
        raise ValueError(
            f"mel filters need ascending frequencies up to half the sample rate of {sample_rate} Hz, "
            f"received {minimum_frequency} to {maximum_frequency} Hz"
        )
    places = convert_to_mel(frequencies)
    edges = np.linspace(convert_to_mel(minimum_frequency), convert_to_mel(maximum_frequency), filters + 2)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0.0)


class FrontEnd(nn.Module):
    """Map waveforms at a sample rate in Hz to features, one frame per stride, windows an odd number of samples."""

    def __init__(self, *, filters: int, sample_rate: int, window_ms: float, stride_ms: float) -> None:
        super().__init__()
        self.filters = filters
        self.sample_rate = sample_rate
        self.window = 2 * round(window_ms * sample_rate / 2000) + 1
        self.stride = round(stride_ms * sample_rate / 1000)
        for name, value, least in (("filters", filters, 1), ("window", self.window, 3), ("stride", self.stride, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, received {value} (windows and strides in samples)")

    def project(self) -> None:
        """Bring learned parameters back into their ranges; call it after each optimiser step."""

    def compute_features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Compute features (B, filters, F), F of the longest waveform; frames beyond a waveform's own are arbitrary."""
        raise NotImplementedError

    def frames(self, lengths: Tensor) -> Tensor:
        """Return the number of frames of signals with so many samples."""
        return -(-lengths // self.stride)

    def count_min_samples(self, frames: int) -> int:
        """Return the least number of samples with so many frames."""
        return (frames - 1) * self.stride + 1

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map waveforms (B, T), lengths (B,) in samples to features (B, filters, F), frames (B,).

        Samples beyond a waveform's length are ignored; features beyond its frames are zero. Another shape, type or
        range raises ValueError.
        """
        lengths = check_lengths(waveforms, lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self.compute_features(waveforms, lengths)
        frames = self.frames(lengths)
        return features * build_length_mask(frames, features.shape[-1])[:, None], frames


def check_lengths(waveforms: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the lengths of waveforms (B, T), by default all of T, or raise ``ValueError``."""
    if waveforms.dim() != 2:
        raise ValueError(f"waveforms must have the shape (B, T), received {tuple(waveforms.shape)}")
    if not waveforms.is_floating_point():
        raise ValueError(f"waveforms must be floating-point numbers, received {waveforms.dtype}")
    if lengths is None:
        return repeat_full_length(waveforms)
    if lengths.shape != waveforms.shape[:1] or lengths.is_floating_point() or lengths.dtype == torch.bool:
        received = f"{lengths.dtype} of the shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths must be {len(waveforms)} whole numbers, one per waveform, received {received}")
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= waveforms.shape[1]:
        received = f"{int(lengths.min())} to {int(lengths.max())}"
        raise ValueError(f"lengths must be from 0 to the waveforms' {waveforms.shape[1]} samples, received {received}")
    return lengths


MIN_SPECTRUM_SIZE = 512  # also of LEAF's mel filters
ENERGY_FLOOR = 1e-5  # LEAF's too


class LogMel(FrontEnd):
    """Compute log(max(E, floor) / floor) of mel energies E: Hann window, power spectrum, triangular mel filters.

    Silence is zero, as in LEAF's features. Filters (in Hz), window, stride and errors are those of ``Leaf``, and frame
    f is centred on sample f * stride.
    """

    hann: Tensor
    triangles: Tensor

    def __init__(
        self,
        *,
        filters: int = 40,
        sample_rate: int = 16000,
        window_ms: float = 25.0,
        stride_ms: float = 30.0,
        minimum_frequency: float = 60.0,
        maximum_frequency: float = 7800.0,
    ) -> None:
        super().__init__(filters=filters, sample_rate=sample_rate, window_ms=window_ms, stride_ms=stride_ms)
        self.spectrum_size = max(MIN_SPECTRUM_SIZE, 1 << (self.window - 1).bit_length())  # a power of two
        bins = np.fft.rfftfreq(self.spectrum_size, 1 / sample_rate)
        triangles = build_mel_triangles(bins, filters, sample_rate, minimum_frequency, maximum_frequency)
        # Not persistent: they follow from the arguments.
        self.register_buffer("hann", torch.hann_window(self.window, periodic=False), persistent=False)
        self.register_buffer("triangles", torch.tensor(triangles, dtype=self.hann.dtype), persistent=False)

    def compute_features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        waveforms = waveforms.to(self.hann.dtype).masked_fill(~build_length_mask(lengths, waveforms.shape[1]), 0.0)
        half = self.window // 2
        # One frame more than needed, because a transform of no frames is refused.
        padded = nn.functional.pad(waveforms, (half, half + self.stride))
        frames = padded.unfold(1, self.window, self.stride)  # (B, T) -> (B, F + 1 or more, window)
        spectrum = torch.fft.rfft(frames * self.hann, self.spectrum_size)  # (B, F + 1 or more, bins)
        power = spectrum.real.square() + spectrum.imag.square()
        longest = int(self.frames(lengths).max())
        energies = (power @ self.triangles.T).mT[..., :longest]  # (..., bins) (bins, filters) -> (B, filters, F)
        return (energies.clamp(min=ENERGY_FLOOR) / ENERGY_FLOOR).log()
