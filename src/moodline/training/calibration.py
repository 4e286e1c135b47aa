"""Calibrate a stage: fit the temperature that its logits are divided by."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.1, 10.0  # bounds of the search for a temperature
NOT_CALIBRATED = "not calibrated (temperature 1): "


class FittedTemperature(NamedTuple):
    """Hold a temperature, and a note unless it minimises the NLL."""

    temperature: float
    note: str = ""


def compute_nll(logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0) -> float:
    """Compute the NLL, the mean of -log softmax(z_n / T) at the label of n, in nats: logits z (N, C), labels (N,).

    Guo et al., "On calibration of modern neural networks", ICML 2017, section 2.
    """
    from scipy.special import log_softmax

    likelihoods = log_softmax(logits.astype(float) / temperature, axis=-1)  # (N, C)
    return -float(np.mean(likelihoods[np.arange(len(labels)), labels]))


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> FittedTemperature:
    """Fit the temperature of the lowest NLL, from ``LOWEST`` to ``HIGHEST``: (N, C), (N,) -> T.

    Temperature scaling, Guo et al. 2017, section 4.2. The NLL is convex in 1/T and has one minimum over log T. Classes
    are not weighted. T is 1 if it cannot be estimated: without labels, with labels of one class, or if all predictions
    are correct, since the NLL then decreases without bound as T decreases.
    """
    from scipy.optimize import minimize_scalar

    if len(set(labels.tolist())) < 2:
        lack = "labels are of one class" if len(labels) else "utterances have no labels"
        return FittedTemperature(1.0, f"{NOT_CALIBRATED}the validation set's {lack}")
    values = logits.astype(float)
    if (values[np.arange(len(labels)), labels] == values.max(axis=-1)).all():
        return FittedTemperature(
            1.0, f"{NOT_CALIBRATED}all validation predictions are correct, so the temperature cannot be estimated"
        )
    edges = np.log([LOWEST, HIGHEST])
    found = minimize_scalar(
        lambda log_temperature: compute_nll(values, labels, np.exp(log_temperature)),
        bounds=edges,
        method="bounded",
        options={"xatol": 1e-7},
    )
    temperature = float(np.exp(found.x))
    if np.abs(found.x - edges).min() < 1e-5:
        left = "overconfident" if temperature > 1 else "underconfident"
        return FittedTemperature(
            temperature,
            f"at the limit of the calibration (temperature {temperature:g}) and still {left} on the validation set; "
            "labels, WA, UA and F1 do not depend on it",
        )
    return FittedTemperature(temperature)
