"""One number a stage by which its logits are divided, so that its probabilities can be believed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.1, 10.0  # what a temperature is looked for between
NOT_CALIBRATED = "not calibrated (temperature 1): "


class FittedTemperature(NamedTuple):
    """A temperature, and what the probabilities are where it is not the one of the lowest NLL; empty where it is."""

    temperature: float
    note: str = ""


def compute_nll(logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0) -> float:
    """NLL, the mean of -log softmax(z_n / T) at the label of n, in nats: logits z (N, C), labels (N,).

    Guo et al., "On calibration of modern neural networks", ICML 2017, section 2.
    """
    from scipy.special import log_softmax

    likelihoods = log_softmax(logits.astype(float) / temperature, axis=-1)  # (N, C)
    return -float(np.mean(likelihoods[np.arange(len(labels)), labels]))


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> FittedTemperature:
    """The temperature of the lowest NLL, from ``LOWEST`` to ``HIGHEST``: (N, C), (N,) -> T.

    Temperature scaling, Guo et al. 2017, section 4.2. The NLL is convex in 1/T, so that it has one minimum over log T.
    No class is weighted. T is 1 where the labels cannot tell it: there are none, all are of one class, or all are
    predicted rightly, since the NLL then falls for ever as T does.
    """
    from scipy.optimize import minimize_scalar

    if len(set(labels.tolist())) < 2:
        lack = "labels are of one class" if len(labels) else "utterances have no labels"
        return FittedTemperature(1.0, f"{NOT_CALIBRATED}the validation set's {lack}")
    values = logits.astype(float)
    if (values[np.arange(len(labels)), labels] == values.max(axis=-1)).all():
        return FittedTemperature(
            1.0, f"{NOT_CALIBRATED}the validation set, all predicted rightly, does not tell how sure to be"
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
        left = "too sure" if temperature > 1 else "too unsure"
        return FittedTemperature(
            temperature,
            f"at the limit of their calibration (temperature {temperature:g}), and still {left} on the "
            "validation set; labels, WA, UA and F1 do not depend on it",
        )
    return FittedTemperature(temperature)
