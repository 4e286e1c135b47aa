"""Which of LEAF's filters are sampled together, and how coarsely."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodline.audio.quadrature import Cell, Quadrature, quadrature

# A window of so many deviations on either side leaves of a Gaussian what single precision does not see.
DEVIATIONS = 5.3


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


def plan(
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
        return full_rate(len(inverse_bandwidths), window, device)
    cells = tuple(Cell.of(sigma, width) for sigma, width in zip(inverse_bandwidths, widths, strict=True))
    return _plan(cells, window, stride, size, device)


def full_rate(filters: int, window: int, device: torch.device) -> list[PlannedBank]:
    """All filters at the full rate."""
    return [PlannedBank(torch.arange(filters, device=device), filters, 1, window // 2, None)]


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what validation plans, training takes from the cache
def _plan(cells: tuple[Cell, ...], window: int, stride: int, size: int, device: torch.device) -> list[PlannedBank]:
    quadratures = [quadrature(cell, window, stride, size) for cell in cells]
    cut = [
        chosen.step == 1 or window // 2 < DEVIATIONS * cell.inverse_bandwidths()[1]
        for cell, chosen in zip(cells, quadratures, strict=True)
    ]
    banks = []
    for step in sorted({chosen.step for chosen in quadratures}):
        members = [place for place, chosen in enumerate(quadratures) if chosen.step == step]
        members.sort(key=lambda place: not cut[place])
        reach = max(quadratures[place].reach for place in members)
        matrices = None
        if step > 1:
            matrices = torch.tensor(np.stack([_widened(quadratures[place], reach) for place in members]), device=device)
        truncated = sum(cut[place] for place in members)
        banks.append(PlannedBank(torch.tensor(members, device=device), truncated, step, reach, matrices))
    return banks


def _widened(chosen: Quadrature, reach: int) -> np.ndarray:
    """The matrix for more nodes, the outer ones without weight."""
    assert chosen.matrix is not None
    return np.pad(chosen.matrix, ((reach - chosen.reach, reach - chosen.reach), (0, 0)))
