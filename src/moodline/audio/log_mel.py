"""Instead of LEAF: logarithms of mel energies, of which nothing is learned."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moodline.audio.front_end import FrontEnd
from moodline.audio.mel import mel_triangles
from moodline.padding import length_mask

LEAST_SPECTRUM_SIZE = 512  # of LEAF's mel filters too
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
        self.spectrum_size = max(LEAST_SPECTRUM_SIZE, 1 << (self.window - 1).bit_length())  # a power of two
        triangles = mel_triangles(
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

    def features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrontEnd``."""
        energies = self.energies(waveforms.to(self.hann.dtype), lengths)
        return (energies.clamp(min=ENERGY_FLOOR) / ENERGY_FLOOR).log()

    def energies(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mel energies (B, filters, F), F that of the longest waveform."""
        waveforms = waveforms.masked_fill(~length_mask(lengths, waveforms.shape[1]), 0.0)
        half = self.window // 2
        # A frame more than there are: a transform of nothing is refused, and what is no frame is cut off at the end.
        padded = functional.pad(waveforms, (half, half + self.stride))
        frames = padded.unfold(1, self.window, self.stride)  # (B, T) -> (B, F + 1 or more, window)
        spectrum = torch.fft.rfft(frames * self.hann, self.spectrum_size)  # (B, F + 1 or more, bins)
        power = spectrum.real.square() + spectrum.imag.square()
        longest = int(self.frames(lengths).max())
        return (power @ self.triangles.T).mT[..., :longest]  # (..., bins) (bins, filters) -> (B, filters, F)
