"""Plan how coarsely each filter's energy is sampled before pooling, and with which weights (docs/leaf.md)."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodline.device import widen

TOLERANCE = 1.5e-7  # error of a pooled energy relative to its mean, root mean square on white noise
MAX_LEAKAGE = 2e-9  # share of a filter's energy outside its band; other signals have more there than white noise
CELL_RATIO = 1.05  # one quadrature serves inverse bandwidths, and pooling widths, within this ratio
MAX_STEP = 40  # coarser sampling saves nothing: the finer filters dominate the cost
MAX_OVERHANG = 80  # samples by which nodes may reach beyond the window
RIDGE = 1e-12  # added to the nodes' covariance: keeps weights small where nodes are redundant
CONSTANT_VARIANCE = 4.0  # of a constant that represents the energy's mean
TRUNCATION_DEVIATIONS = 5.3  # a Gaussian is below single precision beyond these

Range = tuple[float, float]


class Quadrature(NamedTuple):
    """Map weights on every sample of a window to weights on nodes ``step`` samples apart."""

    step: int  # 1 at the full rate
    reach: int  # the nodes are at -reach * step ... reach * step from the window's centre
    matrix: np.ndarray | None  # (2 reach + 1, window); None at the full rate, where the weights stay the same


def _find_cell(value: float) -> Range:
    """Return the lowest and the highest value of the cell that contains a parameter."""
    number = math.floor(math.log(value) / math.log(CELL_RATIO))
    return CELL_RATIO**number, CELL_RATIO ** (number + 1)


@lru_cache(maxsize=512)
def find_quadrature(bandwidths: Range, widths: Range, window: int, stride: int, size: int) -> Quadrature:
    """Find the coarsest quadrature that is accurate for a whole cell of inverse bandwidths and pooling widths.

    Its step divides the stride. A block has ``size`` samples, of whose spectrum size / step bins are kept.
    """
    powers = [_compute_power(sigma, window, size) for sigma in bandwidths]
    for step in range(min(MAX_STEP, stride), 1, -1):
        leakage = max(power[size // step // 2 + 1 :].sum() / power.sum() for power in powers)
        if stride % step or leakage > MAX_LEAKAGE:
            continue
        for overhang in range(1, MAX_OVERHANG // step):
            quadrature, error = _design_quadrature(powers, widths, window, step, size, overhang)
            if error < TOLERANCE:
                return quadrature
    return Quadrature(1, window // 2, None)


def _design_quadrature(
    powers: list[np.ndarray], widths: Range, window: int, step: int, size: int, overhang: int
) -> tuple[Quadrature, float]:
    """Design the best linear estimate, from the nodes, of a white signal's energy; return its error when pooled too.

    The filtered signal z is Gaussian, so the covariance of |z|^2 is the squared modulus of that of z. The estimate is
    for the cell's wider band, which includes narrower ones.
    """
    half = window // 2
    reach = -(-half // step) + overhang
    nodes, samples = step * np.arange(-reach, reach + 1), np.arange(-half, half + 1)
    last = size // step // 2
    kept = _compute_autocorrelation(powers[0], 0, last, size)
    kernel = kept**2 + CONSTANT_VARIANCE
    between_nodes = kernel[np.abs(nodes[:, None] - nodes)]
    to_samples = kernel[np.abs(nodes[:, None] - samples)]
    matrix = np.linalg.solve(between_nodes + RIDGE * np.eye(len(nodes)), to_samples)

    # The part y that is cut off adds the energies 2 Re(z y*) + |y|^2.
    left_out = _compute_autocorrelation(powers[1], last + 1, size, size)
    kept = _compute_autocorrelation(powers[1], 0, last, size)
    lags = np.abs(samples[:, None] - samples)
    between_samples = (kernel + 2 * kept * left_out + left_out**2 + left_out[0] ** 2)[lags]
    errors = []
    for width in widths:
        weights = np.exp(-0.5 * (samples / (half * width)) ** 2)
        on_nodes = matrix @ weights
        variance = weights @ between_samples @ weights
        variance += on_nodes @ (between_nodes @ on_nodes - 2 * to_samples @ weights)
        errors.append(math.sqrt(max(variance, 0.0)) / weights.sum())
    return Quadrature(step, reach, matrix), max(errors)


def _compute_autocorrelation(power: np.ndarray, first: int, last: int, size: int) -> np.ndarray:
    """Compute the autocorrelation (size,) of filtered white noise between two bins, relative to its total variance."""
    bins = np.arange(len(power))
    return np.fft.irfft(power * ((bins >= first) & (bins <= last)), size) / np.fft.irfft(power, size)[0]


def _compute_power(sigma: float, window: int, size: int) -> np.ndarray:
    """Compute the power spectrum of a truncated Gaussian envelope, from its centre up (size // 2 + 1,)."""
    time = np.arange(window // 2 + 1)
    envelope = np.exp(-(time**2) / (2 * sigma**2))
    padded = np.zeros(size)
    padded[: len(time)] = envelope
    padded[-len(time) + 1 :] = envelope[:0:-1]
    return np.fft.rfft(padded).real ** 2


class PlannedBank(NamedTuple):
    """Hold the plan of filters that share a step."""

    filters: Tensor  # indices (n,)
    truncated: int  # how many have envelopes that the window truncates; they come first
    step: int  # samples between two values of their output
    reach: int  # the pooling weights are on the values at -reach ... reach from a frame's centre
    matrices: Tensor | None  # quadratures (n, 2 reach + 1, window) in double precision; None at the full rate


def plan_banks(inverse_bandwidths: Tensor, widths: Tensor, window: int, stride: int, size: int) -> list[PlannedBank]:
    """Plan the banks of filters with these parameters (filters,).

    Filters in double precision, or whose training has diverged, are at the full rate, which is exact.
    """
    parameters = torch.stack([inverse_bandwidths, widths], dim=1)
    if parameters.dtype == torch.float64 or not parameters.isfinite().all():
        return plan_full_rate(len(parameters), window, parameters.device)
    cells = tuple((_find_cell(sigma), _find_cell(width)) for sigma, width in parameters.tolist())
    return _plan_cells(cells, window, stride, size, parameters.device)


def plan_full_rate(filters: int, window: int, device: torch.device) -> list[PlannedBank]:
    return [PlannedBank(torch.arange(filters, device=device), filters, 1, window // 2, None)]


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # training may take from the cache what validation has planned
def _plan_cells(
    cells: tuple[tuple[Range, Range], ...], window: int, stride: int, size: int, device: torch.device
) -> list[PlannedBank]:
    quadratures = [find_quadrature(*cell, window, stride, size) for cell in cells]
    truncated = [
        quadrature.step == 1 or window // 2 < TRUNCATION_DEVIATIONS * bandwidths[1]
        for (bandwidths, _), quadrature in zip(cells, quadratures, strict=True)
    ]
    banks = []
    for step in sorted({quadrature.step for quadrature in quadratures}):
        members = [place for place, quadrature in enumerate(quadratures) if quadrature.step == step]
        members.sort(key=lambda place: not truncated[place])
        reach = max(quadratures[place].reach for place in members)
        # Zero rows, so that all have the same number of nodes.
        padded = [
            np.pad(matrix, ((reach - own, reach - own), (0, 0)))
            for _, own, matrix in (quadratures[place] for place in members)
            if matrix is not None
        ]
        matrices = widen(torch.from_numpy(np.stack(padded)), device) if padded else None
        count = sum(truncated[place] for place in members)
        banks.append(PlannedBank(torch.tensor(members, device=device), count, step, reach, matrices))
    return banks
