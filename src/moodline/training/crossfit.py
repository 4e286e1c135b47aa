"""Cross-fitting: contexts train on embeddings of utterances that their encoder has not seen.

An encoder knows the utterances that trained it better than new ones. Contexts that learn from its embeddings of the
former rely on them too much when they read the latter. With cross-fitting each part of the training conversations is
encoded by an encoder that trained on the other parts (stacked generalisation: Wolpert, Neural Networks, 1992).
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moodline.conversation import Conversation, LabelSet
from moodline.corpora.protocols import balance_parts, group_by_speaker
from moodline.embeddings import Embeddings, stack_embeddings
from moodline.errors import MoodlineError


class Part(NamedTuple):
    """Hold training conversations that an encoder is trained without, and what the part is called."""

    name: str
    conversations: tuple[Conversation, ...]


class Parts(NamedTuple):
    """Hold the parts of a training set, and notes on how they were made."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


def plan_parts(train: Sequence[Conversation], count: int, label_set: LabelSet) -> Parts:
    """Divide training conversations into ``count`` parts of similar size, of whole sessions where there are sessions.

    Without sessions, no speaker is in two parts if the speakers can be divided so. A part that lacks a class is joined
    with another.

    Raises:
        MoodlineError: there are fewer sessions or conversations than parts, or only one part has all classes
    """
    filled = [one for one in train if one.utterances]
    sessions = {one.session for one in filled}
    notes: list[str] = []
    if None not in sessions and len(sessions) > 1:
        groups = [[one for one in filled if one.session == session] for session in sorted(map(str, sessions))]
        refuse_too_many(count, len(groups), "sessions")
    else:
        groups = group_by_speaker(filled)
        if len(groups) < count:
            groups = [[one] for one in filled]
            notes.append("the parts of crossfit share speakers, as there are too few groups of speakers")
        refuse_too_many(count, len(groups), "conversations")
    parts = balance_parts(groups, count)
    while (poor := find_poor_part(parts, label_set)) is not None:
        if len(parts) <= 2:
            raise MoodlineError(
                f"crossfit needs two parts of the training conversations that have every class of {label_set.name}, "
                "and there is one. Set crossfit to 0.",
                code="recipe.crossfit_classes",
            )
        rest = [part for part in parts if part is not poor]
        smallest = min(rest, key=count_turns)
        smallest += poor
        parts = rest
        notes.append("a part of crossfit that lacks a class is joined with another")
    return Parts(tuple(Part(name_part(part), tuple(part)) for part in parts), tuple(notes))


def refuse_too_many(count: int, available: int, what: str) -> None:
    if count > available:
        raise MoodlineError(
            f"crossfit must be at most the number of {what} that train, {available}, not {count}. Lower it, or set it "
            "to 0.",
            code="recipe.too_many_parts",
        )


def count_turns(conversations: Sequence[Conversation]) -> int:
    return sum(len(one.utterances) for one in conversations)


def find_poor_part(parts: Sequence[list[Conversation]], label_set: LabelSet) -> list[Conversation] | None:
    """Find a part that lacks a class, or without which a class is missing."""
    found = [{label_set.index(turn.label) for one in part for turn in one.utterances} - {None} for part in parts]
    for index, part in enumerate(parts):
        others = set[int | None]().union(*(classes for other, classes in enumerate(found) if other != index))
        if min(len(found[index]), len(others)) < len(label_set.classes):
            return part
    return None


def name_part(conversations: Sequence[Conversation]) -> str:
    sessions = sorted({one.session for one in conversations if one.session is not None})
    if sessions:
        return f"session{'s' if len(sessions) > 1 else ''} {', '.join(sessions)}"
    return f"{len(conversations)} conversation{'s' if len(conversations) > 1 else ''}"


def align_embeddings(
    own: Embeddings, reference: Embeddings, seen: Sequence[str], held_out: Collection[str]
) -> Embeddings:
    """Map a part's encoder's embeddings of held-out utterances to the axes of the encoder that trained on all.

    The axes of two trainings differ by a rotation at least. Rotation and scale are those that map the embeddings of the
    utterances which trained both encoders best in the least squares: with centred X and Y (N x D) and X^T Y = U S V^T,
    x' = (x - mean x) U V^T trace(S) / |X|^2 + mean y (Schönemann, "A generalized solution of the orthogonal Procrustes
    problem", Psychometrika, 1966).

    Args:
        own, reference: vectors (D,) by utterance id of the part's encoder, and of the encoder of all
        seen: utterances that trained both
        held_out: utterances that only the latter has seen
    """
    source, target = (stack_embeddings(one, seen).double() for one in (own, reference))  # (N, D)
    source_mean, target_mean = source.mean(dim=0), target.mean(dim=0)
    centred = source - source_mean
    left, singular, right = torch.linalg.svd(centred.T @ (target - target_mean))
    power = centred.square().sum()
    scale = singular.sum() / power if power > 0 else torch.ones_like(power)
    rotation = left @ right * scale

    def align(vector: Tensor) -> Tensor:
        return ((vector.double() - source_mean) @ rotation + target_mean).to(vector.dtype)

    return {name: align(own[name]) for name in held_out}
