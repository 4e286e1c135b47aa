"""The errors that the system was surest of: what they show is often the corpus, not the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from moodline.conversation import Conversation, Utterance


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
    wrong = predictions.filter(pc.field("label") != pc.field("predicted")).to_pylist()
    ranked = sorted(wrong, key=lambda row: (-row[f"p_{row['predicted']}"], row["conversation_id"], row["utterance_id"]))
    spoken = utterances_of(conversations)
    return tuple(
        ConfidentError(
            conversation_id=row["conversation_id"],
            utterance=spoken[row["conversation_id"], row["utterance_id"]],
            label=row["label"],
            predicted=row["predicted"],
            probability=row[f"p_{row['predicted']}"],
            probability_of_label=row[f"p_{row['label']}"],
        )
        for row in ranked[:most]
    )


def utterances_of(conversations: Sequence[Conversation]) -> Mapping[tuple[str, str], Utterance]:
    """By conversation and utterance id; an utterance id alone need not be unique in a corpus."""
    return {
        (conversation.id, utterance.id): utterance
        for conversation in conversations
        for utterance in conversation.utterances
    }
