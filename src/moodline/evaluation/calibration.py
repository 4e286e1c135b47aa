"""Measure calibration and selective prediction: errors of the probabilities, and scores by coverage."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.evaluation.bootstrap import compute_percentile_bounds, count_draws
from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import MAJORITY, compute_measures, compute_resampled_measures, find_final_stage
from moodline.metrics import (
    CALIBRATION_BINS,
    assign_bins,
    compute_brier_score,
    compute_calibration_error,
    compute_reliability,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Hold utterances with a top probability in (low, high]; the means of an empty bin are None."""

    low: float
    high: float
    utterances: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationErrors:
    """Hold the two errors (see moodline.metrics) and ``confidence``, the mean top probability."""

    expected_calibration_error: float
    brier_score: float
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationChange:
    """Hold the errors with the temperature minus those without, paired over conversations."""

    expected_calibration_error: Estimate
    brier_score: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration(CalibrationErrors):
    """Hold errors with temperatures, and ``before``: without them.

    ``temperatures`` are by fold. A stage without a temperature is not calibrated, and its ``before`` is None.
    """

    bins: tuple[ReliabilityBin, ...]
    temperatures: Mapping[str, float]
    before: CalibrationErrors | None
    change: CalibrationChange | None


def add_calibration(results: Mapping[str, Any], predictions: pa.Table) -> dict[str, Any]:
    """Add ``compute_calibration`` to each stage's scores in results.json."""
    classes = results["label_set"]["classes"]
    scores = [
        {
            **stage,
            "calibration": asdict(
                compute_calibration(predictions.filter(pc.field("stage") == stage["stage"]), classes)
            ),
        }
        for stage in results["scores"]
    ]
    return {**results, "scores": scores}


def compute_calibration(predictions: pa.Table, classes: Sequence[str]) -> Calibration:
    """Measure the calibration of one stage's predictions, a non-empty table (see ``evaluation.predictions``)."""
    probabilities = get_probabilities(predictions, classes)
    labels = np.array([classes.index(label) for label in predictions["label"].to_pylist()])
    temperatures = collect_temperatures(predictions)
    before = undo_temperatures(probabilities, predictions) if temperatures else None
    filled = compute_reliability(probabilities, labels)
    edges = np.linspace(0, 1, len(filled.utterances) + 1).tolist()
    rows = zip(edges, edges[1:], *(column.tolist() for column in filled), strict=False)
    return Calibration(
        **asdict(compute_errors(probabilities, labels)),
        temperatures=temperatures,
        before=None if before is None else compute_errors(before, labels),
        change=None
        if before is None
        else compute_change(probabilities, before, labels, predictions["conversation_id"]),
        bins=tuple(
            ReliabilityBin(
                low=low,
                high=high,
                utterances=utterances,
                confidence=confidence if utterances else None,
                accuracy=accuracy if utterances else None,
            )
            for low, high, utterances, confidence, accuracy in rows
        ),
    )


def get_probabilities(predictions: pa.Table, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the probabilities of each row and class: (N, C)."""
    return np.stack([predictions[f"p_{name}"].to_numpy() for name in classes], axis=-1).astype(float)


def compute_errors(probabilities: NDArray, labels: NDArray[np.integer]) -> CalibrationErrors:
    return CalibrationErrors(
        expected_calibration_error=compute_calibration_error(probabilities, labels),
        brier_score=compute_brier_score(probabilities, labels),
        confidence=float(probabilities.max(axis=-1).mean()),
    )


def collect_temperatures(predictions: pa.Table) -> dict[str, float]:
    """Collect one stage's temperatures by fold, of the calibrated models."""
    rows = (
        predictions.select(["fold", "temperature"]).group_by(["fold", "temperature"], use_threads=False).aggregate([])
    )
    return {row["fold"]: row["temperature"] for row in rows.to_pylist() if row["temperature"] is not None}


def undo_temperatures(probabilities: NDArray, predictions: pa.Table) -> NDArray[np.float64]:
    """Compute softmax(z) from p = softmax(z / T): p^T, scaled to sum to 1; (N, C) -> (N, C)."""
    temperature = predictions["temperature"].fill_null(1.0).to_numpy()[:, None]  # (N, 1)
    powers = probabilities**temperature
    return powers / powers.sum(axis=-1, keepdims=True)


def compute_change(
    after: NDArray, before: NDArray, labels: NDArray[np.integer], conversations: pa.ChunkedArray
) -> CalibrationChange:
    """Compute the change of both errors between probabilities (N, C), with 95 % intervals over conversations (N,)."""
    names, places = np.unique(conversations.to_numpy(), return_inverse=True)
    later, earlier = (compute_sums(probabilities, labels, places) for probabilities in (after, before))
    values = compute_errors_from_sums(later.sum(axis=0)) - compute_errors_from_sums(earlier.sum(axis=0))  # (2,)

    def measure(drawn: NDArray[np.integer]) -> NDArray[np.float64]:
        times = count_draws(drawn, len(names))
        return (
            compute_errors_from_sums(times @ later) - compute_errors_from_sums(times @ earlier)
        ).T  # (B, 2) -> (2, B)

    bounds = compute_percentile_bounds(len(names), measure)
    intervals = [None, None] if bounds is None else list(zip(*(one.tolist() for one in bounds), strict=True))
    calibration_error, score = (Estimate(*one) for one in zip(values.tolist(), intervals, strict=True))
    return CalibrationChange(expected_calibration_error=calibration_error, brier_score=score)


def compute_sums(
    probabilities: NDArray, labels: NDArray[np.integer], places: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Sum both errors' terms in each conversation: (N, C), (N,), (N,) -> (conversations, bins + 2).

    The terms are top probability minus correctness in each bin, the squared distance from the truth, and a count.
    """
    found = np.zeros((places.max() + 1, CALIBRATION_BINS + 2))
    truth = np.eye(probabilities.shape[-1])[labels]  # (N, C)
    gaps = probabilities.max(axis=-1) - (probabilities.argmax(axis=-1) == labels)  # (N,)
    np.add.at(found, (places, assign_bins(probabilities)), gaps)
    np.add.at(found[:, CALIBRATION_BINS], places, ((probabilities - truth) ** 2).sum(axis=-1))
    np.add.at(found[:, CALIBRATION_BINS + 1], places, 1)
    return found


def compute_errors_from_sums(added: NDArray) -> NDArray[np.float64]:
    """Compute the expected calibration error and the Brier score from sums: (..., bins + 2) -> (..., 2)."""
    gaps, squares, utterances = added[..., :CALIBRATION_BINS], added[..., -2], added[..., -1]
    return np.stack([np.abs(gaps).sum(axis=-1), squares], axis=-1) / utterances[..., None]


COVERAGES = tuple(share / 20 for share in range(20, 0, -1))  # target shares of answered utterances, 1 to 0.05
PROBABILITY_STEPS = 1000  # thresholds are whole thousandths


@dataclass(frozen=True, kw_only=True, slots=True)
class CoveragePoint:
    """Hold a threshold's coverage, the share of utterances with a top probability of at least it, and their scores.

    ``classes`` counts the classes among their labels, which UA averages over.
    """

    threshold: float
    coverage: float
    utterances: int
    classes: int
    wa: Estimate
    ua: Estimate


def add_coverage(results: Mapping[str, Any], predictions: pa.Table) -> dict[str, Any]:
    """Add ``coverage`` of the final stage to results.json; None for the majority baseline alone."""
    stage = find_final_stage([one["stage"] for one in results["scores"]])
    if stage == MAJORITY:
        return {**results, "coverage": None}
    rows = predictions.filter(pc.field("stage") == stage)
    points = [asdict(point) for point in compute_coverage_points(rows, results["label_set"]["classes"])]
    return {**results, "coverage": {"stage": stage, "points": points}}


def compute_coverage_points(predictions: pa.Table, classes: Sequence[str]) -> list[CoveragePoint]:
    """Compute scores by coverage from one stage's predictions, at least one; coverage falls from 1.

    El-Yaniv & Wiener, "On the foundations of noise-free selective classification", JMLR 2010: the risk-coverage curve.
    Each threshold is the largest whole thousandth that answers at least one of ``COVERAGES``.
    """
    top = get_probabilities(predictions, classes).max(axis=-1)  # (N,)
    thresholds = find_thresholds(top)
    confusions = count_answered(predictions, classes, top, thresholds)
    scores = compute_measures(confusions.sum(axis=1))[:2]  # (2, points)
    bounds = compute_percentile_bounds(
        confusions.shape[1], lambda drawn: compute_resampled_measures(confusions, drawn)[:2]
    )
    wa, ua = (
        [Estimate(value, interval) for value, interval in zip(values, intervals, strict=True)]
        for values, intervals in zip(scores.tolist(), build_intervals(bounds, scores.shape), strict=True)
    )
    labelled = confusions.sum(axis=(1, 3))  # (points, C)
    return [
        CoveragePoint(
            threshold=threshold,
            coverage=float(counts.sum() / len(top)),
            utterances=int(counts.sum()),
            classes=int((counts > 0).sum()),
            wa=wa[place],
            ua=ua[place],
        )
        for place, (threshold, counts) in enumerate(zip(thresholds, labelled, strict=True))
    ]


def find_thresholds(top: NDArray) -> list[float]:
    """Find the distinct thresholds for top probabilities (N,), in rising order."""
    falling = np.sort(top)[::-1]
    reached = [falling[math.ceil(share * len(top)) - 1] for share in COVERAGES]
    return sorted({math.floor(one * PROBABILITY_STEPS) / PROBABILITY_STEPS for one in reached})


def count_answered(
    predictions: pa.Table, classes: Sequence[str], top: NDArray, thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """Count confusions of the utterances that each threshold answers: (points, conversations, C, C)."""
    names, places = np.unique(predictions["conversation_id"].to_numpy(), return_inverse=True)
    index = {name: position for position, name in enumerate(classes)}
    labels, predicted = (
        np.array([index[name] for name in predictions[column].to_pylist()]) for column in ("label", "predicted")
    )
    counts = np.zeros((len(thresholds), len(names), len(classes), len(classes)), dtype=np.int64)
    for point, threshold in enumerate(thresholds):
        kept = top >= threshold
        np.add.at(counts[point], (places[kept], labels[kept], predicted[kept]), 1)
    return counts


def build_intervals(bounds: tuple[NDArray, NDArray] | None, shape: tuple[int, ...]) -> list[list[Any]]:
    """Build intervals (2, points); None for a single conversation, or if a resample answers no utterance."""
    if bounds is None:
        return [[None] * shape[1]] * shape[0]
    return [
        [None if math.isnan(low + high) else (low, high) for low, high in zip(*rows, strict=True)]
        for rows in zip(*(one.tolist() for one in bounds), strict=True)
    ]
