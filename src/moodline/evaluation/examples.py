"""Select examples for the report: groups of speakers or sessions, confident errors, conversations."""

import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median_low
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from moodline.conversation import Conversation, Utterance
from moodline.metrics import compute_confusion, compute_unweighted_accuracy, compute_weighted_accuracy


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupScores:
    """Hold the scores of the utterances of one speaker or session."""

    name: str
    utterances: int
    conversations: int
    wa: float
    ua: float  # over the classes that occur in the group


def score_groups(column: str, predictions: pa.Table, classes: Sequence[str]) -> tuple[GroupScores, ...]:
    """Score one stage's predictions by ``column``, in the order of its values; rows without a value are left out."""
    known = predictions.filter(pc.field(column).is_valid()).sort_by(column)
    sizes = Counter(known[column].to_pylist())  # in the order of its values, as these are sorted
    starts = accumulate(sizes.values(), initial=0)
    return tuple(
        _score_group(name, known.slice(start, size), classes)
        for (name, size), start in zip(sizes.items(), starts, strict=False)
    )


def _score_group(name: str, rows: pa.Table, classes: Sequence[str]) -> GroupScores:
    matrix = compute_confusion(rows["label"].to_pylist(), rows["predicted"].to_pylist(), classes)
    return GroupScores(
        name=name,
        utterances=rows.num_rows,
        conversations=len(rows["conversation_id"].unique()),
        wa=float(compute_weighted_accuracy(matrix)),
        ua=float(compute_unweighted_accuracy(matrix)),
    )


def select_largest(groups: Sequence[GroupScores], most: int) -> tuple[GroupScores, ...]:
    """Select the ``most`` groups with the most utterances, in their given order."""
    chosen = sorted(groups, key=lambda group: -group.utterances)[:most]
    return tuple(group for group in groups if group in chosen)


ROWS_PER_BATCH = 2**12


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidentError:
    """Hold a wrong prediction, with the probabilities of the predicted class and of the label."""

    conversation_id: str
    utterance: Utterance
    label: str
    predicted: str
    probability: float
    probability_of_label: float


def find_confident_errors(
    predictions: pa.Table, conversations: Sequence[Conversation], most: int
) -> tuple[ConfidentError, ...]:
    """Find one stage's ``most`` errors of highest probability; ties are broken by id."""
    wrong = predictions.filter(pc.field("label") != pc.field("predicted"))
    rows = (row for batch in wrong.to_batches(ROWS_PER_BATCH) for row in batch.to_pylist())
    chosen = heapq.nsmallest(most, rows, key=rank_error)
    spoken = find_utterances(conversations, {row["conversation_id"] for row in chosen})
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


def rank_error(row: Mapping[str, Any]) -> tuple[float, str, str]:
    return -row[f"p_{row['predicted']}"], row["conversation_id"], row["utterance_id"]


def find_utterances(
    conversations: Sequence[Conversation], chosen: Collection[str]
) -> Mapping[tuple[str, str], Utterance]:
    """Index utterances by conversation and utterance id; an utterance id alone may not be unique in a corpus."""
    return {
        (conversation.id, utterance.id): utterance
        for conversation in conversations
        if conversation.id in chosen
        for utterance in conversation.utterances
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredTurn:
    """Hold an utterance and its prediction; all three fields are None if it is not scored."""

    utterance: Utterance
    label: str | None = None
    predicted: str | None = None
    probability: float | None = None

    @property
    def right(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationExcerpt:
    """Hold a conversation's first turns; ``right`` and ``scored`` count utterances of the whole conversation."""

    conversation: Conversation
    turns: tuple[ScoredTurn, ...]
    right: int
    scored: int

    @property
    def timed(self) -> bool:
        return all(turn.utterance.start is not None and turn.utterance.end is not None for turn in self.turns)


def build_excerpts(
    predictions: pa.Table, conversations: Sequence[Conversation], most: int
) -> tuple[ConversationExcerpt, ...]:
    """Select the best and the worst conversation by one stage's predictions, each cut to ``most`` turns."""
    scored = Counter(predictions["conversation_id"].to_pylist())
    right = Counter(predictions.filter(pc.field("label") == pc.field("predicted"))["conversation_id"].to_pylist())
    by_id = {conversation.id: conversation for conversation in conversations}
    return tuple(
        _build_excerpt(by_id[chosen], predictions.filter(pc.field("conversation_id") == chosen).to_pylist(), most)
        for chosen in find_best_and_worst({name: (right[name], count) for name, count in scored.items()})
    )


def find_best_and_worst(counts: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Find the ids of the best and the worst conversation from (right, scored) counts; one id if it is the only one."""
    typical = median_low([scored for _, scored in counts.values()])
    share = {name: right / scored for name, (right, scored) in counts.items() if scored >= typical}
    best = min(share, key=lambda name: (-share[name], -counts[name][1], name))
    others = [name for name in share if name != best]
    return (best, *sorted(others, key=lambda name: (share[name], -counts[name][1], name))[:1])


def _build_excerpt(conversation: Conversation, scored: Sequence[Mapping[str, Any]], most: int) -> ConversationExcerpt:
    rows = {row["utterance_id"]: row for row in scored}
    return ConversationExcerpt(
        conversation=conversation,
        turns=tuple(
            _build_scored_turn(utterance, rows.get(utterance.id)) for utterance in conversation.utterances[:most]
        ),
        right=sum(row["label"] == row["predicted"] for row in scored),
        scored=len(scored),
    )


def _build_scored_turn(utterance: Utterance, row: Mapping[str, Any] | None) -> ScoredTurn:
    if row is None:
        return ScoredTurn(utterance=utterance)
    predicted = row["predicted"]
    return ScoredTurn(utterance=utterance, label=row["label"], predicted=predicted, probability=row[f"p_{predicted}"])
