"""Triangular filters on the mel scale, O'Shaughnessy's: mel(f) = 1127 ln(1 + f / 700)."""

import numpy as np


def mel(frequency: np.ndarray | float) -> np.ndarray:
    """Hz to mel."""
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def mel_triangles(
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
    places = mel(frequencies)
    edges = np.linspace(mel(minimum_frequency), mel(maximum_frequency), filters + 2)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0.0)
