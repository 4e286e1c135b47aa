"""Which of a conversation's turns have audio, and of which words are known."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from moodline.config import AUDIO_UTTERANCE, FUSION, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import Utterance
from moodline.errors import MoodlineError
from moodline.model import ENCODER_OF

MODALITY_OF: Mapping[str, Modalities] = {AUDIO_UTTERANCE: "audio", TEXT_UTTERANCE: "text"}


def presence(utterances: Sequence[Utterance], recipe: Recipe) -> dict[str, Tensor]:
    """Where an utterance has what an encoder reads, (S,) by encoder: audio, or words; a given embedding always is."""
    given = dict.fromkeys(recipe.given, [True] * len(utterances))
    has = {
        AUDIO_UTTERANCE: [utterance.audio is not None for utterance in utterances],
        TEXT_UTTERANCE: [bool(utterance.words.strip()) for utterance in utterances],
    }
    return {encoder: torch.tensor((has | given)[encoder], dtype=torch.bool) for encoder in ENCODER_OF.values()}


def masked(present: Mapping[str, Tensor], modalities: Modalities) -> dict[str, Tensor]:
    """The same where these modalities alone are read: the other one is nowhere."""
    return {
        encoder: mask if modalities in ("both", MODALITY_OF[encoder]) else torch.zeros_like(mask)
        for encoder, mask in present.items()
    }


def encoded(utterances: Sequence[Utterance], recipe: Recipe) -> dict[str, Tensor]:
    """Which utterances encoders and contexts read, (S,) by encoder.

    All of them, and one without audio is refused when it is read; but where the fusion knows turns without audio,
    those that have it. Words that are empty are read as such.
    """
    present = presence(utterances, recipe)
    leaves_out = {AUDIO_UTTERANCE} if FUSION in recipe.stages and recipe.fusion.knows_absence else set()
    return {encoder: mask if encoder in leaves_out else torch.ones_like(mask) for encoder, mask in present.items()}


def fused(utterances: Sequence[Utterance], recipe: Recipe, modalities: Modalities) -> dict[str, Tensor] | None:
    """What the fusion reads of each modality, (S,) by encoder; None of one that was never without any: all."""
    if not recipe.fusion.knows_absence:
        return None
    return masked(masked(presence(utterances, recipe), recipe.fusion.modalities), modalities)


def unless_all(masks: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    """Masks that leave something out; None in the place of those that do not."""
    return None if masks is None or all(mask.all() for mask in masks.values()) else dict(masks)


def refuse_unreadable(utterances: Sequence[Utterance], name: str, recipe: Recipe, modalities: Modalities) -> None:
    """Refuse a conversation, which sentences call by its name, that has nothing of what is to be read.

    Raises:
        MoodlineError: names the option for what it has
    """
    stages = recipe.stages_in(modalities)
    present = presence(utterances, recipe)
    if AUDIO_UTTERANCE in stages and not present[AUDIO_UTTERANCE].any():
        raise MoodlineError(
            f"a model of speech needs audio, and no utterance of {name} has any: label it from its words "
            'with --words-only (in Python modalities="text"), or take a model of words alone'
        )
    masks = fused(utterances, recipe, modalities) if FUSION in stages else None
    if masks and not any(mask.any() for mask in masks.values()):
        raise MoodlineError(
            f"no utterance of {name} has any words: label it from its speech with --audio-only "
            '(in Python modalities="audio")'
        )


def chosen(utterances: Sequence[Utterance], mask: Tensor) -> list[Utterance]:
    return [utterance for utterance, kept in zip(utterances, mask.tolist(), strict=True) if kept]


def spread(rows: Tensor, mask: Tensor, otherwise: float) -> Tensor:
    """Rows (K, D) of the K utterances that a mask (S,) keeps, in the places of all: (S, D)."""
    values = rows.new_full((len(mask), rows.shape[1]), otherwise)
    values[mask] = rows
    return values
