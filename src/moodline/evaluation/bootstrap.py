"""Align predictions of several stages, and compute 95 % percentile bootstrap intervals over conversations."""

import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.errors import MoodlineError

RESAMPLES, SEED = 1000, 0
# Positions of conversations per batch of resamples: 8 MiB, and a few times as much for their measures.
MAX_DRAWS_PER_BATCH = 2**20

ConfidenceInterval = tuple[float, float] | None
"""None for a single conversation."""


def compute_percentile_bounds(
    conversations: int,
    measure: Callable[[NDArray[np.integer]], NDArray],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[NDArray, NDArray] | None:
    """Compute lower and upper bounds of measures over conversations, each (...); None for fewer than two.

    A measure that is NaN for some draw has NaN bounds.

    Args:
        conversations: their number
        measure: maps B draws of positions of conversations (B, draws) to values of the measures (..., B)
    """
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes longer to import than the rest of this module

    if conversations < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # NaN bounds are documented
        bounds = bootstrap(
            (np.arange(conversations),),
            lambda drawn, axis: measure(drawn),
            vectorized=True,
            method="percentile",
            n_resamples=resamples,
            batch=max(1, MAX_DRAWS_PER_BATCH // conversations),
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return bounds.low, bounds.high


def count_draws(drawn: NDArray[np.integer], conversations: int) -> NDArray[np.float64]:
    """Count how often each conversation is drawn: (B, draws) -> (B, conversations).

    Counts are floating-point numbers, which makes matrix products fast; they are exact.
    """
    return np.apply_along_axis(np.bincount, -1, drawn, minlength=conversations).astype(float)


KEY_COLUMNS = ("conversation_id", "utterance_id")
# Columns that agree between the rows of one utterance in several stages.
FACT_COLUMNS = (*KEY_COLUMNS, "fold", "part", "label")


class AlignedPredictions(NamedTuple):
    """Hold N utterances, each predicted by every stage."""

    stages: tuple[str, ...]
    conversations: NDArray  # (N,)
    folds: NDArray  # (N,)
    parts: NDArray  # (N,)
    labels: NDArray  # (N,)
    predicted: NDArray  # (stages, N)
    fold_names: tuple[str, ...]
    part_names: tuple[str, ...]  # empty unless there are several to compare

    def where(self, mask: NDArray[np.bool_]) -> "AlignedPredictions":
        return self._replace(
            conversations=self.conversations[mask],
            labels=self.labels[mask],
            predicted=self.predicted[:, mask],
        )


def align_predictions(predictions: pa.Table, known: Mapping[str, str]) -> AlignedPredictions:
    """Align the predictions of several stages by utterance.

    Args:
        predictions: one row per utterance and stage, see ``score_predictions``
        known: the known stages, in the order of their scores

    Raises:
        MoodlineError: the table is empty, a stage is unknown or predicts an utterance twice, or the stages do not
            predict the same utterances
    """
    if predictions.num_rows == 0:
        raise MoodlineError(
            "no utterance has a label of the label set. A score needs at least one.", code="evaluation.no_utterance"
        )
    found = predictions["stage"].unique().to_pylist()
    if strangers := [stage for stage in found if stage not in known]:
        raise MoodlineError(
            f"unknown stage {strangers[0]!r} in the predictions. The stages are {', '.join(known)}.",
            code="evaluation.unknown_stage",
        )
    stages = tuple(stage for stage in known if stage in found)
    first = sort_rows(predictions, stages[0])
    predicted: list[NDArray] = []
    for stage in stages:
        columns = sort_rows(predictions, stage)
        if not all(columns[name].equals(first[name]) for name in FACT_COLUMNS):
            raise MoodlineError(
                f"stage {stage!r} differs from {stages[0]!r} in its utterances, or in their labels, folds or parts. "
                "Evaluate the run again.",
                code="evaluation.other_utterances",
            )
        predicted.append(convert_to_array(columns["predicted"]))
    parts = first["part"].drop_null().unique().to_pylist()
    return AlignedPredictions(
        stages=stages,
        conversations=convert_to_array(first["conversation_id"]),
        folds=convert_to_array(first["fold"]),
        parts=convert_to_array(first["part"]),
        labels=convert_to_array(first["label"]),
        predicted=np.stack(predicted),
        # In the order of the protocol, which a sort by name would lose (10 before 2).
        fold_names=tuple(predictions["fold"].unique().to_pylist()),
        part_names=tuple(sorted(parts)) if len(parts) > 1 else (),
    )


def sort_rows(predictions: pa.Table, stage: str) -> dict[str, pa.ChunkedArray]:
    """Sort one stage's facts and predictions by the keys, (N,) each; one column at a time to save memory."""
    rows = pc.call_function("equal", [predictions["stage"], stage])
    options = pc.SortOptions([(key, "ascending") for key in KEY_COLUMNS])
    order = pc.call_function("sort_indices", [predictions.select(KEY_COLUMNS).filter(rows)], options=options)
    columns = {name: predictions[name].filter(rows).take(order) for name in (*FACT_COLUMNS, "predicted")}
    refuse_duplicates(stage, columns["conversation_id"], columns["utterance_id"])
    return columns


def refuse_duplicates(stage: str, conversations: pa.ChunkedArray, utterances: pa.ChunkedArray) -> None:
    """Refuse duplicates among sorted utterances (N,)."""
    keys = list(zip(conversations.to_pylist(), utterances.to_pylist(), strict=True))
    for (conversation, utterance), after in pairwise(keys):
        if (conversation, utterance) == after:
            raise MoodlineError(
                f"utterance {utterance!r} of conversation {conversation!r} has {keys.count(after)} predictions in "
                f"stage {stage!r}. Keep one.",
                code="evaluation.duplicate_utterance",
            )


def convert_to_array(column: pa.ChunkedArray) -> NDArray:
    """Convert a column to an array of objects that shares equal texts."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)  # the last stands for null
    return texts[encoded.indices.fill_null(len(texts) - 1).to_numpy()]
