"""Differences between systems: paired bootstrap over conversations, and an effect size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.errors import MoodlineError
from moodline.evaluation.bootstrap import KEY_COLUMNS, SEED, compute_percentile_bounds
from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import MIN_CONVERSATIONS, compute_measures, compute_resampled_measures
from moodline.metrics import compute_confusion

MEASURES = ("wa", "ua", "weighted_f1")
Confusions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PartPredictions:
    """Predictions of one part of a system with one seed.

    Args:
        utterances: conversation, id and label of each, sorted by ids
        confusions: one matrix per conversation (K, C, C), in the same order
    """

    utterances: Sequence[tuple[str, ...]]
    confusions: Confusions


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One part minus another, each averaged over its seeds.

    Args:
        wa, ua, weighted_f1: the difference, with the 95 % percentile interval over resampled conversations
        effect: Cohen's d of paired values: mean over conversations of the difference in accuracy, divided by its
            standard deviation; None if the difference is the same in all conversations
        conversations: number of conversations compared
    """

    wa: Estimate
    ua: Estimate
    weighted_f1: Estimate
    effect: float | None
    conversations: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference in UA excludes zero, over enough conversations to trust it."""
        if self.ua.interval is None or self.conversations < MIN_CONVERSATIONS:
            return False
        return not self.ua.interval[0] <= 0 <= self.ua.interval[1]


def compare_parts(one: Sequence[PartPredictions], other: Sequence[PartPredictions], *, seed: int = SEED) -> Comparison:
    """Subtract the other part's scores from the one's, on the same utterances and the same resamples.

    Raises:
        MoodlineError: the parts do not score the same utterances with the same labels
    """
    first, second = stack_confusions([*one, *other])[: len(one)], stack_confusions(other)
    wa, ua, f1 = compute_estimates([(first, 1.0), (second, -1.0)], seed)
    return Comparison(
        wa=wa,
        ua=ua,
        weighted_f1=f1,
        effect=compute_effect(compute_accuracies(first) - compute_accuracies(second)),
        conversations=first.shape[1],
    )


def average_seeds(seeds: Sequence[PartPredictions], *, seed: int = SEED) -> tuple[Estimate, Estimate, Estimate]:
    """Compute a part's WA, UA and weighted F1, averaged over its seeds, with intervals over conversations."""
    return compute_estimates([(stack_confusions(seeds), 1.0)], seed)


def compute_estimates(sides: Sequence[tuple[Confusions, float]], seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """Sum each side's measures times its factor, from confusions (seeds, conversations, C, C)."""

    def combine(measures: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Average over seeds and sum over sides: (3, seeds, ...) each -> (3, ...)."""
        return np.sum([factor * of_side.mean(axis=1) for of_side, (_, factor) in zip(measures, sides, strict=True)], 0)

    values = combine(compute_measures(side.sum(axis=1)) for side, _ in sides).tolist()
    bounds = compute_percentile_bounds(
        sides[0][0].shape[1],
        lambda drawn: combine(compute_resampled_measures(side, drawn) for side, _ in sides),  # (3, B)
        seed=seed,
    )
    intervals = [None] * len(values) if bounds is None else list(zip(*(one.tolist() for one in bounds), strict=True))
    wa, ua, f1 = map(Estimate, values, intervals)
    return wa, ua, f1


def compute_accuracies(confusions: Confusions) -> NDArray[np.float64]:
    """Compute each conversation's accuracy, averaged over seeds: (seeds, K, C, C) -> (K,)."""
    shares = np.trace(confusions, axis1=2, axis2=3) / confusions.sum(axis=(2, 3))
    return shares.mean(axis=0)


def compute_effect(differences: NDArray[np.float64]) -> float | None:
    """Compute Cohen's d of paired differences (K,); None if they do not vary."""
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(differences.mean()) / deviation if deviation else None


def stack_confusions(predictions: Sequence[PartPredictions]) -> Confusions:
    """Stack confusions to (N, conversations, C, C).

    Raises:
        MoodlineError: the predictions do not score the same utterances
    """
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
    conversations = rows["conversation_id"].to_pylist()
    _, starts = np.unique(np.array(conversations), return_index=True)
    stops = [*starts[1:].tolist(), len(conversations)]
    labels, predicted = rows["label"].to_pylist(), rows["predicted"].to_pylist()
    return PartPredictions(
        utterances=list(zip(conversations, rows["utterance_id"].to_pylist(), labels, strict=True)),
        confusions=np.array(
            [
                compute_confusion(labels[start:stop], predicted[start:stop], classes)
                for start, stop in zip(starts.tolist(), stops, strict=True)
            ]
        ),
    )


def build_number(metric: str, estimate: Estimate) -> dict[str, Any]:
    """Build the columns of one estimate in a table of numbers; without an interval, both bounds are None."""
    low, high = estimate.interval or (None, None)
    return {"metric": metric, "value": estimate.value, "low": low, "high": high}
