"""How good predictions are, computed from confusion matrices.

A confusion matrix is (C, C): rows are the reference, columns the prediction, cells count utterances. Every
score takes matrices of shape (..., C, C) and gives (...), so that thousands of resamples cost one call. Where a
quotient has nothing to divide by (no utterance, a class without support) the result is NaN, never a silent 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moodline.errors import MoodlineError


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


def _hits(confusions: NDArray) -> NDArray:
    return np.diagonal(confusions, axis1=-2, axis2=-1)  # (..., C)


def _quotient(above: NDArray, below: NDArray) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
