"""How coarsely a filter's energy may be sampled before pooling, and with which quadrature weights (docs/leaf.md)."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodline.device import wide_type

# Of a pooled energy, relative to its mean, root mean square on white noise.
TOLERANCE = 1.5e-7
# The share of a filter's energy that may lie outside the band that is kept: other signals hold more there.
MAX_LEAKAGE = 2e-9
# A quadrature serves the parameters of a cell: inverse bandwidths, and pooling widths, within this ratio.
CELL_RATIO = 1.05
# A coarser sampling saves nothing: the finer filters cost more than all that would be this coarse.
MAX_STEP = 40
# In samples, the most that the nodes reach beyond the window.
MAX_OVERHANG = 80
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


class ParameterCell(NamedTuple):
    """A range of a filter's parameters, numbered on logarithmic scales."""

    bandwidth: int
    width: int

    @staticmethod
    def from_parameters(inverse_bandwidth: float, width: float) -> "ParameterCell":
        return ParameterCell(
            *(math.floor(math.log(value) / math.log(CELL_RATIO)) for value in (inverse_bandwidth, width))
        )

    def compute_inverse_bandwidths(self) -> tuple[float, float]:
        return CELL_RATIO**self.bandwidth, CELL_RATIO ** (self.bandwidth + 1)

    def compute_widths(self) -> tuple[float, float]:
        return CELL_RATIO**self.width, CELL_RATIO ** (self.width + 1)


@lru_cache(maxsize=512)
def find_quadrature(cell: ParameterCell, window: int, stride: int, size: int) -> Quadrature:
    """The coarsest quadrature that is accurate for all parameters of a cell.

    Args:
        cell: of the filter's inverse bandwidth and pooling width.
        window: taps of the filter and of the pooling window.
        stride: samples from one frame to the next, which the step divides.
        size: samples of a block, of whose spectrum size / step bins are kept.
    """
    for step in range(min(MAX_STEP, stride), 1, -1):
        if (
            stride % step
            or max(_compute_leakage(sigma, window, step, size) for sigma in cell.compute_inverse_bandwidths())
            > MAX_LEAKAGE
        ):
            continue
        for overhang in range(1, MAX_OVERHANG // step):
            designed, error = _design_quadrature(cell, window, step, size, overhang)
            if error < TOLERANCE:
                return designed
    return Quadrature(1, window // 2, None)


def _design_quadrature(
    cell: ParameterCell, window: int, step: int, size: int, overhang: int
) -> tuple[Quadrature, float]:
    """The best linear estimate, from the nodes, of every sample of a white signal's energy, and its error when pooled.

    The filtered signal z is Gaussian, so the covariance of |z|^2 is the squared modulus of that of z. The wider band
    of a cell's is taken: where its energy is estimated, that of a narrower one is too.
    """
    half = window // 2
    reach = -(-half // step) + overhang
    nodes, samples = step * np.arange(-reach, reach + 1), np.arange(-half, half + 1)
    power = _compute_power(cell.compute_inverse_bandwidths()[0], window, size)
    kept = _compute_autocorrelation(power, 0, size // step // 2, size)
    kernel = kept**2 + CONSTANT_VARIANCE
    between_nodes = kernel[np.abs(nodes[:, None] - nodes)]
    to_samples = kernel[np.abs(nodes[:, None] - samples)]
    matrix = np.linalg.solve(between_nodes + RIDGE * np.eye(len(nodes)), to_samples)

    # What is left out, y, adds to |z|^2 the energies 2 Re(z y*) + |y|^2.
    power = _compute_power(cell.compute_inverse_bandwidths()[1], window, size)
    left_out = _compute_autocorrelation(power, size // step // 2 + 1, size, size)
    kept = _compute_autocorrelation(power, 0, size // step // 2, size)
    lags = np.abs(samples[:, None] - samples)
    between_samples = (kernel + 2 * kept * left_out + left_out**2 + left_out[0] ** 2)[lags]
    errors = []
    for width in cell.compute_widths():
        weights = np.exp(-0.5 * (samples / (half * width)) ** 2)
        on_nodes = matrix @ weights
        variance = weights @ between_samples @ weights + on_nodes @ (
            between_nodes @ on_nodes - 2 * to_samples @ weights
        )
        errors.append(math.sqrt(max(variance, 0.0)) / weights.sum())
    return Quadrature(step, reach, matrix), max(errors)


def _compute_autocorrelation(power: np.ndarray, first: int, last: int, size: int) -> np.ndarray:
    """Of what white noise leaves between two bins (inclusive), relative to its variance in all (size,)."""
    bins = np.arange(len(power))
    return np.fft.irfft(power * ((bins >= first) & (bins <= last)), size) / np.fft.irfft(power, size)[0]


def _compute_leakage(sigma: float, window: int, step: int, size: int) -> float:
    """The share of a filter's energy outside the bins that are kept: a Gaussian's tails, and what its cut scatters."""
    power = _compute_power(sigma, window, size)
    return power[size // step // 2 + 1 :].sum() / power.sum()


def _compute_power(sigma: float, window: int, size: int) -> np.ndarray:
    """|G|^2 of the envelope, at the frequencies from its centre up (size // 2 + 1,)."""
    time = np.arange(window // 2 + 1)
    envelope = np.exp(-(time**2) / (2 * sigma**2))
    padded = np.zeros(size)
    padded[: len(time)] = envelope
    padded[-len(time) + 1 :] = envelope[:0:-1]
    return np.fft.rfft(padded).real ** 2


# A window of so many deviations on either side leaves of a Gaussian what single precision does not see.
TRUNCATION_DEVIATIONS = 5.3


class PlannedBank(NamedTuple):
    """Filters of one step.

    Args:
        filters: their places among all (n,).
        truncated: how many have envelopes that the window cuts; they come first, and the others are whole Gaussians.
        step: samples from one value of their output to the next.
        reach: the pooling weights are on the values at -reach ... reach from a frame's centre.
        matrices: from the weights on all samples of the window to these, or None at the full rate
            (n, 2 reach + 1, window), in double precision.
    """

    filters: Tensor
    truncated: int
    step: int
    reach: int
    matrices: Tensor | None


def plan_banks(
    inverse_bandwidths: Sequence[float],
    widths: Sequence[float],
    *,
    window: int,
    stride: int,
    size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[PlannedBank]:
    """The filters' banks: a function of the parameters alone, so that it is never out of date.

    In double precision all filters are at the full rate, which is exact; so they are where training has diverged and
    a parameter is no number.
    """
    if dtype == torch.float64 or not all(map(math.isfinite, (*inverse_bandwidths, *widths))):
        return plan_full_rate(len(inverse_bandwidths), window, device)
    cells = tuple(
        ParameterCell.from_parameters(sigma, width) for sigma, width in zip(inverse_bandwidths, widths, strict=True)
    )
    return _plan_cells(cells, window, stride, size, device)


def plan_full_rate(filters: int, window: int, device: torch.device) -> list[PlannedBank]:
    """All filters at the full rate."""
    return [PlannedBank(torch.arange(filters, device=device), filters, 1, window // 2, None)]


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what validation plans, training takes from the cache
def _plan_cells(
    cells: tuple[ParameterCell, ...], window: int, stride: int, size: int, device: torch.device
) -> list[PlannedBank]:
    quadratures = [find_quadrature(cell, window, stride, size) for cell in cells]
    cut = [
        chosen.step == 1 or window // 2 < TRUNCATION_DEVIATIONS * cell.compute_inverse_bandwidths()[1]
        for cell, chosen in zip(cells, quadratures, strict=True)
    ]
    banks = []
    for step in sorted({chosen.step for chosen in quadratures}):
        members = [place for place, chosen in enumerate(quadratures) if chosen.step == step]
        members.sort(key=lambda place: not cut[place])
        reach = max(quadratures[place].reach for place in members)
        matrices = None
        if step > 1:
            stacked = np.stack([_widen(quadratures[place], reach) for place in members])
            matrices = torch.tensor(stacked, dtype=wide_type(device), device=device)
        truncated = sum(cut[place] for place in members)
        banks.append(PlannedBank(torch.tensor(members, device=device), truncated, step, reach, matrices))
    return banks


def _widen(chosen: Quadrature, reach: int) -> np.ndarray:
    """The matrix for more nodes, the outer ones without weight."""
    assert chosen.matrix is not None
    return np.pad(chosen.matrix, ((reach - chosen.reach, reach - chosen.reach), (0, 0)))
