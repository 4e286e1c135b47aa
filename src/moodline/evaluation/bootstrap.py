"""Aligned predictions of several stages, and 95 % percentile bootstrap intervals over conversations."""

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
# Positions of conversations that are drawn before they are measured: 8 MiB of them, and as much some times over.
MAX_DRAWS_PER_BATCH = 2**20

ConfidenceInterval = tuple[float, float] | None
"""None where one conversation is all there is."""


def compute_percentile_bounds(
    conversations: int,
    measure: Callable[[NDArray[np.integer]], NDArray],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[NDArray, NDArray] | None:
    """The lower and the upper bounds of measures of so many conversations, each (...); None of fewer than two.

    A measure that is NaN of some draw has NaN for bounds.

    Args:
        measure: gives, of B draws of positions of conversations (B, draws), B values of each measure: (..., B)
    """
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes longer to import than the rest of this module

    if conversations < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of NaN, which is told
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
    """How often each conversation is drawn: (B, draws) -> (B, conversations).

    In floating point, where products with counts are fast, and exact as long as the counts are.
    """
    return np.apply_along_axis(np.bincount, -1, drawn, minlength=conversations).astype(float)


KEY_COLUMNS = ("conversation_id", "utterance_id")
# What must not differ between the rows of one utterance in several stages.
FACT_COLUMNS = (*KEY_COLUMNS, "fold", "part", "label")


class AlignedPredictions(NamedTuple):
    """N utterances, each predicted by every stage."""

    stages: tuple[str, ...]
    conversations: NDArray  # (N,)
    folds: NDArray  # (N,)
    parts: NDArray  # (N,)
    labels: NDArray  # (N,)
    predicted: NDArray  # (stages, N)
    fold_names: tuple[str, ...]
    part_names: tuple[str, ...]  # none where there are not several to compare

    def where(self, mask: NDArray[np.bool_]) -> "AlignedPredictions":
        return self._replace(
            conversations=self.conversations[mask],
            labels=self.labels[mask],
            predicted=self.predicted[:, mask],
        )


def align_predictions(predictions: pa.Table, known: Mapping[str, str]) -> AlignedPredictions:
    """What several stages say of the same utterances.

    Args:
        predictions: a row an utterance and stage, as of ``score``
        known: the stages that there are, in the order of their scores

    Raises:
        MoodlineError: there is no utterance, a stage is unknown or predicts an utterance twice, or they do not all
            predict the same ones
    """
    if predictions.num_rows == 0:
        raise MoodlineError("a score needs at least one utterance with a label of the label set: there is none")
    found = predictions["stage"].unique().to_pylist()
    if strangers := [stage for stage in found if stage not in known]:
        raise MoodlineError(f"a stage is one of {', '.join(known)}: the predictions name {strangers[0]!r}")
    stages = tuple(stage for stage in known if stage in found)
    first = sort_rows(predictions, stages[0])
    predicted: list[NDArray] = []
    for stage in stages:
        columns = sort_rows(predictions, stage)
        if not all(columns[name].equals(first[name]) for name in FACT_COLUMNS):
            raise MoodlineError(
                "all stages score the same utterances, with the same label, fold and part: "
                f"{stage!r} differs from {stages[0]!r}; evaluate the run again"
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
    """One stage's facts and predictions in the order of the keys, (N,) each; a column at a time, for the memory."""
    rows = pc.call_function("equal", [predictions["stage"], stage])
    options = pc.SortOptions([(key, "ascending") for key in KEY_COLUMNS])
    order = pc.call_function("sort_indices", [predictions.select(KEY_COLUMNS).filter(rows)], options=options)
    columns = {name: predictions[name].filter(rows).take(order) for name in (*FACT_COLUMNS, "predicted")}
    refuse_duplicates(stage, columns["conversation_id"], columns["utterance_id"])
    return columns


def refuse_duplicates(stage: str, conversations: pa.ChunkedArray, utterances: pa.ChunkedArray) -> None:
    """Refuse an utterance that stands twice among the sorted ones (N,)."""
    keys = list(zip(conversations.to_pylist(), utterances.to_pylist(), strict=True))
    for (conversation, utterance), after in pairwise(keys):
        if (conversation, utterance) == after:
            raise MoodlineError(
                f"an utterance is scored once in a stage: {utterance!r} of conversation {conversation!r} stands "
                f"{keys.count(after)} times in {stage!r}"
            )


def convert_to_array(column: pa.ChunkedArray) -> NDArray:
    """Its texts, each that stands there often kept once."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)  # where there is none, the last
    return texts[encoded.indices.fill_null(len(texts) - 1).to_numpy()]
