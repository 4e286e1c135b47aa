"""How far each stage's probabilities can be believed, from a table of predictions: calibrated, and as they were."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.evaluation.resampling import percentile_bounds, times_drawn
from moodline.evaluation.results import Estimate
from moodline.metrics import CALIBRATION_BINS, brier_score, confidence_bins, expected_calibration_error, reliability


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Utterances whose top probability is above ``low`` and not above ``high``; means are None where there are none."""

    low: float
    high: float
    utterances: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """See moodline.metrics for the two errors; ``confidence`` is the mean top probability of all utterances."""

    expected_calibration_error: float
    brier_score: float
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The calibrated probabilities' errors less those before, paired over conversations."""

    expected_calibration_error: Estimate
    brier_score: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration(Errors):
    """Errors of the probabilities as they are given, and before temperatures took part.

    ``temperatures`` are by fold. Without one the stage is not calibrated, and has no ``before``.
    """

    bins: tuple[Bin, ...]
    temperatures: Mapping[str, float]
    before: Errors | None
    change: Change | None


def with_calibration(results: Mapping[str, Any], predictions: pa.Table) -> dict[str, Any]:
    """results.json with ``calibration`` added to each stage's scores."""
    classes = results["label_set"]["classes"]
    scores = [
        {**stage, "calibration": asdict(calibration(predictions.filter(pc.field("stage") == stage["stage"]), classes))}
        for stage in results["scores"]
    ]
    return {**results, "scores": scores}


def calibration(predictions: pa.Table, classes: Sequence[str]) -> Calibration:
    """Of one stage's predictions, a table as of ``evaluation.predictions`` has them; at least one row."""
    probabilities = probabilities_of(predictions, classes)
    labels = np.array([classes.index(label) for label in predictions["label"].to_pylist()])
    temperatures = temperatures_of(predictions)
    before = before_temperatures(probabilities, predictions) if temperatures else None
    filled = reliability(probabilities, labels)
    edges = np.linspace(0, 1, len(filled.utterances) + 1).tolist()
    rows = zip(edges, edges[1:], *(column.tolist() for column in filled), strict=False)
    return Calibration(
        **asdict(errors_of(probabilities, labels)),
        temperatures=temperatures,
        before=None if before is None else errors_of(before, labels),
        change=None if before is None else change(probabilities, before, labels, predictions["conversation_id"]),
        bins=tuple(
            Bin(
                low=low,
                high=high,
                utterances=utterances,
                confidence=confidence if utterances else None,
                accuracy=accuracy if utterances else None,
            )
            for low, high, utterances, confidence, accuracy in rows
        ),
    )


def probabilities_of(predictions: pa.Table, classes: Sequence[str]) -> NDArray[np.float64]:
    """Of each row, of each class: (N, C)."""
    return np.stack([predictions[f"p_{name}"].to_numpy() for name in classes], axis=-1).astype(float)


def errors_of(probabilities: NDArray, labels: NDArray[np.integer]) -> Errors:
    return Errors(
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        brier_score=brier_score(probabilities, labels),
        confidence=float(probabilities.max(axis=-1).mean()),
    )


def temperatures_of(predictions: pa.Table) -> dict[str, float]:
    """One stage's, by fold; of the folds whose model is calibrated."""
    rows = (
        predictions.select(["fold", "temperature"]).group_by(["fold", "temperature"], use_threads=False).aggregate([])
    )
    return {row["fold"]: row["temperature"] for row in rows.to_pylist() if row["temperature"] is not None}


def before_temperatures(probabilities: NDArray, predictions: pa.Table) -> NDArray[np.float64]:
    """softmax(z) of p = softmax(z / T): p^T, scaled to sum to 1; (N, C) -> (N, C)."""
    temperature = predictions["temperature"].fill_null(1.0).to_numpy()[:, None]  # (N, 1)
    powers = probabilities**temperature
    return powers / powers.sum(axis=-1, keepdims=True)


def change(after: NDArray, before: NDArray, labels: NDArray[np.integer], conversations: pa.ChunkedArray) -> Change:
    """Of probabilities (N, C), with 95 % bootstrap intervals over conversations (N,)."""
    names, places = np.unique(conversations.to_numpy(), return_inverse=True)
    later, earlier = (sums(probabilities, labels, places) for probabilities in (after, before))
    values = errors_from(later.sum(axis=0)) - errors_from(earlier.sum(axis=0))  # (2,)

    def measure(drawn: NDArray[np.integer]) -> NDArray[np.float64]:
        times = times_drawn(drawn, len(names))
        return (errors_from(times @ later) - errors_from(times @ earlier)).T  # (B, 2) -> (2, B)

    bounds = percentile_bounds(len(names), measure)
    intervals = [None, None] if bounds is None else list(zip(*(one.tolist() for one in bounds), strict=True))
    calibration_error, score = (Estimate(*one) for one in zip(values.tolist(), intervals, strict=True))
    return Change(expected_calibration_error=calibration_error, brier_score=score)


def sums(probabilities: NDArray, labels: NDArray[np.integer], places: NDArray[np.integer]) -> NDArray[np.float64]:
    """What both errors are made of, added up in each conversation: (N, C), (N,), (N,) -> (conversations, bins + 2).

    In each bin top probabilities less those that are right; the squared distances from the truth; the utterances.
    """
    found = np.zeros((places.max() + 1, CALIBRATION_BINS + 2))
    truth = np.eye(probabilities.shape[-1])[labels]  # (N, C)
    gaps = probabilities.max(axis=-1) - (probabilities.argmax(axis=-1) == labels)  # (N,)
    np.add.at(found, (places, confidence_bins(probabilities)), gaps)
    np.add.at(found[:, CALIBRATION_BINS], places, ((probabilities - truth) ** 2).sum(axis=-1))
    np.add.at(found[:, CALIBRATION_BINS + 1], places, 1)
    return found


def errors_from(added: NDArray) -> NDArray[np.float64]:
    """The expected calibration error and the Brier score of such sums: (..., bins + 2) -> (..., 2)."""
    gaps, squares, utterances = added[..., :CALIBRATION_BINS], added[..., -2], added[..., -1]
    return np.stack([np.abs(gaps).sum(axis=-1), squares], axis=-1) / utterances[..., None]
