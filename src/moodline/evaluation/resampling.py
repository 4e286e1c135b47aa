"""95 % percentile bootstrap intervals over conversations."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 1000, 0
# Positions of conversations that are drawn before they are measured: 8 MiB of them, and as much some times over.
DRAWS_AT_ONCE = 2**20

Interval = tuple[float, float] | None
"""None where one conversation is all there is."""


def percentile_bounds(
    conversations: int,
    measure: Callable[[NDArray[np.integer]], NDArray],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[NDArray, NDArray] | None:
    """The lower and the upper bounds of measures of so many conversations, each (...); None of fewer than two.

    A measure that is NaN of some draw has NaN for bounds.

    Args:
        measure: gives, of B draws of positions of conversations (B, draws), B values of each measure: (..., B)
    """
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes longer to import than the rest of this module

    if conversations < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of NaN, which is told
        bounds = bootstrap(
            (np.arange(conversations),),
            lambda drawn, axis: measure(drawn),
            vectorized=True,
            method="percentile",
            n_resamples=resamples,
            batch=max(1, DRAWS_AT_ONCE // conversations),
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return bounds.low, bounds.high


def times_drawn(drawn: NDArray[np.integer], conversations: int) -> NDArray[np.float64]:
    """How often each conversation is drawn: (B, draws) -> (B, conversations).

    In floating point, where products with counts are fast, and exact as long as the counts are.
    """
    return np.apply_along_axis(np.bincount, -1, drawn, minlength=conversations).astype(float)
