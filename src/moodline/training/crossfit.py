"""Cross-fitting: contexts and fusion train on embeddings of utterances that the parts before them have not seen.

An encoder knows the utterances that trained it better than new ones. Contexts that learn from its embeddings of the
former rely on them too much when they read the latter. The same holds for the fusion and its contexts. With
cross-fitting each part of the training conversations is encoded by an encoder, and by contexts, that trained on the
other parts (stacked generalisation: Wolpert, Neural Networks, 1992).
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moodline.config import Recipe
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.protocols import Fold, balance_parts, group_by_speaker
from moodline.embeddings import Embeddings, stack_embeddings
from moodline.errors import MoodlineError


class Part(NamedTuple):
    """Hold training conversations that stages are trained without, and what the part is called."""

    name: str
    conversations: tuple[Conversation, ...]


class Parts(NamedTuple):
    """Hold the parts of a training set, and notes on how they were made."""

    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()


def plan_crossfit(recipe: Recipe, fold: Fold, train: Sequence[Conversation], label_set: LabelSet) -> Parts:
    """Plan the parts of a fold's training set; none without cross-fitting."""
    if not recipe.crossfitted_stages:
        return Parts()
    try:
        return plan_parts(train, recipe.crossfit, label_set)
    except MoodlineError as error:
        raise MoodlineError(f"{fold}: {error}", code=error.code) from error


def plan_parts(train: Sequence[Conversation], count: int, label_set: LabelSet) -> Parts:
    """Divide training conversations into ``count`` parts of similar size, of whole sessions where there are sessions.

    Without sessions, no speaker is in two parts if the speakers can be divided so. A part that lacks a class is joined
    with another, unless a class is then in one part alone.

    Raises:
        MoodlineError: there are fewer sessions or conversations than parts, or a class is in one part alone
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
    joined = join_poor_parts(parts, label_set)
    if len(joined) < len(parts) and not find_single_classes(joined, label_set):
        notes.append("a part of crossfit that lacks a class is joined with another")
        parts = joined
    for name in find_single_classes(parts, label_set):
        raise MoodlineError(
            f"crossfit needs every class of {label_set.name} in two parts of the training conversations, and {name} is "
            "in one alone. Set crossfit to 0.",
            code="recipe.crossfit_classes",
        )
    return Parts(tuple(Part(name_part(part), tuple(part)) for part in parts), tuple(notes))


def refuse_too_many(count: int, available: int, what: str) -> None:
    if count > available:
        raise MoodlineError(
            f"crossfit must be at most the number of {what} that train, {available}, not {count}. Lower it, or set it "
            "to 0.",
            code="recipe.too_many_parts",
        )


def join_poor_parts(parts: Sequence[list[Conversation]], label_set: LabelSet) -> list[list[Conversation]]:
    """Join each part that lacks a class with the smallest other one, as long as there are more than two."""
    joined = [list(part) for part in parts]
    while len(joined) > 2:
        poor = next((one for one in joined if len(collect_classes(one, label_set)) < len(label_set.classes)), None)
        if poor is None:
            break
        joined.remove(poor)
        min(joined, key=count_turns).extend(poor)
    return joined


def find_single_classes(parts: Sequence[list[Conversation]], label_set: LabelSet) -> list[str]:
    """Find the classes in one part alone: what trains without this part would never see them."""
    found = [collect_classes(part, label_set) for part in parts]
    counts = (sum(number in classes for classes in found) for number in range(len(label_set.classes)))
    return [name for name, count in zip(label_set.classes, counts, strict=True) if count < 2]


def collect_classes(conversations: Sequence[Conversation], label_set: LabelSet) -> set[int | None]:
    return {label_set.index(turn.label) for one in conversations for turn in one.utterances} - {None}


def count_turns(conversations: Sequence[Conversation]) -> int:
    return sum(len(one.utterances) for one in conversations)


def name_part(conversations: Sequence[Conversation]) -> str:
    sessions = sorted({one.session for one in conversations if one.session is not None})
    if sessions:
        return f"session{'s' if len(sessions) > 1 else ''} {', '.join(sessions)}"
    return f"{len(conversations)} conversation{'s' if len(conversations) > 1 else ''}"


def align_embeddings(
    own: Embeddings, reference: Embeddings, seen: Sequence[str], held_out: Collection[str]
) -> Embeddings:
    """Map embeddings of held-out utterances to the axes of the encoder, or the context, that trained on all.

    The axes of two trainings differ by at least a rotation. Rotation and scale are the best in the least squares over
    the utterances of the other parts: with centred X and Y (N x D) and X^T Y = U S V^T,

        x' = (x - mean x) U V^T trace(S) / |X|^2 + mean y

    (Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika, 1966). With fewer
    utterances than dimensions, x is projected to the directions that they have.

    Args:
        own, reference: vectors (D,) by utterance id, of the stage trained without the part, and trained on all
        seen: utterances of the other parts
        held_out: utterances of the part
    """
    source, target = (stack_embeddings(one, seen).double() for one in (own, reference))  # (N, D)
    source_mean, target_mean = source.mean(dim=0), target.mean(dim=0)
    centred = source - source_mean
    left, singular, right = torch.linalg.svd(centred.T @ (target - target_mean))
    left = left * (singular > singular.max() * max(centred.shape) * torch.finfo(singular.dtype).eps)
    power = centred.square().sum()
    scale = singular.sum() / power if power > 0 else torch.ones_like(power)
    rotation = left @ right * scale

    def align(vector: Tensor) -> Tensor:
        return ((vector.double() - source_mean) @ rotation + target_mean).to(vector.dtype)

    return {name: align(own[name]) for name in held_out}
