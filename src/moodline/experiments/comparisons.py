"""How far two systems are apart: a paired bootstrap over conversations, and an effect size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.errors import MoodlineError
from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import MIN_CONVERSATIONS, compute_measures, compute_resampled_measures
from moodline.metrics import compute_confusion

RESAMPLES = 1000
KEY_COLUMNS = ("conversation_id", "utterance_id")


@dataclass(frozen=True, kw_only=True)
class PartPredictions:
    """What a part of a system says with one seed.

    Args:
        utterances: conversation, id and label of each, in the order of ids
        confusions: a matrix a conversation (K, C, C), in that order
    """

    utterances: Sequence[tuple[str, ...]]
    confusions: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One part minus another, each the mean over its seeds.

    Args:
        wa, ua, weighted_f1: the difference, with the 95 % percentile interval over resampled conversations
        effect: Cohen's d of paired values: the mean over conversations of the difference in the share of utterances
            that are right, over its standard deviation; None where the difference is the same in all
        conversations: how many they are over
    """

    wa: Estimate
    ua: Estimate
    weighted_f1: Estimate
    effect: float | None
    conversations: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference in UA leaves out zero, over enough conversations to trust it."""
        if self.ua.interval is None or self.conversations < MIN_CONVERSATIONS:
            return False
        return not self.ua.interval[0] <= 0 <= self.ua.interval[1]


def compare_parts(one: Sequence[PartPredictions], other: Sequence[PartPredictions], *, seed: int = 0) -> Comparison:
    """One part minus the other, each with its seeds, on the same utterances and the same draws of their conversations.

    Raises:
        MoodlineError: the two are not of the same utterances with the same labels
    """
    first, second = stack_confusions(one), stack_confusions(other)
    if one[0].utterances != other[0].utterances:
        raise MoodlineError("systems are compared on the same utterances: these two were scored on different ones")
    wa, ua, f1 = compute_estimates([first, second], np.array([1.0, -1.0]), seed)
    return Comparison(
        wa=wa,
        ua=ua,
        weighted_f1=f1,
        effect=compute_effect(compute_accuracies(first) - compute_accuracies(second)),
        conversations=first.shape[1],
    )


def average_seeds(seeds: Sequence[PartPredictions], *, seed: int = 0) -> tuple[Estimate, Estimate, Estimate]:
    """WA, UA and weighted F1 of a part, the mean over its seeds, with intervals over conversations."""
    return compute_estimates([stack_confusions(seeds)], np.array([1.0]), seed)


def compute_estimates(
    sides: Sequence[NDArray[np.int64]], factors: NDArray[np.float64], seed: int
) -> tuple[Estimate, Estimate, Estimate]:
    """The sum of factors times each side's measures, from confusions (seeds, conversations, C, C) of each."""
    conversations = sides[0].shape[1]
    drawn = np.random.default_rng(seed).integers(0, conversations, (RESAMPLES, conversations))
    values = sum(
        factor * average_over_seeds(compute_measures(side.sum(axis=1)))
        for factor, side in zip(factors, sides, strict=True)
    )
    resampled = sum(
        factor * average_over_seeds(compute_resampled_measures(side, drawn))
        for factor, side in zip(factors, sides, strict=True)
    )
    bounds = np.percentile(resampled, [2.5, 97.5], axis=1).T.tolist()  # (3, B) -> (3, 2)
    wa, ua, f1 = (
        Estimate(float(value), (low, high) if conversations > 1 else None)
        for value, (low, high) in zip(np.asarray(values), bounds, strict=True)
    )
    return wa, ua, f1


def average_over_seeds(measures: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, seeds, ...) -> their means (3, ...)."""
    return measures.mean(axis=1)


def compute_accuracies(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """(seeds, conversations, C, C) -> the share of a conversation's utterances that are right, over seeds (K,)."""
    shares = np.trace(confusions, axis1=2, axis2=3) / confusions.sum(axis=(2, 3))
    return shares.mean(axis=0)


def compute_effect(differences: NDArray[np.float64]) -> float | None:
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(differences.mean()) / deviation if deviation else None


def stack_confusions(seeds: Sequence[PartPredictions]) -> NDArray[np.int64]:
    """Confusions (seeds, conversations, C, C).

    Raises:
        MoodlineError: the seeds are not of the same utterances
    """
    if any(one.utterances != seeds[0].utterances for one in seeds):
        raise MoodlineError("seeds are averaged over the same utterances: these were scored on different ones")
    return np.stack([one.confusions for one in seeds])


def collect_predictions(predictions: pa.Table, stage: str, classes: Sequence[str]) -> PartPredictions:
    """A stage's answers, from a table as predictions.parquet has it."""
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
