"""How much better a system is where it may answer "uncertain": its scores by the share that it answers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.evaluation.calibration import probabilities_of
from moodline.evaluation.resampling import percentile_bounds
from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import MAJORITY, final_stage, measure, measure_resamples

COVERAGES = tuple(share / 20 for share in range(20, 0, -1))  # the shares to answer that are looked for, 1 to 0.05
DIGITS = 1000  # thresholds are whole thousandths


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What a threshold does: the share of utterances whose top probability reaches it, and the scores of these.

    ``classes`` are those among their labels, which UA is the mean over.
    """

    threshold: float
    coverage: float
    utterances: int
    classes: int
    wa: Estimate
    ua: Estimate


def with_coverage(results: Mapping[str, Any], predictions: pa.Table) -> dict[str, Any]:
    """results.json with ``coverage`` of the stage that speaks for the system; None of the majority baseline alone."""
    stage = final_stage([one["stage"] for one in results["scores"]])
    if stage == MAJORITY:
        return {**results, "coverage": None}
    rows = predictions.filter(pc.field("stage") == stage)
    points = [asdict(point) for point in coverage_points(rows, results["label_set"]["classes"])]
    return {**results, "coverage": {"stage": stage, "points": points}}


def coverage_points(predictions: pa.Table, classes: Sequence[str]) -> list[Point]:
    """Of one stage's predictions, at least one; the share that is answered falls from all of them.

    El-Yaniv & Wiener, "On the foundations of noise-free selective classification", JMLR 2010: the risk-coverage curve.
    Each threshold is the largest whole thousandth that answers at least one of ``COVERAGES``.
    """
    top = probabilities_of(predictions, classes).max(axis=-1)  # (N,)
    thresholds = thresholds_of(top)
    confusions = answered_confusions(predictions, classes, top, thresholds)
    scores = measure(confusions.sum(axis=1))[:2]  # (2, points)
    bounds = percentile_bounds(confusions.shape[1], lambda drawn: measure_resamples(confusions, drawn)[:2])
    wa, ua = (
        [Estimate(value, interval) for value, interval in zip(values, intervals, strict=True)]
        for values, intervals in zip(scores.tolist(), intervals_of(bounds, scores.shape), strict=True)
    )
    labelled = confusions.sum(axis=(1, 3))  # (points, C)
    return [
        Point(
            threshold=threshold,
            coverage=float(counts.sum() / len(top)),
            utterances=int(counts.sum()),
            classes=int((counts > 0).sum()),
            wa=wa[place],
            ua=ua[place],
        )
        for place, (threshold, counts) in enumerate(zip(thresholds, labelled, strict=True))
    ]


def thresholds_of(top: NDArray) -> list[float]:
    """Of top probabilities (N,), in rising order; each once."""
    falling = np.sort(top)[::-1]
    reached = [falling[math.ceil(share * len(top)) - 1] for share in COVERAGES]
    return sorted({math.floor(one * DIGITS) / DIGITS for one in reached})


def answered_confusions(
    predictions: pa.Table, classes: Sequence[str], top: NDArray, thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """Of the utterances that each threshold leaves, by conversation: (points, conversations, C, C)."""
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


def intervals_of(bounds: tuple[NDArray, NDArray] | None, shape: tuple[int, ...]) -> list[list[Any]]:
    """Intervals (2, points); None where there is none, or where a resample has no utterance that is answered."""
    if bounds is None:
        return [[None] * shape[1]] * shape[0]
    return [
        [None if math.isnan(low + high) else (low, high) for low, high in zip(*rows, strict=True)]
        for rows in zip(*(one.tolist() for one in bounds), strict=True)
    ]
