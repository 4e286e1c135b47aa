"""Score the predictions of every stage, with 95 % percentile bootstrap intervals over conversations.

An interval over utterances would be too narrow: those of one conversation share speakers, topic and mood.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline import metrics
from moodline.config import SINGLE_MODALITY_FUSION_NAMES, STAGE_NAMES
from moodline.errors import MoodlineError, quote
from moodline.evaluation.results import Difference, Estimate, Evaluation, Scores, StageScores

MAJORITY = "majority"
# Stages in the order of a system's construction, and their names for people.
STAGES: Mapping[str, str] = {**STAGE_NAMES, **SINGLE_MODALITY_FUSION_NAMES, MAJORITY: "majority class"}
GAINS = (
    ("audio_context", "audio_utterance"),
    ("text_context", "text_utterance"),
    ("fusion", "audio_context"),
    ("fusion", "text_context"),
)
MEASURES = ("wa", "ua", "weighted_f1")
RESAMPLES, SEED = 1000, 0
# Positions of conversations per batch of resamples: 8 MiB, and a few times as much for their measures.
MAX_DRAWS_PER_BATCH = 2**20
# With fewer conversations a percentile interval covers the truth in clearly less than 95 % (docs/protocols.md).
MIN_CONVERSATIONS = 20
# Start of the note on few conversations.
FEW_CONVERSATIONS_NOTE = "intervals over"
KEY_COLUMNS = ("conversation_id", "utterance_id")
# Columns that agree between the rows of one utterance in several stages.
FACT_COLUMNS = (*KEY_COLUMNS, "fold", "part", "label")


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

    Args:
        predictions: see ``evaluation.predictions``; of its columns the probabilities are not needed
        stages: the known stages in the order of their scores; may include further systems on the same utterances
        gains: pairs of stages to compare

    Raises:
        MoodlineError: the table is empty, a stage is unknown or predicts an utterance twice, or the stages do not
            predict the same utterances
    """
    aligned = _align_predictions(predictions, stages, classes)
    of_stages = np.eye(len(aligned.stages))
    pairs = [
        (above, below)
        for above, below in [*gains, (find_final_stage(aligned.stages), MAJORITY)]
        if {above, below} <= {*aligned.stages} and above != below
    ]
    index = aligned.stages.index
    of_gains = [of_stages[index(above)] - of_stages[index(below)] for above, below in pairs]

    def estimate(rows: NDArray[np.bool_], contrasts: NDArray) -> list[Scores]:
        """Estimate contrasts (R, stages) of the stages: single ones, or differences of two."""
        confusions = aligned.count_confusions(rows, len(classes))
        estimates = add_intervals(
            confusions.shape[1],
            (contrasts @ compute_measures(confusions.sum(axis=1))[..., None])[..., 0],  # (3, stages, 1) -> (3, R)
            lambda drawn: contrasts @ compute_resampled_measures(confusions, drawn),  # (3, R, B)
            resamples=resamples,
            seed=seed,
        )
        count, conversations = int(rows.sum()), confusions.shape[1]
        return [
            Scores(utterances=count, conversations=conversations, wa=wa, ua=ua, weighted_f1=f1)
            for wa, ua, f1 in estimates.T
        ]

    everything = np.full(len(aligned.labels), True)
    pooled = estimate(everything, np.stack([*of_stages, *of_gains]))
    folds = {fold: estimate(rows, of_stages) for fold, rows in aligned.folds.items()}
    parts = {part: estimate(rows, of_stages) for part, rows in aligned.parts.items()}
    matrices = aligned.count_confusions(everything, len(classes)).sum(axis=1)  # (stages, C, C)
    of_classes = [metrics.compute_class_scores(matrix)._asdict() for matrix in matrices]
    return Evaluation(
        scores=tuple(
            StageScores(
                stage=stage,
                pooled=pooled[row],
                over_folds=_summarise_folds([subset[row] for subset in folds.values()]),
                folds={fold: subset[row] for fold, subset in folds.items()},
                parts={part: subset[row] for part, subset in parts.items()},
                classes=dict(zip(classes, build_rows(of_classes[row]), strict=True)),
                confusion=tuple(tuple(counts) for counts in matrices[row].tolist()),
            )
            for row, stage in enumerate(aligned.stages)
        ),
        differences=tuple(
            Difference(stage=above, minus=below, wa=gain.wa, ua=gain.ua)
            for (above, below), gain in zip(pairs, pooled[len(of_stages) :], strict=True)
        ),
    )


def find_final_stage(stages: Sequence[str]) -> str:
    """Return the system's final stage: the last one in the order of STAGES that is not a baseline."""
    return max((stage for stage in stages if stage in STAGE_NAMES), key=list(STAGES).index, default=MAJORITY)


def note_few_conversations(scores: Sequence[StageScores]) -> list[str]:
    """Note too few conversations for an interval, in all or in parts of the corpus."""
    counts = {"": scores[0].pooled, **{f"{part} ": found for part, found in scores[0].parts.items()}}
    return [note for which, found in counts.items() for note in note_conversation_count(found.conversations, which)]


def note_conversation_count(conversations: int, which: str = "") -> list[str]:
    """Note too few conversations for an interval; ``which`` names the part, with a space."""
    if not 1 < conversations < MIN_CONVERSATIONS:
        return []
    return [
        f"{FEW_CONVERSATIONS_NOTE} {conversations} {which}conversations are unreliable: {MIN_CONVERSATIONS} or more "
        "are needed"
    ]


class _AlignedPredictions(NamedTuple):
    """Hold N utterances, each predicted by every stage; names are indices."""

    stages: tuple[str, ...]
    conversations: NDArray[np.integer]  # (N,), in the order of their ids
    labels: NDArray[np.integer]  # (N,)
    predicted: NDArray[np.integer]  # (stages, N)
    folds: Mapping[str, NDArray[np.bool_]]  # (N,) each
    parts: Mapping[str, NDArray[np.bool_]]  # empty unless there are several to compare

    def count_confusions(self, rows: NDArray[np.bool_], classes: int) -> NDArray[np.int64]:
        """Count confusion matrices of some utterances: (N,) -> (stages, conversations, C, C)."""
        conversations, places = np.unique(self.conversations[rows], return_inverse=True)
        counts = np.zeros((len(self.stages), len(conversations), classes, classes), dtype=np.int64)
        stages = np.arange(len(self.stages))[:, None]
        np.add.at(counts, (stages, places, self.labels[rows], self.predicted[:, rows]), 1)
        return counts


def _align_predictions(predictions: pa.Table, known: Mapping[str, str], classes: Sequence[str]) -> _AlignedPredictions:
    if predictions.num_rows == 0:
        sentence = "no utterance has a label of the label set. A score needs at least one."
        raise MoodlineError(sentence, code="evaluation.no_utterance")
    found = predictions["stage"].unique().to_pylist()
    if strangers := [stage for stage in found if stage not in known]:
        raise MoodlineError(
            f"unknown stage {quote(strangers[0])} in the predictions. The stages are {', '.join(known)}.",
            code="evaluation.unknown_stage",
        )
    stages = tuple(stage for stage in known if stage in found)
    first = _sort_rows(predictions, stages[0])
    predicted = []
    for stage in stages:
        rows = _sort_rows(predictions, stage)
        if not rows.select(FACT_COLUMNS).equals(first.select(FACT_COLUMNS)):
            raise MoodlineError(
                f"stage {quote(stage)} differs from {quote(stages[0])} in its utterances, or in their labels, folds or "
                "parts. Evaluate the run again.",
                code="evaluation.other_utterances",
            )
        predicted.append(_index_column(rows["predicted"], classes))
    parts = sorted(first["part"].drop_null().unique().to_pylist())
    return _AlignedPredictions(
        stages=stages,
        conversations=_index_column(first["conversation_id"], first["conversation_id"].unique().to_pylist()),
        labels=_index_column(first["label"], classes),
        predicted=np.stack(predicted),
        # In the order of the protocol, which a sort by name would lose (10 before 2).
        folds={fold: _compare(first["fold"], fold).to_numpy() for fold in predictions["fold"].unique().to_pylist()},
        parts={part: _compare(first["part"], part).to_numpy() for part in parts} if len(parts) > 1 else {},
    )


def _sort_rows(predictions: pa.Table, stage: str) -> pa.Table:
    """Select one stage's facts and predictions, sorted by the keys, which are to be unique."""
    of_stage = _compare(predictions["stage"], stage)
    keys = predictions.select(KEY_COLUMNS).filter(of_stage)
    sorting = pc.SortOptions([(key, "ascending") for key in KEY_COLUMNS])
    order = pc.call_function("sort_indices", [keys], options=sorting)
    # One column at a time saves memory.
    rows = pa.table({name: predictions[name].filter(of_stage).take(order) for name in (*FACT_COLUMNS, "predicted")})
    repeated = [_compare(rows[key].slice(1), rows[key].slice(0, len(order) - 1)) for key in KEY_COLUMNS]
    if (place := pc.call_function("and", repeated).index(True).as_py()) >= 0:
        conversation, utterance = (rows[key][place].as_py() for key in KEY_COLUMNS)
        same = (pc.field("conversation_id") == conversation) & (pc.field("utterance_id") == utterance)
        raise MoodlineError(
            f"utterance {quote(utterance)} of conversation {quote(conversation)} has {rows.filter(same).num_rows} "
            f"predictions in stage {quote(stage)}. Keep one.",
            code="evaluation.duplicate_utterance",
        )
    return rows


def _index_column(column: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.integer]:
    """Index names without a Python object for each row: (N,) -> (N,)."""
    encoded = column.combine_chunks().dictionary_encode()
    return metrics.index_names(encoded.dictionary.to_pylist(), names)[encoded.indices.to_numpy()]


def _compare(column: pa.ChunkedArray, other: pa.ChunkedArray | str) -> pa.ChunkedArray:
    return pc.call_function("equal", [column, other]).fill_null(False)


def compute_measures(confusions: NDArray) -> NDArray[np.float64]:
    """Compute WA, UA and weighted F1: (..., C, C) -> (3, ...)."""
    measures = (metrics.compute_weighted_accuracy, metrics.compute_unweighted_accuracy, metrics.compute_weighted_f1)
    return np.stack([compute(confusions) for compute in measures])


def compute_resampled_measures(confusions: NDArray, drawn: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compute the measures of B draws of conversations: (stages, conversations, C, C), (B, draws) -> (3, stages, B)."""
    stages, conversations, classes, _ = confusions.shape
    flat = confusions.reshape(stages, conversations, classes * classes)
    pooled = count_draws(drawn, conversations) @ flat.astype(float)  # (stages, B, C * C)
    return compute_measures(pooled.reshape(stages, len(drawn), classes, classes))


def add_intervals(
    conversations: int,
    values: NDArray,
    measure: Callable[[NDArray[np.integer]], NDArray],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> NDArray[np.object_]:
    """Add 95 % percentile intervals over conversations to values: (...) -> (...) of ``Estimate``.

    A single conversation gives no interval, nor does a value that is NaN for some draw.

    Args:
        conversations: their number
        values: of all conversations
        measure: maps B draws of positions of conversations (B, draws) to their values (..., B)
    """
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes longer to import than the rest of this module

    low = high = np.full(values.shape, math.nan)
    if conversations > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)  # NaN bounds are documented
            low, high = bootstrap(
                (np.arange(conversations),),
                lambda drawn, axis: measure(drawn),
                vectorized=True,
                method="percentile",
                n_resamples=resamples,
                batch=max(1, MAX_DRAWS_PER_BATCH // conversations),
                rng=np.random.default_rng(seed),
            ).confidence_interval
    estimates = np.empty(values.shape, dtype=object)
    for place, value in np.ndenumerate(values):
        interval = float(low[place]), float(high[place])
        estimates[place] = Estimate(float(value), None if math.isnan(sum(interval)) else interval)
    return estimates


def count_draws(drawn: NDArray[np.integer], conversations: int) -> NDArray[np.float64]:
    """Count how often each conversation is drawn: (B, draws) -> (B, conversations).

    Counts are floating-point numbers, which makes matrix products fast; they are exact.
    """
    return np.apply_along_axis(np.bincount, -1, drawn, minlength=conversations).astype(float)


def _summarise_folds(folds: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    found = {}
    for measure in MEASURES:
        values = [getattr(fold, measure).value for fold in folds]
        deviation = float(np.std(values, ddof=1)) if len(folds) > 1 else None
        found[measure] = {"mean": float(np.mean(values)), "deviation": deviation}
    return found


def build_rows(columns: Mapping[str, NDArray]) -> list[dict[str, Any]]:
    """Build a row of each position of the columns (N,); NaN becomes None."""
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()}).to_pylist()
