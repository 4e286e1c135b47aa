"""Two conversations turn by turn: one where the system does well, one where it does badly.

The rule that chooses them: of the scored conversations with at least as many scored utterances as the median one, the
one with the largest share right, and the one with the smallest. Of equals, the longer one; then the first by id.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import pyarrow as pa

from moodline.conversation import Conversation, Utterance


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """An utterance and what was said of it; None three times where it is not scored."""

    utterance: Utterance
    label: str | None = None
    predicted: str | None = None
    probability: float | None = None

    @property
    def right(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """A conversation's first turns. ``right`` and ``scored`` count utterances of the whole conversation."""

    conversation: Conversation
    turns: tuple[Turn, ...]
    right: int
    scored: int

    @property
    def timed(self) -> bool:
        return all(turn.utterance.start is not None and turn.utterance.end is not None for turn in self.turns)


def timelines(predictions: pa.Table, conversations: Sequence[Conversation], most: int) -> tuple[Timeline, ...]:
    """The best conversation and the worst by one stage's predictions, each cut to so many turns; one if it is alone."""
    rows: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in predictions.to_pylist():
        rows[row["conversation_id"]][row["utterance_id"]] = row
    by_id = {conversation.id: conversation for conversation in conversations}
    return tuple(_timeline(by_id[chosen], rows[chosen], most) for chosen in best_and_worst(rows))


def best_and_worst(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Ids of two conversations, or of the only one, from rows by conversation and utterance."""
    typical = median_low([len(scored) for scored in rows.values()])
    share = {name: _right(scored) / len(scored) for name, scored in rows.items() if len(scored) >= typical}
    best = min(share, key=lambda name: (-share[name], -len(rows[name]), name))
    others = [name for name in share if name != best]
    return (best, *sorted(others, key=lambda name: (share[name], -len(rows[name]), name))[:1])


def _right(scored: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(row["label"] == row["predicted"] for row in scored.values())


def _timeline(conversation: Conversation, scored: Mapping[str, Mapping[str, Any]], most: int) -> Timeline:
    return Timeline(
        conversation=conversation,
        turns=tuple(_turn(utterance, scored.get(utterance.id)) for utterance in conversation.utterances[:most]),
        right=_right(scored),
        scored=len(scored),
    )


def _turn(utterance: Utterance, row: Mapping[str, Any] | None) -> Turn:
    if row is None:
        return Turn(utterance=utterance)
    predicted = row["predicted"]
    return Turn(utterance=utterance, label=row["label"], predicted=predicted, probability=row[f"p_{predicted}"])
