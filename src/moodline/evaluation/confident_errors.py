"""The errors that the system was surest of: what they show is often the corpus, not the model."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from moodline.conversation import Conversation, Utterance

ROWS_AT_ONCE = 2**12


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidentError:
    """A wrong prediction: the probability of the predicted class, that of the label, and what was said."""

    conversation_id: str
    utterance: Utterance
    label: str
    predicted: str
    probability: float
    probability_of_label: float


def confident_errors(
    predictions: pa.Table, conversations: Sequence[Conversation], most: int
) -> tuple[ConfidentError, ...]:
    """One stage's errors of highest probability, at most so many; of equals, the first by id."""
    wrong = predictions.filter(pc.field("label") != pc.field("predicted"))
    rows = (row for batch in wrong.to_batches(ROWS_AT_ONCE) for row in batch.to_pylist())
    chosen = heapq.nsmallest(most, rows, key=rank)
    spoken = utterances_of(conversations, {row["conversation_id"] for row in chosen})
    return tuple(
        ConfidentError(
            conversation_id=row["conversation_id"],
            utterance=spoken[row["conversation_id"], row["utterance_id"]],
            label=row["label"],
            predicted=row["predicted"],
            probability=row[f"p_{row['predicted']}"],
            probability_of_label=row[f"p_{row['label']}"],
        )
        for row in chosen
    )


def rank(row: Mapping[str, Any]) -> tuple[float, str, str]:
    return -row[f"p_{row['predicted']}"], row["conversation_id"], row["utterance_id"]


def utterances_of(
    conversations: Sequence[Conversation], chosen: Collection[str]
) -> Mapping[tuple[str, str], Utterance]:
    """By conversation and utterance id; an utterance id alone need not be unique in a corpus."""
    return {
        (conversation.id, utterance.id): utterance
        for conversation in conversations
        if conversation.id in chosen
        for utterance in conversation.utterances
    }
