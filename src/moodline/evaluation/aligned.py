"""Predictions of several stages, as arrays of the same utterances in the same order."""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moodline.errors import MoodlineError

KEYS = ("conversation_id", "utterance_id")
# What must not differ between the rows of one utterance in several stages.
FACTS = (*KEYS, "fold", "part", "label")


class Aligned(NamedTuple):
    """N utterances, each predicted by every stage."""

    stages: tuple[str, ...]
    conversations: NDArray  # (N,)
    folds: NDArray  # (N,)
    parts: NDArray  # (N,)
    labels: NDArray  # (N,)
    predicted: NDArray  # (stages, N)
    fold_names: tuple[str, ...]
    part_names: tuple[str, ...]  # none where there are not several to compare

    def where(self, mask: NDArray[np.bool_]) -> "Aligned":
        return self._replace(
            conversations=self.conversations[mask],
            labels=self.labels[mask],
            predicted=self.predicted[:, mask],
        )


def align(predictions: pa.Table, known: Mapping[str, str]) -> Aligned:
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
    first = sorted_rows(predictions, stages[0])
    predicted: list[NDArray] = []
    for stage in stages:
        columns = sorted_rows(predictions, stage)
        if not all(columns[name].equals(first[name]) for name in FACTS):
            raise MoodlineError(
                "all stages score the same utterances, with the same label, fold and part: "
                f"{stage!r} differs from {stages[0]!r}; evaluate the run again"
            )
        predicted.append(array(columns["predicted"]))
    parts = first["part"].drop_null().unique().to_pylist()
    return Aligned(
        stages=stages,
        conversations=array(first["conversation_id"]),
        folds=array(first["fold"]),
        parts=array(first["part"]),
        labels=array(first["label"]),
        predicted=np.stack(predicted),
        # In the order of the protocol, which a sort by name would lose (10 before 2).
        fold_names=tuple(predictions["fold"].unique().to_pylist()),
        part_names=tuple(sorted(parts)) if len(parts) > 1 else (),
    )


def sorted_rows(predictions: pa.Table, stage: str) -> dict[str, pa.ChunkedArray]:
    """One stage's facts and predictions in the order of the keys, (N,) each; a column at a time, for the memory."""
    rows = pc.call_function("equal", [predictions["stage"], stage])
    options = pc.SortOptions([(key, "ascending") for key in KEYS])
    order = pc.call_function("sort_indices", [predictions.select(KEYS).filter(rows)], options=options)
    columns = {name: predictions[name].filter(rows).take(order) for name in (*FACTS, "predicted")}
    check_once(stage, columns["conversation_id"], columns["utterance_id"])
    return columns


def check_once(stage: str, conversations: pa.ChunkedArray, utterances: pa.ChunkedArray) -> None:
    """Refuse an utterance that stands twice among the sorted ones (N,)."""
    keys = list(zip(conversations.to_pylist(), utterances.to_pylist(), strict=True))
    for (conversation, utterance), after in pairwise(keys):
        if (conversation, utterance) == after:
            raise MoodlineError(
                f"an utterance is scored once in a stage: {utterance!r} of conversation {conversation!r} stands "
                f"{keys.count(after)} times in {stage!r}"
            )


def array(column: pa.ChunkedArray) -> NDArray:
    """Its texts, each that stands there often kept once."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)  # where there is none, the last
    return texts[encoded.indices.fill_null(len(texts) - 1).to_numpy()]
