"""Utterances and conversations through trained parts, in batches of similar length."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from moodline.audio import io
from moodline.config import AUDIO_UTTERANCE, FUSION, TEXT_UTTERANCE, AudioUtteranceConfig, Modalities, Recipe
from moodline.conversation import Utterance
from moodline.device import run_on_device
from moodline.errors import MoodlineError
from moodline.modeling.as_released import ReleasedPadding
from moodline.modeling.batching import Encoding, build_length_batches, pad_sequences
from moodline.modeling.context import subtract_speaker_means
from moodline.modeling.model import ENCODER_BY_STAGE
from moodline.modeling.text_encoder import Tokenizer
from moodline.runtime import memory_trimmer

MODALITY_BY_ENCODER: Mapping[str, Modalities] = {AUDIO_UTTERANCE: "audio", TEXT_UTTERANCE: "text"}


def find_present(utterances: Sequence[Utterance], recipe: Recipe) -> dict[str, Tensor]:
    """Where an utterance has what an encoder reads, (S,) by encoder: audio, or words; a given embedding always is."""
    given = dict.fromkeys(recipe.given, [True] * len(utterances))
    has = {
        AUDIO_UTTERANCE: [utterance.audio is not None for utterance in utterances],
        TEXT_UTTERANCE: [bool(utterance.words.strip()) for utterance in utterances],
    }
    return {encoder: torch.tensor((has | given)[encoder], dtype=torch.bool) for encoder in ENCODER_BY_STAGE.values()}


def mask_modalities(present: Mapping[str, Tensor], modalities: Modalities) -> dict[str, Tensor]:
    """The same where these modalities alone are read: the other one is nowhere."""
    return {
        encoder: mask if modalities in ("both", MODALITY_BY_ENCODER[encoder]) else torch.zeros_like(mask)
        for encoder, mask in present.items()
    }


def find_encoded(utterances: Sequence[Utterance], recipe: Recipe) -> dict[str, Tensor]:
    """Which utterances encoders and contexts read, (S,) by encoder.

    All of them, and one without audio is refused when it is read; but where the fusion knows turns without audio,
    those that have it. Words that are empty are read as such.
    """
    present = find_present(utterances, recipe)
    leaves_out = {AUDIO_UTTERANCE} if FUSION in recipe.stages and recipe.fusion.handles_missing_modality else set()
    return {encoder: mask if encoder in leaves_out else torch.ones_like(mask) for encoder, mask in present.items()}


def find_fused(utterances: Sequence[Utterance], recipe: Recipe, modalities: Modalities) -> dict[str, Tensor] | None:
    """What the fusion reads of each modality, (S,) by encoder; None of one that was never without any: all."""
    if not recipe.fusion.handles_missing_modality:
        return None
    return mask_modalities(
        mask_modalities(find_present(utterances, recipe), recipe.fusion.input_modalities), modalities
    )


def drop_full_masks(masks: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    """Masks that leave something out; None in the place of those that do not."""
    return None if masks is None or all(mask.all() for mask in masks.values()) else dict(masks)


def refuse_unreadable(utterances: Sequence[Utterance], name: str, recipe: Recipe, modalities: Modalities) -> None:
    """Refuse a conversation, which sentences call by its name, that has nothing of what is to be read.

    Raises:
        MoodlineError: names the option for what it has
    """
    stages = recipe.select_stages(modalities)
    present = find_present(utterances, recipe)
    if AUDIO_UTTERANCE in stages and not present[AUDIO_UTTERANCE].any():
        raise MoodlineError(
            f"a model of speech needs audio, and no utterance of {name} has any: label it from its words "
            'with --modalities text (in Python modalities="text"), or take a model of words alone'
        )
    masks = find_fused(utterances, recipe, modalities) if FUSION in stages else None
    if masks and not any(mask.any() for mask in masks.values()):
        raise MoodlineError(
            f"no utterance of {name} has any words: label it from its speech with --modalities audio "
            '(in Python modalities="audio")'
        )


def select_utterances(utterances: Sequence[Utterance], mask: Tensor) -> list[Utterance]:
    return [utterance for utterance, kept in zip(utterances, mask.tolist(), strict=True) if kept]


def scatter_rows(rows: Tensor, mask: Tensor, otherwise: float) -> Tensor:
    """Rows (K, D) of the K utterances that a mask (S,) keeps, in the places of all: (S, D)."""
    values = rows.new_full((len(mask), rows.shape[1]), otherwise)
    values[mask] = rows
    return values


def read_waveform(utterance: Utterance, sample_rate: int) -> Tensor:
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
        return torch.from_numpy(io.read_clip(utterance.audio, sample_rate))
    except MoodlineError as error:
        raise MoodlineError(f"the speech of {utterance.id} cannot be read: {error}") from error


def pad_waveform(waveform: Tensor, config: AudioUtteranceConfig, place: float = 0.0) -> Tensor:
    """The waveform (T,) as the speech encoder is given it: with the released padding, or as it is.

    Args:
        place: of the utterance among its padding, see ``ReleasedPadding``; random in training, else 0
    """
    if config.padding == "masked":
        return waveform
    return ReleasedPadding(round(config.padded_seconds * config.sample_rate))(waveform, place)


def tokenize_utterances(utterances: Sequence[Utterance], tokenizer: Tokenizer) -> list[Tensor]:
    """Each utterance's token ids (T_i,)."""
    return tokenizer([utterance.words for utterance in utterances])


def build_context_input(stage: str, recipe: Recipe, embeddings: Tensor, utterances: Sequence[Utterance]) -> Tensor:
    """What a context stage reads of a conversation: its utterances' embeddings (S, E) -> (S, E)."""
    if not recipe.get_context_config(stage).speaker_relative:
        return embeddings
    return subtract_speaker_means(embeddings, [utterance.speaker for utterance in utterances])


def measure_seconds(utterance: Utterance) -> float:
    return utterance.audio.duration if utterance.audio is not None else 0.0


def measure_length(stage: str, utterance: Utterance, recipe: Recipe) -> float:
    """How long an utterance is to its encoder, for batches of neighbours in length: seconds, or characters."""
    if stage != AUDIO_UTTERANCE:
        return float(len(utterance.words))
    audio, seconds = recipe.audio_utterance, measure_seconds(utterance)
    return seconds if audio.padding == "masked" else max(seconds, audio.padded_seconds)


WaveformReader = Callable[[Utterance, int], Tensor]

ENCODER_BATCH = 16
CONVERSATION_BATCH = 32


@torch.inference_mode()
def encode_utterances(
    stage: str,
    part: nn.Module,
    utterances: Sequence[Utterance],
    recipe: Recipe,
    tokenizer: Tokenizer | None,
    sound: WaveformReader = read_waveform,
) -> Encoding:
    """Every utterance's encoding by an utterance encoder, in the given order: (N, E) and (N, classes).

    ``sound`` is what an encoder of speech hears of an utterance at a sample rate: (T,).
    """

    def inputs(chosen: Sequence[Utterance]) -> list[Tensor]:
        if stage == AUDIO_UTTERANCE:
            audio = recipe.audio_utterance
            return [pad_waveform(sound(utterance, audio.sample_rate), audio) for utterance in chosen]
        assert tokenizer is not None, "a model of words is loaded with its tokenizer"
        return tokenize_utterances(chosen, tokenizer)

    def encode(indices: Sequence[int]) -> Encoding:
        memory_trimmer.trim()
        values, lengths = pad_sequences(inputs([utterances[index] for index in indices]))
        return run_on_device(part, values, lengths)

    part.eval()
    lengths = [measure_length(stage, utterance, recipe) for utterance in utterances]
    longest = recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else float("inf")
    batches = build_length_batches(lengths, batch_size=ENCODER_BATCH, maximum_total=longest)
    return encode_in_order(batches, encode)


@torch.inference_mode()
def encode_conversations(part: nn.Module, *sequences: Sequence[Tensor]) -> list[Encoding]:
    """Every conversation's encoding by a context or fusion stage.

    Args:
        part: reads padded sequences and their lengths
        sequences: one list of (S_i, D) for each sequence that the part reads
    """
    part.eval()
    encodings: list[Encoding | None] = [None] * len(sequences[0])
    sizes = [len(sequence) for sequence in sequences[0]]
    for indices in build_length_batches(sizes, batch_size=CONVERSATION_BATCH):
        padded = [pad_sequences([each[index] for index in indices]) for each in sequences]
        lengths = padded[0][1]
        encoding = run_on_device(part, *(values for values, _ in padded), lengths)
        for row, index in enumerate(indices):
            size = int(lengths[row])
            encodings[index] = Encoding(encoding.embeddings[row, :size], encoding.logits[row, :size])
    return [encoding for encoding in encodings if encoding is not None]


def encode_in_order(batches: Sequence[Sequence[int]], encode: Callable[[Sequence[int]], Encoding]) -> Encoding:
    """Encodings of batches of indices, put back into the order of the indices."""
    encodings = [encode(indices) for indices in batches]
    order = torch.from_numpy(np.argsort(np.concatenate([np.asarray(indices) for indices in batches])))
    embeddings = torch.cat([encoding.embeddings for encoding in encodings])[order]
    logits = torch.cat([encoding.logits for encoding in encodings])[order]
    return Encoding(embeddings, logits)


def split_by_conversation(values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Rows of utterances (N, D) cut into conversations (S_i, D)."""
    return list(values.split(list(sizes)))
