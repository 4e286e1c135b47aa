"""How far each stage's probabilities can be believed, from a table of predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.metrics import brier_score, expected_calibration_error, reliability


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Utterances whose top probability is above ``low`` and not above ``high``; means are None where there are none."""

    low: float
    high: float
    utterances: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """See moodline.metrics for the two errors; ``confidence`` is the mean top probability of all utterances."""

    expected_calibration_error: float
    brier_score: float
    confidence: float
    bins: tuple[Bin, ...]


def with_calibration(results: Mapping[str, Any], predictions: pa.Table) -> dict[str, Any]:
    """results.json with ``calibration`` added to each stage's scores."""
    classes = results["label_set"]["classes"]
    scores = [
        {**stage, "calibration": asdict(calibration(predictions.filter(pc.field("stage") == stage["stage"]), classes))}
        for stage in results["scores"]
    ]
    return {**results, "scores": scores}


def calibration(predictions: pa.Table, classes: Sequence[str]) -> Calibration:
    """Of one stage's predictions, with the columns label and p_<class>; at least one row."""
    probabilities = probabilities_of(predictions, classes)
    labels = np.array([classes.index(label) for label in predictions["label"].to_pylist()])
    filled = reliability(probabilities, labels)
    edges = np.linspace(0, 1, len(filled.utterances) + 1).tolist()
    rows = zip(edges, edges[1:], *(column.tolist() for column in filled), strict=False)
    return Calibration(
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        brier_score=brier_score(probabilities, labels),
        confidence=float(probabilities.max(axis=-1).mean()),
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
