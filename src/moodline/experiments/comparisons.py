"""Differences between systems: paired bootstrap over conversations, and an effect size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.errors import MoodlineError
from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import (
    KEY_COLUMNS,
    MIN_CONVERSATIONS,
    add_intervals,
    compute_measures,
    compute_resampled_measures,
)
from moodline.metrics import compute_confusion

MEASURES = ("wa", "ua", "weighted_f1")
Estimates = Mapping[str, Estimate]  # by measure
Confusions = NDArray[np.int64]


class PartPredictions(NamedTuple):
    """Predictions of one part of a system with one seed."""

    utterances: Sequence[tuple[str, ...]]  # conversation, id and label of each, sorted by ids
    confusions: Confusions  # one matrix per conversation (K, C, C), in the same order


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One part minus another, each averaged over its seeds, with 95 % intervals over resampled conversations.

    The effect is Cohen's d of paired values: the mean over conversations of the difference in accuracy, divided by its
    standard deviation; None if the difference is the same in all of them.
    """

    measures: Estimates
    effect: float | None
    conversations: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference in UA excludes zero, over enough conversations to trust it."""
        interval = self.measures["ua"].interval
        return bool(interval and self.conversations >= MIN_CONVERSATIONS and not interval[0] <= 0 <= interval[1])


def compare_parts(one: Sequence[PartPredictions], other: Sequence[PartPredictions]) -> Comparison:
    """Subtract the other part's scores from the one's, on the same utterances and the same resamples."""
    first, second = stack_confusions([*one, *other])[: len(one)], stack_confusions(other)
    # Each conversation's accuracy, averaged over seeds: (seeds, K, C, C) -> (K,).
    accuracies = [(np.trace(one, axis1=2, axis2=3) / one.sum(axis=(2, 3))).mean(axis=0) for one in (first, second)]
    differences = accuracies[0] - accuracies[1]
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return Comparison(
        measures=compute_estimates([(first, 1.0), (second, -1.0)]),
        effect=float(differences.mean()) / deviation if deviation else None,
        conversations=len(differences),
    )


def average_seeds(seeds: Sequence[PartPredictions]) -> Estimates:
    """Average a part's measures over its seeds, with intervals over conversations."""
    return compute_estimates([(stack_confusions(seeds), 1.0)])


def compute_estimates(sides: Sequence[tuple[Confusions, float]]) -> Estimates:
    """Sum each side's measures times its factor, from confusions (seeds, conversations, C, C)."""

    def combine(measures: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Average over seeds and sum over sides: (3, seeds, ...) each -> (3, ...)."""
        return np.sum([factor * of_side.mean(axis=1) for of_side, (_, factor) in zip(measures, sides, strict=True)], 0)

    values = combine(compute_measures(side.sum(axis=1)) for side, _ in sides)
    estimates = add_intervals(
        sides[0][0].shape[1],
        values,
        lambda drawn: combine(compute_resampled_measures(side, drawn) for side, _ in sides),  # (3, B)
    )
    return dict(zip(MEASURES, estimates, strict=True))


def stack_confusions(predictions: Sequence[PartPredictions]) -> Confusions:
    """Stack confusions to (N, conversations, C, C); predictions of different utterances are refused."""
    for one in predictions:
        if one.utterances != predictions[0].utterances:
            stranger = min({*one.utterances} ^ {*predictions[0].utterances})
            raise MoodlineError(
                f"seeds or systems do not score the same utterances with the same labels: {' '.join(stranger)} is in "
                "one of them alone; evaluate the runs again on one corpus",
                code="experiment.different_utterances",
            )
    return np.stack([one.confusions for one in predictions])


def collect_predictions(predictions: pa.Table, stage: str, classes: Sequence[str]) -> PartPredictions:
    """Collect a stage's predictions from a table with the columns of predictions.parquet."""
    rows = predictions.filter(pc.field("stage") == stage).sort_by([(key, "ascending") for key in KEY_COLUMNS])
    conversations, ids, labels, predicted = (rows[name].to_pylist() for name in (*KEY_COLUMNS, "label", "predicted"))
    starts = np.unique(np.array(conversations), return_index=True)[1].tolist()
    spans = [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True)]
    return PartPredictions(
        utterances=list(zip(conversations, ids, labels, strict=True)),
        confusions=np.array([compute_confusion(labels[span], predicted[span], classes) for span in spans]),
    )


def build_number(metric: str, estimate: Estimate) -> dict[str, Any]:
    """Build the columns of one estimate in a table of numbers; without an interval, both bounds are None."""
    low, high = estimate.interval or (None, None)
    return {"metric": metric, "value": estimate.value, "low": low, "high": high}


def build_schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    """Build a schema from columns in order, each entry being names with blanks between them and their type."""
    return pa.schema([(name, kind) for names, kind in columns for name in names.split()])
