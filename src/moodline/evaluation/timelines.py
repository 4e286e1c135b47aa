"""Two conversations turn by turn: one where the system does well, one where it does badly.

The rule that chooses them: of the scored conversations with at least as many scored utterances as the median one, the
one with the largest share right, and the one with the smallest. Of equals, the longer one; then the first by id.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
    scored = Counter(predictions["conversation_id"].to_pylist())
    right = Counter(predictions.filter(pc.field("label") == pc.field("predicted"))["conversation_id"].to_pylist())
    by_id = {conversation.id: conversation for conversation in conversations}
    return tuple(
        _timeline(by_id[chosen], predictions.filter(pc.field("conversation_id") == chosen).to_pylist(), most)
        for chosen in best_and_worst({name: (right[name], count) for name, count in scored.items()})
    )


def best_and_worst(counts: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Ids of two conversations, or of the only one, from how many of each one's utterances are right and scored."""
    typical = median_low([scored for _, scored in counts.values()])
    share = {name: right / scored for name, (right, scored) in counts.items() if scored >= typical}
    best = min(share, key=lambda name: (-share[name], -counts[name][1], name))
    others = [name for name in share if name != best]
    return (best, *sorted(others, key=lambda name: (share[name], -counts[name][1], name))[:1])


def _timeline(conversation: Conversation, scored: Sequence[Mapping[str, Any]], most: int) -> Timeline:
    rows = {row["utterance_id"]: row for row in scored}
    return Timeline(
        conversation=conversation,
        turns=tuple(_turn(utterance, rows.get(utterance.id)) for utterance in conversation.utterances[:most]),
        right=sum(row["label"] == row["predicted"] for row in scored),
        scored=len(scored),
    )


def _turn(utterance: Utterance, row: Mapping[str, Any] | None) -> Turn:
    if row is None:
        return Turn(utterance=utterance)
    predicted = row["predicted"]
    return Turn(utterance=utterance, label=row["label"], predicted=predicted, probability=row[f"p_{predicted}"])
