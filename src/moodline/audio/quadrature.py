"""How coarsely a filter's energy may be sampled before it is pooled, and with which weights (docs/leaf.md)."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Of a pooled energy, relative to its mean, root mean square on white noise.
TOLERANCE = 1.5e-7
# The share of a filter's energy that may lie outside the band that is kept: other signals hold more there.
LEAKAGE = 2e-9
# A quadrature serves the parameters of a cell: inverse bandwidths, and pooling widths, within this ratio.
CELL = 1.05
# A coarser sampling saves nothing: the finer filters cost more than all that would be this coarse.
COARSEST = 40
# In samples, the most that the nodes reach beyond the window.
OVERHANG = 80
# Of the nodes' covariance, whose variance is one: it keeps the weights from growing where nodes tell the same.
RIDGE = 1e-12
# Of a constant, which the energy's mean is.
CONSTANT_VARIANCE = 4.0


class Quadrature(NamedTuple):
    """Weights on every sample of a window -> weights on nodes ``step`` samples apart.

    Args:
        step: 1 at the full rate.
        reach: the nodes are at -reach * step ... reach * step from the window's centre.
        matrix: (2 reach + 1, window), or None at the full rate, where the weights stay what they are.
    """

    step: int
    reach: int
    matrix: np.ndarray | None


class Cell(NamedTuple):
    """A range of a filter's parameters, numbered on logarithmic scales."""

    bandwidth: int
    width: int

    @staticmethod
    def of(inverse_bandwidth: float, width: float) -> "Cell":
        return Cell(*(math.floor(math.log(value) / math.log(CELL)) for value in (inverse_bandwidth, width)))

    def inverse_bandwidths(self) -> tuple[float, float]:
        return CELL**self.bandwidth, CELL ** (self.bandwidth + 1)

    def widths(self) -> tuple[float, float]:
        return CELL**self.width, CELL ** (self.width + 1)


@lru_cache(maxsize=512)
def quadrature(cell: Cell, window: int, stride: int, size: int) -> Quadrature:
    """The coarsest quadrature that is accurate for all parameters of a cell.

    Args:
        cell: of the filter's inverse bandwidth and pooling width.
        window: taps of the filter and of the pooling window.
        stride: samples from one frame to the next, which the step divides.
        size: samples of a block, of whose spectrum size / step bins are kept.
    """
    for step in range(min(COARSEST, stride), 1, -1):
        if stride % step or max(_leakage(sigma, window, step, size) for sigma in cell.inverse_bandwidths()) > LEAKAGE:
            continue
        for overhang in range(1, OVERHANG // step):
            designed, error = _design(cell, window, step, size, overhang)
            if error < TOLERANCE:
                return designed
    return Quadrature(1, window // 2, None)


def _design(cell: Cell, window: int, step: int, size: int, overhang: int) -> tuple[Quadrature, float]:
    """The best linear estimate, from the nodes, of every sample of a white signal's energy, and its error when pooled.

    The filtered signal z is Gaussian, so the covariance of |z|^2 is the squared modulus of that of z. The wider band
    of a cell's is taken: where its energy is estimated, that of a narrower one is too.
    """
    half = window // 2
    reach = -(-half // step) + overhang
    nodes, samples = step * np.arange(-reach, reach + 1), np.arange(-half, half + 1)
    power = _power(cell.inverse_bandwidths()[0], window, size)
    kept = _autocorrelation(power, 0, size // step // 2, size)
    kernel = kept**2 + CONSTANT_VARIANCE
    between_nodes = kernel[np.abs(nodes[:, None] - nodes)]
    to_samples = kernel[np.abs(nodes[:, None] - samples)]
    matrix = np.linalg.solve(between_nodes + RIDGE * np.eye(len(nodes)), to_samples)

    # What is left out, y, adds to |z|^2 the energies 2 Re(z y*) + |y|^2.
    power = _power(cell.inverse_bandwidths()[1], window, size)
    left_out = _autocorrelation(power, size // step // 2 + 1, size, size)
    kept = _autocorrelation(power, 0, size // step // 2, size)
    lags = np.abs(samples[:, None] - samples)
    between_samples = (kernel + 2 * kept * left_out + left_out**2 + left_out[0] ** 2)[lags]
    errors = []
    for width in cell.widths():
        weights = np.exp(-0.5 * (samples / (half * width)) ** 2)
        on_nodes = matrix @ weights
        variance = weights @ between_samples @ weights + on_nodes @ (
            between_nodes @ on_nodes - 2 * to_samples @ weights
        )
        errors.append(math.sqrt(max(variance, 0.0)) / weights.sum())
    return Quadrature(step, reach, matrix), max(errors)


def _autocorrelation(power: np.ndarray, first: int, last: int, size: int) -> np.ndarray:
    """Of what white noise leaves between two bins (inclusive), relative to its variance in all (size,)."""
    bins = np.arange(len(power))
    return np.fft.irfft(power * ((bins >= first) & (bins <= last)), size) / np.fft.irfft(power, size)[0]


def _leakage(sigma: float, window: int, step: int, size: int) -> float:
    """The share of a filter's energy outside the bins that are kept: a Gaussian's tails, and what its cut scatters."""
    power = _power(sigma, window, size)
    return power[size // step // 2 + 1 :].sum() / power.sum()


def _power(sigma: float, window: int, size: int) -> np.ndarray:
    """|G|^2 of the envelope, at the frequencies from its centre up (size // 2 + 1,)."""
    time = np.arange(window // 2 + 1)
    envelope = np.exp(-(time**2) / (2 * sigma**2))
    padded = np.zeros(size)
    padded[: len(time)] = envelope
    padded[-len(time) + 1 :] = envelope[:0:-1]
    return np.fft.rfft(padded).real ** 2
