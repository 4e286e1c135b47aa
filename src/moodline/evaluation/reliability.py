"""Measure calibration and selective prediction: errors of the probabilities, and scores by coverage."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline import metrics
from moodline.evaluation import scores

CALIBRATION_ERRORS = ("expected_calibration_error", "brier_score")
COVERAGES = tuple(share / 20 for share in range(20, 0, -1))  # target shares of answered utterances, 1 to 0.05
PROBABILITY_STEPS = 1000  # thresholds are whole thousandths


def add_reliability(results: Mapping[str, Any], predictions: pa.Table) -> dict[str, Any]:
    """Add ``calibration`` to each stage's scores in results.json, and ``coverage`` of the final stage.

    The majority baseline alone has None for coverage.
    """
    classes, stages, coverage = results["label_set"]["classes"], [], None
    final = scores.find_final_stage([stage["stage"] for stage in results["scores"]])
    for stage in results["scores"]:
        rows = predictions.filter(pc.field("stage") == stage["stage"])
        stages.append({**stage, "calibration": compute_calibration(rows, classes)})
        if stage["stage"] == final != scores.MAJORITY:
            coverage = {"stage": final, "points": compute_coverage(rows, classes)}
    return {**results, "scores": stages, "coverage": coverage}


def compute_calibration(predictions: pa.Table, classes: Sequence[str]) -> dict[str, Any]:
    """Measure the calibration of one stage's predictions, a non-empty table (see ``evaluation.predictions``).

    Returns:
        both errors (see moodline.metrics); ``confidence``, the mean top probability; ``bins`` of utterances with a top
        probability in (low, high], without means if empty; ``temperatures`` by fold; ``before``, the errors and the
        confidence without temperatures; ``change``, the errors minus those before, paired over conversations. A stage
        without temperatures has None for the last two.
    """
    probabilities = get_probabilities(predictions, classes)
    labels = metrics.index_names(predictions["label"].to_pylist(), classes)
    rows = predictions.group_by(["fold", "temperature"], use_threads=False).aggregate([]).to_pylist()
    temperatures = {row["fold"]: row["temperature"] for row in rows if row["temperature"] is not None}
    before = change = None
    if temperatures:
        # softmax(z) from p = softmax(z / T) is p^T, scaled to sum to 1.
        plain = probabilities ** predictions["temperature"].fill_null(1.0).to_numpy()[:, None]  # (N, C)
        plain /= plain.sum(axis=-1, keepdims=True)
        before = _compute_errors(plain, labels)
        change = _compute_change(probabilities, plain, labels, predictions["conversation_id"])
    filled = metrics.compute_reliability(probabilities, labels)
    edges = np.linspace(0, 1, metrics.CALIBRATION_BINS + 1)
    return {
        **_compute_errors(probabilities, labels),
        "bins": scores.build_rows({"low": edges[:-1], "high": edges[1:], **filled._asdict()}),
        "temperatures": temperatures,
        "before": before,
        "change": change,
    }


def get_probabilities(predictions: pa.Table, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the probabilities of each row and class: (N, C)."""
    return np.stack([predictions[f"p_{name}"].to_numpy() for name in classes], axis=-1).astype(float)


def _compute_errors(probabilities: NDArray, labels: NDArray[np.integer]) -> dict[str, float]:
    return {
        "expected_calibration_error": metrics.compute_calibration_error(probabilities, labels),
        "brier_score": metrics.compute_brier_score(probabilities, labels),
        "confidence": float(probabilities.max(axis=-1).mean()),
    }


def _compute_change(
    after: NDArray, before: NDArray, labels: NDArray[np.integer], conversations: pa.ChunkedArray
) -> dict[str, Any]:
    """Compute the change of both errors between probabilities (N, C), with intervals over conversations (N,)."""
    names, places = np.unique(conversations.to_numpy(), return_inverse=True)
    later, earlier = (_sum_terms(probabilities, labels, places) for probabilities in (after, before))

    def measure(times: NDArray) -> NDArray[np.float64]:
        """Count each conversation so many times: (..., conversations) -> (2, ...)."""
        return np.moveaxis(_combine_terms(times @ later) - _combine_terms(times @ earlier), -1, 0)

    values = _combine_terms(later.sum(axis=0)) - _combine_terms(earlier.sum(axis=0))
    estimates = scores.add_intervals(len(names), values, lambda drawn: measure(scores.count_draws(drawn, len(names))))
    return {error: asdict(estimate) for error, estimate in zip(CALIBRATION_ERRORS, estimates, strict=True)}


def _sum_terms(probabilities: NDArray, labels: NDArray[np.integer], places: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sum both errors' terms in each conversation: (N, C), (N,), (N,) -> (conversations, bins + 2).

    The terms are top probability minus correctness in each bin, the squared distance from the truth, and a count.
    """
    found = np.zeros((places.max() + 1, metrics.CALIBRATION_BINS + 2))
    truth = np.eye(probabilities.shape[-1])[labels]  # (N, C)
    gaps = probabilities.max(axis=-1) - (probabilities.argmax(axis=-1) == labels)  # (N,)
    np.add.at(found, (places, metrics.assign_bins(probabilities)), gaps)
    np.add.at(found[:, -2], places, ((probabilities - truth) ** 2).sum(axis=-1))
    np.add.at(found[:, -1], places, 1)
    return found


def _combine_terms(added: NDArray) -> NDArray[np.float64]:
    """Compute the expected calibration error and the Brier score from sums: (..., bins + 2) -> (..., 2)."""
    gaps, squares, utterances = added[..., : metrics.CALIBRATION_BINS], added[..., -2], added[..., -1]
    return np.stack([np.abs(gaps).sum(axis=-1), squares], axis=-1) / utterances[..., None]


def compute_coverage(predictions: pa.Table, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Compute scores by coverage from one stage's predictions, at least one; coverage falls from 1.

    El-Yaniv & Wiener, "On the foundations of noise-free selective classification", JMLR 2010: the risk-coverage curve.
    Each threshold is the largest whole thousandth that answers at least one of ``COVERAGES``.

    Returns:
        for each threshold ``coverage``, the share of utterances with a top probability of at least it; their WA and UA;
        the number of utterances, and of classes among their labels, which UA averages over
    """
    top = get_probabilities(predictions, classes).max(axis=-1)  # (N,)
    falling = np.sort(top)[::-1]
    reached = [falling[math.ceil(share * len(top)) - 1] for share in COVERAGES]
    thresholds = sorted({math.floor(one * PROBABILITY_STEPS) / PROBABILITY_STEPS for one in reached})

    names, places = np.unique(predictions["conversation_id"].to_numpy(), return_inverse=True)
    labels, predicted = (
        metrics.index_names(predictions[column].to_pylist(), classes) for column in ("label", "predicted")
    )
    confusions = np.zeros((len(thresholds), len(names), len(classes), len(classes)), dtype=np.int64)
    answered = top >= np.array(thresholds)[:, None]  # (points, N)
    for counts, kept in zip(confusions, answered, strict=True):
        np.add.at(counts, (places[kept], labels[kept], predicted[kept]), 1)
    estimates = scores.add_intervals(
        len(names),
        scores.compute_measures(confusions.sum(axis=1))[:2],  # (2, points)
        lambda drawn: scores.compute_resampled_measures(confusions, drawn)[:2],
    )
    support = confusions.sum(axis=(1, 3))  # (points, C)
    return [
        {
            "threshold": threshold,
            "coverage": float(counts.sum() / len(top)),
            "utterances": int(counts.sum()),
            "classes": int((counts > 0).sum()),
            "wa": asdict(wa),
            "ua": asdict(ua),
        }
        for threshold, counts, wa, ua in zip(thresholds, support, *estimates, strict=True)
    ]
