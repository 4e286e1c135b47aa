"""Score the predictions of every stage, with 95 % bootstrap intervals over conversations.

Conversations are resampled, since the utterances of one conversation share speakers, topic and mood; an interval over
utterances would be too narrow. All stages are measured on the same resamples, which pairs their differences.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from moodline.config import SINGLE_MODALITY_FUSION_NAMES, STAGE_NAMES
from moodline.evaluation.bootstrap import (
    RESAMPLES,
    SEED,
    AlignedPredictions,
    align_predictions,
    compute_percentile_bounds,
    count_draws,
)
from moodline.evaluation.results import (
    ClassResult,
    Difference,
    Estimate,
    Evaluation,
    FoldStatistic,
    FoldStatistics,
    Scores,
    StageScores,
)
from moodline.metrics import (
    compute_class_scores,
    compute_confusion,
    compute_unweighted_accuracy,
    compute_weighted_accuracy,
    compute_weighted_f1,
)

MAJORITY = "majority"
# Stages in the order of a system's construction, and their names for people.
STAGES: Mapping[str, str] = {**STAGE_NAMES, **SINGLE_MODALITY_FUSION_NAMES, MAJORITY: "majority class"}
GAINS = (
    ("audio_context", "audio_utterance"),
    ("text_context", "text_utterance"),
    ("fusion", "audio_context"),
    ("fusion", "text_context"),
)
# With fewer conversations a percentile interval covers the truth in clearly less than 95 % (docs/protocols.md).
MIN_CONVERSATIONS = 20
# Start of the note on few conversations.
FEW_CONVERSATIONS_NOTE = "intervals over"


def score_predictions(
    predictions: pa.Table,
    classes: Sequence[str],
    *,
    stages: Mapping[str, str] = STAGES,
    gains: Sequence[tuple[str, str]] = GAINS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Evaluation:
    """Score all stages in a table of predictions, pooled over its folds, per fold, per part and per class.

    The table has a row for each utterance and stage, with the columns utterance_id, conversation_id, fold, part,
    stage, label and predicted. Raises MoodlineError for an unknown stage, for an utterance that a stage scores
    twice, and where stages do not score the same utterances. ``stages`` are the known stages in the order of their
    scores; they may include further systems on the same utterances. ``gains`` are pairs of stages to compare.
    """
    scored = align_predictions(predictions, stages)
    pairs = _find_gains(scored.stages, gains)
    of_stages = np.eye(len(scored.stages))
    of_gains = np.array([of_stages[above] - of_stages[below] for above, below in pairs]).reshape(-1, len(of_stages))
    settings = _Settings(classes, resamples, seed)

    pooled = _compute_estimates(scored, np.concatenate([of_stages, of_gains]), settings)
    folds = {
        fold: _compute_estimates(scored.where(scored.folds == fold), of_stages, settings) for fold in scored.fold_names
    }
    parts = {
        part: _compute_estimates(scored.where(scored.parts == part), of_stages, settings) for part in scored.part_names
    }
    matrices = [
        compute_confusion(scored.labels.tolist(), predicted.tolist(), classes) for predicted in scored.predicted
    ]
    return Evaluation(
        scores=tuple(
            StageScores(
                stage=stage,
                pooled=pooled.scores(row),
                over_folds=_summarise_folds([subset.scores(row) for subset in folds.values()]),
                folds={fold: subset.scores(row) for fold, subset in folds.items()},
                parts={part: subset.scores(row) for part, subset in parts.items()},
                classes=_score_classes(matrices[row], classes),
                confusion=tuple(tuple(counts) for counts in matrices[row].tolist()),
            )
            for row, stage in enumerate(scored.stages)
        ),
        differences=tuple(
            Difference(
                stage=scored.stages[above],
                minus=scored.stages[below],
                wa=pooled.wa[row],
                ua=pooled.ua[row],
            )
            for row, (above, below) in enumerate(pairs, start=len(scored.stages))
        ),
    )


def find_final_stage(stages: Sequence[str]) -> str:
    """Return the system's final stage: the last one in the order of STAGES that is not a baseline."""
    return max((stage for stage in stages if stage in STAGE_NAMES), key=list(STAGES).index, default=MAJORITY)


def note_few_conversations(scores: Sequence[StageScores]) -> list[str]:
    """Note too few conversations for an interval, in all or in parts of the corpus."""
    first = scores[0]
    parts = [
        note for part, found in first.parts.items() for note in note_conversation_count(found.conversations, f"{part} ")
    ]
    return [*note_conversation_count(first.pooled.conversations), *parts]


def note_conversation_count(conversations: int, which: str = "") -> list[str]:
    """Note too few conversations for an interval; ``which`` names the part, with a space."""
    few = 1 < conversations < MIN_CONVERSATIONS
    if not few:
        return []
    return [
        f"{FEW_CONVERSATIONS_NOTE} {conversations} {which}conversations are too narrow: intervals are unreliable with "
        f"fewer than {MIN_CONVERSATIONS} conversations"
    ]


def _find_gains(stages: Sequence[str], gains: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Find positions of stages to compare as (higher, lower): the gains, and the final stage over the baseline."""
    pairs = [*gains, (find_final_stage(stages), MAJORITY)]
    return [
        (stages.index(above), stages.index(below))
        for above, below in pairs
        if above in stages and below in stages and above != below
    ]


class _Settings(NamedTuple):
    classes: Sequence[str]
    resamples: int
    seed: int


class _Estimates(NamedTuple):
    """Hold estimates by row: first the stages, then any differences."""

    utterances: int
    conversations: int
    wa: list[Estimate]
    ua: list[Estimate]
    weighted_f1: list[Estimate]

    def scores(self, row: int) -> Scores:
        return Scores(
            utterances=self.utterances,
            conversations=self.conversations,
            wa=self.wa[row],
            ua=self.ua[row],
            weighted_f1=self.weighted_f1[row],
        )


def _compute_estimates(scored: AlignedPredictions, contrasts: NDArray, settings: _Settings) -> _Estimates:
    """Estimate contrasts (R, stages) of the stages' measures: single stages, or differences of two."""
    confusions = _count_by_conversation(scored, settings.classes)
    values = contrasts @ compute_measures(confusions.sum(axis=1))[..., None]  # (3, stages, 1) -> (3, R, 1)
    intervals = _compute_intervals(confusions, contrasts, settings)
    wa, ua, f1 = (
        [Estimate(*estimate) for estimate in zip(row, bounds, strict=True)]
        for row, bounds in zip(values[..., 0].tolist(), intervals, strict=True)
    )
    return _Estimates(len(scored.labels), confusions.shape[1], wa, ua, f1)


def _count_by_conversation(scored: AlignedPredictions, classes: Sequence[str]) -> NDArray[np.int64]:
    """Count confusion matrices (stages, conversations, C, C), conversations in the order of their ids."""
    _, groups = np.unique(scored.conversations, return_inverse=True)
    rows = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    return np.array(
        [
            [compute_confusion(scored.labels[row].tolist(), predicted[row].tolist(), classes) for row in rows]
            for predicted in scored.predicted
        ]
    )


def compute_measures(confusions: NDArray) -> NDArray[np.float64]:
    """Compute WA, UA and weighted F1: (..., C, C) -> (3, ...)."""
    return np.stack(
        [
            compute_weighted_accuracy(confusions),
            compute_unweighted_accuracy(confusions),
            compute_weighted_f1(confusions),
        ]
    )


def compute_resampled_measures(confusions: NDArray, drawn: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compute the measures of resampled conversations.

    Confusion matrices (stages, conversations, C, C) and B draws of positions of conversations (B, draws) ->
    (3, stages, B).
    """
    stages, conversations, classes, _ = confusions.shape
    flat = confusions.reshape(stages, conversations, classes * classes)
    pooled = count_draws(drawn, conversations) @ flat.astype(float)  # (stages, B, C * C)
    return compute_measures(pooled.reshape(stages, len(drawn), classes, classes))


def _compute_intervals(
    confusions: NDArray, contrasts: NDArray, settings: _Settings
) -> list[list[tuple[float, float]]] | list[list[None]]:
    """Compute percentile intervals for the three measures of each contrast."""
    bounds = compute_percentile_bounds(
        confusions.shape[1],
        lambda drawn: contrasts @ compute_resampled_measures(confusions, drawn),  # (3, R, B)
        resamples=settings.resamples,
        seed=settings.seed,
    )
    if bounds is None:
        return [[None] * len(contrasts)] * 3
    return [list(zip(low, high, strict=True)) for low, high in zip(*(one.tolist() for one in bounds), strict=True)]


def _summarise_folds(folds: Sequence[Scores]) -> FoldStatistics:
    return FoldStatistics(
        wa=_summarise_values([fold.wa.value for fold in folds]),
        ua=_summarise_values([fold.ua.value for fold in folds]),
        weighted_f1=_summarise_values([fold.weighted_f1.value for fold in folds]),
    )


def _summarise_values(values: Sequence[float]) -> FoldStatistic:
    return FoldStatistic(
        mean=float(np.mean(values)),
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else None,
    )


def _score_classes(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, ClassResult]:
    scores = compute_class_scores(matrix)
    return {
        name: ClassResult(
            precision=_convert_nan(precision), recall=_convert_nan(recall), f1=_convert_nan(f1), support=int(support)
        )
        for name, precision, recall, f1, support in zip(classes, *scores, strict=True)
    }


def _convert_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
