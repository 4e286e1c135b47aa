"""What the utterance encoders read: an utterance's waveform, its token ids."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moodline.audio import waveform
from moodline.config import AUDIO_UTTERANCE, AudioUtteranceConfig, Recipe
from moodline.context.speaker_relative import speaker_relative
from moodline.conversation import Utterance
from moodline.errors import MoodlineError
from moodline.reproduction.released import ReleasedPadding
from moodline.text.pretrained import Tokenizer


def waveform_of(utterance: Utterance, sample_rate: int) -> Tensor:
    """The utterance's speech, mono, (T,) samples: finite numbers, or an error.

    Raises:
        MoodlineError: the utterance has no audio, or it cannot be read, as where it changed since it was prepared
    """
    if utterance.audio is None:
        raise MoodlineError(
            f"a model of speech needs each utterance's audio, and {utterance.id} has none: "
            "prepare the corpus with its audio, or take a model of words alone"
        )
    try:
        return torch.from_numpy(waveform.read(utterance.audio, sample_rate))
    except MoodlineError as error:
        raise MoodlineError(f"the speech of {utterance.id} cannot be read: {error}") from error


def padded(waveform: Tensor, config: AudioUtteranceConfig, place: float = 0.0) -> Tensor:
    """The waveform (T,) as the speech encoder is given it: with the released padding, or as it is.

    Args:
        place: of the utterance among its padding, see ``ReleasedPadding``; random in training, else 0
    """
    if config.padding == "masked":
        return waveform
    return ReleasedPadding(round(config.padded_seconds * config.sample_rate))(waveform, place)


def tokens_of(utterances: Sequence[Utterance], tokenizer: Tokenizer) -> list[Tensor]:
    """Each utterance's token ids (T_i,)."""
    return tokenizer([utterance.words for utterance in utterances])


def context_input(stage: str, recipe: Recipe, embeddings: Tensor, utterances: Sequence[Utterance]) -> Tensor:
    """What a context stage reads of a conversation: its utterances' embeddings (S, E) -> (S, E)."""
    if not recipe.context_of(stage).speaker_relative:
        return embeddings
    return speaker_relative(embeddings, [utterance.speaker for utterance in utterances])


def seconds_of(utterance: Utterance) -> float:
    return utterance.audio.duration if utterance.audio is not None else 0.0


def encoder_length(stage: str, utterance: Utterance, recipe: Recipe) -> float:
    """How long an utterance is to its encoder, for batches of neighbours in length: seconds, or characters."""
    if stage != AUDIO_UTTERANCE:
        return float(len(utterance.words))
    audio, seconds = recipe.audio_utterance, seconds_of(utterance)
    return seconds if audio.padding == "masked" else max(seconds, audio.padded_seconds)
