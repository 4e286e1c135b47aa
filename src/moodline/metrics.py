"""Scores of confusion matrices (reference, predicted), calibration errors, and the word error rate.

A quotient with denominator 0 (no utterance, a class without support) is NaN, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moodline.errors import MoodlineError, format_install_hint

if TYPE_CHECKING:
    from jiwer import Compose


CALIBRATION_BINS = 15  # Guo et al. 2017


def compute_confusion(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Count class names of labels (N,) and predictions (N,): (C, C); see ``index_names`` for errors."""
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(matrix, (index_names(labels, classes), index_names(predicted, classes)), 1)
    return matrix


def index_names(names: Sequence[str], classes: Sequence[str]) -> NDArray[np.intp]:
    """Convert class names to their indices: (N,) -> (N,); refuse a name that is not among the classes."""
    index = {name: position for position, name in enumerate(classes)}
    try:
        return np.array([index[name] for name in names], dtype=np.intp)
    except KeyError as stranger:
        raise MoodlineError(
            f"{stranger} is not among the classes {', '.join(classes)}; "
            "score with the label set that the model was trained with",
            code="label.unknown_class",
        ) from None


def compute_weighted_accuracy(confusions: NDArray) -> NDArray[np.float64]:
    """Compute WA, the share of correct utterances: (..., C, C) -> (...)."""
    return _divide(np.trace(confusions, axis1=-2, axis2=-1), confusions.sum(axis=(-2, -1)))


def compute_unweighted_accuracy(confusions: NDArray) -> NDArray[np.float64]:
    """Compute UA, the mean of the class recalls: (..., C, C) -> (...).

    The mean is over classes in the reference: a class without utterances has no recall, and counting it as 0 would
    lower the score because of the test set alone.
    """
    present = confusions.sum(axis=-1) > 0
    recalls = np.where(present, compute_class_scores(confusions).recall, 0.0)
    return _divide(recalls.sum(axis=-1), present.sum(axis=-1))


def compute_weighted_f1(confusions: NDArray) -> NDArray[np.float64]:
    """Compute the mean of the classes' F1 weighted by their utterances in the reference: (..., C, C) -> (...)."""
    scores = compute_class_scores(confusions)
    weighted = np.where(scores.support > 0, scores.f1 * scores.support, 0.0)
    return _divide(weighted.sum(axis=-1), scores.support.sum(axis=-1))


class ClassScores(NamedTuple):
    """Scores of each class, all (..., C); NaN if undefined."""

    precision: NDArray[np.float64]  # undefined for a class that was never predicted
    recall: NDArray[np.float64]  # undefined for a class that is not in the reference
    f1: NDArray[np.float64]  # undefined for a class that is neither
    support: NDArray[np.int64]  # utterances in the reference


def compute_class_scores(confusions: NDArray) -> ClassScores:
    """Compute precision, recall, F1 and support of every class: (..., C, C) -> four of (..., C)."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    support, predicted = confusions.sum(axis=-1), confusions.sum(axis=-2)
    f1 = _divide(2 * hits, support + predicted)
    return ClassScores(precision=_divide(hits, predicted), recall=_divide(hits, support), f1=f1, support=support)


class Reliability(NamedTuple):
    """Utterances by their top probability in bins of equal width from 0 to 1, all (bins,)."""

    utterances: NDArray[np.int64]
    confidence: NDArray[np.float64]  # their mean top probability; NaN in an empty bin
    accuracy: NDArray[np.float64]  # the share of correct ones; NaN in an empty bin


def compute_reliability(
    probabilities: NDArray, labels: NDArray[np.integer], bins: int = CALIBRATION_BINS
) -> Reliability:
    """Compute a reliability diagram's bins: (N, C), (N,) -> bins; bin m of M has top probabilities in ((m - 1)/M, m/M].

    Guo et al., "On calibration of modern neural networks", ICML 2017, section 2.
    """
    top = probabilities.max(axis=-1).astype(float)  # (N,)
    right = probabilities.argmax(axis=-1) == labels  # (N,)
    places = assign_bins(probabilities, bins)
    utterances = np.bincount(places, minlength=bins)
    confidence, accuracy = (
        _divide(np.bincount(places, weights=values, minlength=bins), utterances) for values in (top, right)
    )
    return Reliability(utterances, confidence, accuracy)


def assign_bins(probabilities: NDArray, bins: int = CALIBRATION_BINS) -> NDArray[np.intp]:
    """Assign each utterance to a bin of ``compute_reliability``, from 0: (N, C) -> (N,)."""
    # In single precision a probability may exceed 1 by a rounding error.
    return np.clip(np.ceil(probabilities.max(axis=-1).astype(float) * bins).astype(np.intp) - 1, 0, bins - 1)


def compute_calibration_error(
    probabilities: NDArray, labels: NDArray[np.integer], bins: int = CALIBRATION_BINS
) -> float:
    """Compute the expected calibration error: (N, C), (N,) -> [0, 1], 0 is best.

    ECE = sum over bins of n_m / N * |accuracy_m - confidence_m|, with the bins of ``compute_reliability`` (Guo et al.
    2017, equation 3; after Naeini et al., AAAI 2015).
    """
    filled = compute_reliability(probabilities, labels, bins)
    gaps = np.nan_to_num(np.abs(filled.accuracy - filled.confidence))  # an empty bin has weight 0
    return float(_divide(np.sum(filled.utterances * gaps), np.sum(filled.utterances)))


def compute_brier_score(probabilities: NDArray, labels: NDArray[np.integer]) -> float:
    """Compute the mean squared distance of probabilities from the reference: (N, C), (N,) -> [0, 2], 0 is best.

    BS = 1/N sum over n and classes c of (p_nc - [label_n = c])^2, in the form for several classes of Brier,
    "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950. With two classes it
    is twice the form that many libraries compute.
    """
    truth = np.eye(probabilities.shape[-1])[labels]  # (N, C)
    return float(_divide(np.sum((probabilities - truth) ** 2), len(labels)))


def _divide(above: ArrayLike, below: ArrayLike) -> NDArray[np.float64]:
    below = np.asarray(below)
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


BRACKETED_PATTERN = r"[<\[][^>\]]*[>\]]"  # [LAUGHTER], <unk> and other non-words
SEPARATOR_PATTERN = r"[\s\-\u2010-\u2015/\u2026]+|\.{2,}"  # blanks, hyphens, dashes, slashes, ellipses


@dataclass(frozen=True, kw_only=True, slots=True)
class WordErrors:
    """Counts over utterances; ``words`` are the reference's."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def rate(self) -> float | None:
        """Return the word error rate; None without reference words."""
        return (self.substitutions + self.deletions + self.insertions) / self.words if self.words else None

    def __str__(self) -> str:
        if self.rate is None:
            return "no reference words to measure the WER by"
        return (
            f"WER {self.rate:.3f} ({self.substitutions} words substituted, {self.deletions} deleted, "
            f"{self.insertions} inserted, of {self.words})"
        )


def count_word_errors(references: Sequence[str], recognised: Sequence[str]) -> WordErrors:
    """Count the errors of recognised utterances, each aligned with its reference at the least edit distance.

    Both sides are normalised. Words recognised in an utterance without reference words count as insertions.
    """
    normalise = build_normalisation()
    from jiwer import process_words

    found = process_words(normalise(list(references)), normalise(list(recognised)))
    return WordErrors(
        substitutions=found.substitutions,
        deletions=found.deletions,
        insertions=found.insertions,
        words=found.hits + found.substitutions + found.deletions,
    )


def build_normalisation() -> "Compose":
    """Build the normalisation of both sides (docs/recordings.md), which needs the package jiwer."""
    try:
        import jiwer
    except ModuleNotFoundError:
        raise MoodlineError(
            f"jiwer, which counts word errors, is not installed: {format_install_hint('speech')}",
            code="evaluation.not_installed",
        ) from None
    return jiwer.Compose(
        [
            jiwer.SubstituteRegexes({BRACKETED_PATTERN: " ", SEPARATOR_PATTERN: " "}),
            jiwer.ToLowerCase(),
            jiwer.RemovePunctuation(),
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
        ]
    )
