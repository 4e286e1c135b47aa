"""Which of a conversation's turns have audio, and of which words are known."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import Utterance
from moodline.model import ENCODER_OF

MODALITY_OF = {AUDIO_UTTERANCE: "audio", TEXT_UTTERANCE: "text"}


def presence(utterances: Sequence[Utterance], recipe: Recipe) -> dict[str, Tensor]:
    """Where an utterance has what an encoder reads, (S,) by encoder: audio, or words; a given embedding always is."""
    given = dict.fromkeys(recipe.given, [True] * len(utterances))
    has = {
        AUDIO_UTTERANCE: [utterance.audio is not None for utterance in utterances],
        TEXT_UTTERANCE: [bool(utterance.words.strip()) for utterance in utterances],
    }
    return {encoder: torch.tensor((has | given)[encoder]) for encoder in ENCODER_OF.values()}


def masked(present: dict[str, Tensor], modalities: Modalities) -> dict[str, Tensor]:
    """The same where these modalities alone are read: the other one is nowhere."""
    return {
        encoder: mask if modalities in ("both", MODALITY_OF[encoder]) else torch.zeros_like(mask)
        for encoder, mask in present.items()
    }
