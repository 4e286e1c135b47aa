"""The learnable band-pass filters of LEAF (Zeghidour et al., ICLR 2021, section 3.1) and their mel initialisation."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from moodline.audio.mel import mel_triangles

# The full width at half maximum of a Gaussian's spectrum, in radians per sample, is 2 HALF_WIDTH / bandwidth.
HALF_WIDTH = math.sqrt(2 * math.log(2))
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
        centres, bandwidths = mel_initialisation(
            filters=filters,
            sample_rate=sample_rate,
            minimum_frequency=minimum_frequency,
            maximum_frequency=maximum_frequency,
        )
        self.window = window
        self.centre_frequencies = nn.Parameter(torch.tensor(centres, dtype=torch.get_default_dtype()))
        self.inverse_bandwidths = nn.Parameter(torch.tensor(bandwidths, dtype=torch.get_default_dtype()))
        # From a spectrum whose half maximum spans half the band to one as narrow as the window resolves.
        self.bandwidth_range = (4 * HALF_WIDTH / math.pi, window * HALF_WIDTH / math.pi)
        self.project()  # mel filters may be narrower than that, or wider

    @torch.no_grad()
    def project(self) -> None:
        """Bring the parameters back into their ranges; to be called after each optimiser step."""
        self.centre_frequencies.clamp_(0.0, math.pi)
        self.inverse_bandwidths.clamp_(*self.bandwidth_range)

    def response(self, filters: Tensor, first_bins: Tensor, bins: int, size: int) -> Tensor:
        """Some filters' discrete Fourier transforms of length ``size``, on a band of bins for each.

        They are real, because phi(-t) is the conjugate of phi(t).

        Args:
            filters, first_bins: which filters, and the bins that their bands begin at (n,).

        Returns:
            (n, bins)
        """
        mu, sigma = self._in_double(filters)
        time = torch.arange(self.window // 2 + 1, dtype=mu.dtype, device=mu.device)
        envelope = torch.exp(-0.5 * (time / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
        phase = (mu - first_bins[:, None].double() * (2 * math.pi / size)) * time  # the band is moved to the beginning
        taps = torch.polar(envelope, phase).to(self.centre_frequencies.dtype.to_complex())
        return torch.fft.hfft(taps, n=size)[:, :bins]

    def gaussian_response(self, filters: Tensor, first_bins: Tensor, bins: int, size: int) -> Tensor:
        """What ``response`` is near the centre of a filter that the window does not cut: a Gaussian."""
        mu, sigma = self._in_double(filters)
        band = first_bins[:, None] + torch.arange(bins, dtype=mu.dtype, device=mu.device)
        response = torch.exp(-0.5 * (sigma * (band * (2 * math.pi / size) - mu)) ** 2)
        return response.to(self.centre_frequencies.dtype)

    def _in_double(self, filters: Tensor) -> tuple[Tensor, Tensor]:
        """Some filters' parameters (n, 1): what is rounded here would be off at every sample, in the same way."""
        mu = self.centre_frequencies[filters].clamp(0.0, math.pi).double()
        sigma = self.inverse_bandwidths[filters].clamp(*self.bandwidth_range).double()
        return mu[:, None], sigma[:, None]


def mel_initialisation(
    *, filters: int, sample_rate: int, minimum_frequency: float, maximum_frequency: float
) -> tuple[np.ndarray, np.ndarray]:
    """Centre frequencies and inverse bandwidths (filters,) of Gabor filters that resemble mel filters.

    A Gabor filter takes the frequency at which a triangular mel filter has its peak, and a full width at half
    maximum of as many bins as the filter's square root has at half its peak or above (LEAF, section 3.1).

    Raises:
        ValueError: where the frequencies do not ascend within what the sample rate can hold, or are too close.
    """
    for size in SPECTRUM_SIZES:
        triangles = mel_triangles(
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
    return centres, HALF_WIDTH * size / (math.pi * width)
