"""How good predictions are: scores of confusion matrices, and how far probabilities can be believed.

A confusion matrix is (C, C): rows are the reference, columns the prediction, cells count utterances. Every
score takes matrices of shape (..., C, C) and gives (...), so that thousands of resamples cost one call. Where a
quotient has nothing to divide by (no utterance, a class without support) the result is NaN, never a silent 0.

Calibration is measured on probabilities (N, C), whose rows sum to 1, and the reference classes' positions (N,). With
no utterance it is NaN too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moodline.errors import MoodlineError

CALIBRATION_BINS = 15  # Guo et al. 2017


def confusion(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Labels (N,) and predictions (N,), both names of classes -> counts (C, C).

    Raises MoodlineError for a name that is not among the classes.
    """
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(matrix, (_indices(labels, classes), _indices(predicted, classes)), 1)
    return matrix


def _indices(names: Sequence[str], classes: Sequence[str]) -> NDArray[np.intp]:
    index = {name: position for position, name in enumerate(classes)}
    try:
        return np.array([index[name] for name in names], dtype=np.intp)
    except KeyError as stranger:
        raise MoodlineError(
            f"a label and a prediction are among the classes {', '.join(classes)}: {stranger} is not; "
            "score with the label set that the model was trained with"
        ) from None


def weighted_accuracy(confusions: NDArray) -> NDArray[np.float64]:
    """WA, the share of utterances right: (..., C, C) -> (...)."""
    return _quotient(_hits(confusions).sum(axis=-1), confusions.sum(axis=(-2, -1)))


def unweighted_accuracy(confusions: NDArray) -> NDArray[np.float64]:
    """UA, the mean of the class recalls: (..., C, C) -> (...).

    The mean runs over the classes that are present in the reference: a class that nobody expressed has no recall,
    and counting it as 0 would punish the system for the test set.
    """
    present = confusions.sum(axis=-1) > 0
    recalls = np.where(present, class_scores(confusions).recall, 0.0)
    return _quotient(recalls.sum(axis=-1), present.sum(axis=-1))


def weighted_f1(confusions: NDArray) -> NDArray[np.float64]:
    """The mean of the classes' F1, each weighted by its utterances in the reference: (..., C, C) -> (...)."""
    scores = class_scores(confusions)
    weighted = np.where(scores.support > 0, scores.f1 * scores.support, 0.0)
    return _quotient(weighted.sum(axis=-1), scores.support.sum(axis=-1))


class ClassScores(NamedTuple):
    """Scores of each class, all (..., C); NaN where undefined."""

    precision: NDArray[np.float64]  # undefined for a class that was never predicted
    recall: NDArray[np.float64]  # undefined for a class that is not in the reference
    f1: NDArray[np.float64]  # undefined for a class that is neither
    support: NDArray[np.int64]  # utterances in the reference


def class_scores(confusions: NDArray) -> ClassScores:
    """Precision, recall, F1 and support of every class: (..., C, C) -> four of (..., C)."""
    hits, support, predicted = _hits(confusions), confusions.sum(axis=-1), confusions.sum(axis=-2)
    return ClassScores(
        precision=_quotient(hits, predicted),
        recall=_quotient(hits, support),
        f1=_quotient(2 * hits, support + predicted),
        support=support,
    )


class Reliability(NamedTuple):
    """Utterances in bins of equal width of their top probability, the first from 0, the last to 1: all (bins,)."""

    utterances: NDArray[np.int64]
    confidence: NDArray[np.float64]  # their mean top probability; NaN in an empty bin
    accuracy: NDArray[np.float64]  # the share of them that is right; NaN in an empty bin


def reliability(probabilities: NDArray, labels: NDArray[np.integer], bins: int = CALIBRATION_BINS) -> Reliability:
    """What a reliability diagram shows: (N, C), (N,) -> bins. Bin m of M holds top probabilities in ((m - 1)/M, m/M].

    Guo et al., "On calibration of modern neural networks", ICML 2017, section 2.
    """
    top = probabilities.max(axis=-1).astype(float)  # (N,)
    right = probabilities.argmax(axis=-1) == labels  # (N,)
    places = confidence_bins(probabilities, bins)
    utterances = np.bincount(places, minlength=bins)
    return Reliability(
        utterances=utterances,
        confidence=_quotient(np.bincount(places, weights=top, minlength=bins), utterances),
        accuracy=_quotient(np.bincount(places, weights=right, minlength=bins), utterances),
    )


def confidence_bins(probabilities: NDArray, bins: int = CALIBRATION_BINS) -> NDArray[np.intp]:
    """Which of the bins of ``reliability`` each utterance is in, from 0: (N, C) -> (N,)."""
    # In single precision a probability may exceed 1 by a rounding error.
    return np.clip(np.ceil(probabilities.max(axis=-1).astype(float) * bins).astype(np.intp) - 1, 0, bins - 1)


def expected_calibration_error(
    probabilities: NDArray, labels: NDArray[np.integer], bins: int = CALIBRATION_BINS
) -> float:
    """ECE, how far top probabilities are from the share that is right: (N, C), (N,) -> [0, 1], 0 the best.

    ECE = sum over bins of n_m / N * |accuracy_m - confidence_m|, with the bins of ``reliability`` (Guo et al. 2017,
    equation 3; after Naeini et al., AAAI 2015).
    """
    filled = reliability(probabilities, labels, bins)
    gaps = np.nan_to_num(np.abs(filled.accuracy - filled.confidence))  # an empty bin weighs nothing
    return float(_quotient(np.sum(filled.utterances * gaps), np.sum(filled.utterances)))


def brier_score(probabilities: NDArray, labels: NDArray[np.integer]) -> float:
    """The mean squared distance of probabilities from the truth: (N, C), (N,) -> [0, 2], 0 the best.

    BS = 1/N sum over n and classes c of (p_nc - [label_n = c])^2, in the form for several classes of Brier,
    "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950. With two classes it
    is twice the form that many libraries give for them.
    """
    truth = np.eye(probabilities.shape[-1])[labels]  # (N, C)
    return float(_quotient(np.sum((probabilities - truth) ** 2), len(labels)))


def _hits(confusions: NDArray) -> NDArray:
    return np.diagonal(confusions, axis1=-2, axis2=-1)  # (..., C)


def _quotient(above: ArrayLike, below: ArrayLike) -> NDArray[np.float64]:
    below = np.asarray(below)
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
