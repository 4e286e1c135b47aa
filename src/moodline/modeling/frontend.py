"""Front-ends: what LEAF and log-mel share, and the log-mel front-end."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from moodline.modeling.batching import build_length_mask, repeat_full_length


def require_sizes(filters: int, window: int, stride: int) -> None:
    """Refuse no filters, and a window or a stride, in samples, that is too short.

    Raises:
        ValueError: names the first of them.
    """
    for name, value, least in (("filters", filters, 1), ("window", window, 3), ("stride", stride, 1)):
        if value < least:
            raise ValueError(f"{name} is {least} or more (windows and strides in samples), received {value}")


def check_lengths(waveforms: Tensor, lengths: Tensor | None) -> Tensor:
    """The lengths of a batch of waveforms (B, T); the whole of each where none are given.

    Raises:
        ValueError: where the waveforms or the lengths have another shape, type or range.
    """
    if waveforms.dim() != 2:
        raise ValueError(f"waveforms are a batch (B, T), received the shape {tuple(waveforms.shape)}")
    if not waveforms.is_floating_point():
        raise ValueError(f"waveforms are floating-point numbers, received {waveforms.dtype}")
    if lengths is None:
        return repeat_full_length(waveforms)
    if lengths.shape != waveforms.shape[:1] or lengths.is_floating_point() or lengths.dtype == torch.bool:
        received = f"{lengths.dtype} of the shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths are {len(waveforms)} whole numbers, one a waveform, received {received}")
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= waveforms.shape[1]:
        received = f"{int(lengths.min())} to {int(lengths.max())}"
        raise ValueError(f"lengths are from 0 to the waveforms' {waveforms.shape[1]} samples, received {received}")
    return lengths


def convert_to_mel(frequency: np.ndarray | float) -> np.ndarray:
    """Hz to mel."""
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def build_mel_triangles(
    frequencies: np.ndarray, *, filters: int, sample_rate: int, minimum_frequency: float, maximum_frequency: float
) -> np.ndarray:
    """How much of each frequency (N,), in Hz, every filter lets through: (filters, N), 1 at a filter's peak.

    The peaks, and where the lowest and the highest filter end, are as far from each other on the mel scale.

    Raises:
        ValueError: where the frequencies do not ascend within what the sample rate can hold.
    """
    if not 0 <= minimum_frequency < maximum_frequency <= sample_rate / 2:
        raise ValueError(
            f"mel filters span ascending frequencies up to half the sample rate of {sample_rate} Hz, "
            f"received {minimum_frequency} to {maximum_frequency} Hz"
        )
    places = convert_to_mel(frequencies)
    edges = np.linspace(convert_to_mel(minimum_frequency), convert_to_mel(maximum_frequency), filters + 2)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0.0)


class FrontEnd(nn.Module):
    """Waveforms to features, a frame for every stride of samples.

    Args:
        filters: C, the number of channels.
        sample_rate: in Hz.
        window_ms, stride_ms: length of a frame, and from one to the next.

    Raises:
        ValueError: where there is no filter, a window of less than three samples or a stride of less than one.
    """

    def __init__(self, *, filters: int, sample_rate: int, window_ms: float, stride_ms: float) -> None:
        super().__init__()
        self.filters = filters
        self.sample_rate = sample_rate
        self.window = 2 * round(window_ms * sample_rate / 2000) + 1
        self.stride = round(stride_ms * sample_rate / 1000)
        require_sizes(filters, self.window, self.stride)

    def project(self) -> None:
        """Bring all parameters back into their ranges; to be called after each optimiser step."""
        raise NotImplementedError

    def compute_features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, filters, F), F that of the longest waveform; beyond a signal's frames, anything."""
        raise NotImplementedError

    def frames(self, lengths: Tensor) -> Tensor:
        """How many frames signals of so many samples give."""
        return -(-lengths // self.stride)

    def count_min_samples(self, frames: int) -> int:
        """The least number of samples that gives so many frames."""
        return (frames - 1) * self.stride + 1

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Waveforms (B, T) at the sample rate, lengths (B,) in samples -> features (B, filters, F), frames (B,).

        What lies beyond a waveform's length is not looked at; features beyond its frames are zero.

        Raises:
            ValueError: where the waveforms or the lengths have another shape, type or range.
        """
        lengths = check_lengths(waveforms, lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self.compute_features(waveforms, lengths)
        frames = self.frames(lengths)
        return features * build_length_mask(frames, features.shape[-1])[:, None], frames


MIN_SPECTRUM_SIZE = 512  # of LEAF's mel filters too
ENERGY_FLOOR = 1e-5


class LogMel(FrontEnd):
    """Waveforms to features: Hann's window, power spectrum, triangular mel filters, logarithm.

    log(max(E, floor) / floor): silence is zero, as it is in LEAF's features, so that what is masked or continued
    reads as silence. Filters, window and stride are LEAF's initial ones, and so is what a frame is centred on: frame f
    on sample f * stride.

    Args:
        filters: C, the number of channels.
        sample_rate, minimum_frequency, maximum_frequency: in Hz.
        window_ms, stride_ms: length of a frame, and from one to the next.

    Raises:
        ValueError: where there is no filter, a window of less than three samples, a stride of less than one, or the
            frequencies do not ascend within what the sample rate can hold.
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
        triangles = build_mel_triangles(
            np.fft.rfftfreq(self.spectrum_size, 1 / sample_rate),
            filters=filters,
            sample_rate=sample_rate,
            minimum_frequency=minimum_frequency,
            maximum_frequency=maximum_frequency,
        )
        # Functions of the arguments alone: no part of what a model keeps.
        self.register_buffer("hann", torch.hann_window(self.window, periodic=False), persistent=False)
        self.register_buffer("triangles", torch.tensor(triangles, dtype=self.hann.dtype), persistent=False)

    def project(self) -> None:
        """Nothing is learned, so nothing has left its range."""

    def compute_features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrontEnd``."""
        energies = self.compute_energies(waveforms.to(self.hann.dtype), lengths)
        return (energies.clamp(min=ENERGY_FLOOR) / ENERGY_FLOOR).log()

    def compute_energies(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mel energies (B, filters, F), F that of the longest waveform."""
        waveforms = waveforms.masked_fill(~build_length_mask(lengths, waveforms.shape[1]), 0.0)
        half = self.window // 2
        # A frame more than there are: a transform of nothing is refused, and what is no frame is cut off at the end.
        padded = functional.pad(waveforms, (half, half + self.stride))
        frames = padded.unfold(1, self.window, self.stride)  # (B, T) -> (B, F + 1 or more, window)
        spectrum = torch.fft.rfft(frames * self.hann, self.spectrum_size)  # (B, F + 1 or more, bins)
        power = spectrum.real.square() + spectrum.imag.square()
        longest = int(self.frames(lengths).max())
        return (power @ self.triangles.T).mT[..., :longest]  # (..., bins) (bins, filters) -> (B, filters, F)
