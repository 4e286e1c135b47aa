"""Encode utterances and conversations by trained parts: in batches of similar length, and in overlapping windows."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moodline.audio import io
from moodline.config import AUDIO_UTTERANCE, FUSION, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import Utterance
from moodline.device import run_on_device
from moodline.errors import MoodlineError, format_option
from moodline.modeling.as_released import ReleasedPadding
from moodline.modeling.batching import Encoding, build_length_batches, pad_sequences
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel
from moodline.modeling.text_encoder import Tokenizer
from moodline.runtime import memory_trimmer

MODALITY_BY_ENCODER: Mapping[str, Modalities] = {AUDIO_UTTERANCE: "audio", TEXT_UTTERANCE: "text"}
WaveformReader = Callable[[Utterance, int], Tensor]
"""Reads an utterance's waveform (T,) at a sample rate in Hz."""

ENCODER_BATCH = 16
CONVERSATION_BATCH = 32
# In turns: all of IEMOCAP's and MELD's conversations are read whole. The effect on longer ones: docs/timeline.md.
WINDOW = 256
OVERLAP = 128


def mask_modalities(present: Mapping[str, Tensor], modalities: Modalities) -> dict[str, Tensor]:
    """Mask out the encoders that these modalities do not read."""
    return {
        encoder: mask if modalities in ("both", MODALITY_BY_ENCODER[encoder]) else torch.zeros_like(mask)
        for encoder, mask in present.items()
    }


def find_masks(
    utterances: Sequence[Utterance], recipe: Recipe, modalities: Modalities
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Find the utterances that the contexts and the fusion read, each (S,) by encoder.

    Contexts read all, but with modality dropout only those with audio; the fusion's masks are None without modality
    dropout. Precomputed embeddings are present for all.
    """
    stages, drops = recipe.select_stages(modalities), recipe.fusion.handles_missing_modality
    known = {
        AUDIO_UTTERANCE: [utterance.audio is not None for utterance in utterances],
        TEXT_UTTERANCE: [bool(utterance.words.strip()) for utterance in utterances],
    }
    present = {one: torch.tensor(flags, dtype=torch.bool) | getattr(recipe, one).given for one, flags in known.items()}
    optional = {AUDIO_UTTERANCE} if drops and recipe.modalities == "both" else set()
    encoded = {
        encoder: present[encoder] if encoder in optional else torch.ones_like(present[encoder])
        for stage, encoder in ENCODER_BY_STAGE.items()
        if stage in stages
    }
    if FUSION not in stages or not drops:
        return encoded, None
    return encoded, mask_modalities(mask_modalities(present, recipe.fusion.input_modalities), modalities)


def drop_full_masks(masks: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    """Return masks that leave something out, else None."""
    return None if all(mask.all() for mask in masks.values()) else masks


def refuse_unreadable(utterances: Sequence[Utterance], name: str, recipe: Recipe, modalities: Modalities) -> None:
    """Refuse a conversation, by its name, that has nothing for the model to read."""
    reads_audio = AUDIO_UTTERANCE in recipe.select_stages(modalities)
    if reads_audio and not any(utterance.audio for utterance in utterances):
        raise MoodlineError(
            f"no utterance of {name} has audio: predict from words with {format_option('modalities', 'text')}",
            code="model.no_audio",
        )
    masks = find_masks(utterances, recipe, modalities)[1]
    if masks and not any(mask.any() for mask in masks.values()):
        raise MoodlineError(
            f"no utterance of {name} has words: predict from speech with {format_option('modalities', 'audio')}",
            code="model.no_words",
        )


def read_waveform(utterance: Utterance, sample_rate: int) -> Tensor:
    """Read an utterance's speech, mono, (T,) finite samples."""
    if utterance.audio is None:
        raise MoodlineError(
            f"{utterance.id} has no audio: add it to the corpus, or use a text-only model", code="model.missing_audio"
        )
    try:
        return torch.from_numpy(io.read_clip(utterance.audio, sample_rate))
    except MoodlineError as error:
        raise MoodlineError(f"the speech of {utterance.id} cannot be read: {error}", code=error.code) from error


def measure_length(stage: str, utterance: Utterance, recipe: Recipe) -> float:
    """Measure an utterance for batches of similar length: in padded seconds, or in characters."""
    if stage != AUDIO_UTTERANCE:
        return float(len(utterance.words))
    seconds = utterance.audio.duration if utterance.audio is not None else 0.0
    audio = recipe.audio_utterance
    return seconds if audio.padding == "masked" else max(seconds, audio.padded_seconds)


@torch.inference_mode()
def encode_utterances(
    stage: str,
    part: nn.Module,
    utterances: Sequence[Utterance],
    recipe: Recipe,
    tokenizer: Tokenizer | None,
    read: WaveformReader = read_waveform,
) -> Encoding:
    """Encode utterances by an utterance encoder, in their order: embeddings (N, E) and logits (N, classes)."""
    part.eval()
    audio = recipe.audio_utterance
    lengths = [measure_length(stage, utterance, recipe) for utterance in utterances]
    longest = audio.batch_seconds if stage == AUDIO_UTTERANCE else float("inf")
    batches = build_length_batches(lengths, batch_size=ENCODER_BATCH, maximum_total=longest)
    encodings: list[Encoding] = []
    for batch in batches:
        memory_trimmer.trim()
        chosen = [utterances[index] for index in batch]
        if stage == AUDIO_UTTERANCE:
            inputs = [read(utterance, audio.sample_rate) for utterance in chosen]
            if audio.padding == "released":
                inputs = list(map(ReleasedPadding(round(audio.padded_seconds * audio.sample_rate)), inputs))
        else:
            assert tokenizer is not None, "a model of words is loaded with its tokenizer"
            inputs = tokenizer([utterance.words for utterance in chosen])
        encodings.append(run_on_device(part, *pad_sequences(inputs)))
    order = torch.tensor(list(chain.from_iterable(batches))).argsort()
    return Encoding(*(torch.cat(values)[order] for values in zip(*encodings, strict=True)))


@torch.inference_mode()
def encode_conversations(part: nn.Module, *sequences: Sequence[Tensor]) -> list[Encoding]:
    """Encode conversations by a context or fusion stage, from (S_i, D) of each, for each input of the part."""
    part.eval()
    sizes = [len(sequence) for sequence in sequences[0]]
    encodings: dict[int, Encoding] = {}
    for batch in build_length_batches(sizes, batch_size=CONVERSATION_BATCH):
        padded = [pad_sequences([each[index] for index in batch])[0] for each in sequences]
        encoding = run_on_device(part, *padded, torch.tensor([sizes[index] for index in batch]))
        for row, index in enumerate(batch):
            encodings[index] = Encoding(*(values[row, : sizes[index]] for values in encoding))
    return [encodings[index] for index in range(len(sizes))]


class Window(NamedTuple):
    """Turns [start, stop) are read together; the results of [first, last) are kept."""

    start: int
    stop: int
    first: int
    last: int


def plan_windows(turns: int, size: int = WINDOW, overlap: int = OVERLAP) -> list[Window]:
    """Plan windows of ``size`` turns, or one for a shorter conversation; each turn is kept where it is most central.

    Neighbours share ``overlap`` turns, the last two more, since the last window ends with the conversation.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} turns cannot overlap by {overlap}")
    if turns <= size:
        return [Window(0, turns, 0, turns)]
    starts = [*range(0, turns - size, size - overlap), turns - size]
    # The earlier of two neighbours has the turns up to the middle between their centres.
    cuts = [(earlier + later + size + 1) // 2 for earlier, later in pairwise(starts)]
    return [
        Window(start, start + size, first, last)
        for start, first, last in zip(starts, [0, *cuts], [*cuts, turns], strict=True)
    ]


@torch.inference_mode()
def encode_in_windows(
    network: ConversationModel,
    inputs: Mapping[str, Tensor],
    size: int = WINDOW,
    overlap: int = OVERLAP,
    encoded: Mapping[str, Tensor] | None = None,
    present: Mapping[str, Tensor] | None = None,
) -> dict[str, Encoding]:
    """Encode a conversation by the context stages and the fusion, in windows: (S, D) and (S, classes) by stage.

    Attention compares all pairs of turns; a window bounds its memory, which grows with the square of their number.

    Args:
        inputs: of the contexts, (S, E) by encoder
        encoded, present: (S,) by encoder, see ``ConversationModel``
    """
    present = present and drop_full_masks(present)
    pieces: dict[str, list[Encoding]] = {}
    for window in plan_windows(len(next(iter(inputs.values()))), size, overlap):
        memory_trimmer.trim()
        read, *masks = (  # a batch of one: (S, ...) -> (1, size, ...) by encoder
            values and {encoder: one[None, window.start : window.stop] for encoder, one in values.items()}
            for values in (inputs, encoded, present)
        )
        lengths = torch.tensor([window.stop - window.start])
        kept = slice(window.first - window.start, window.last - window.start)
        for stage, encoding in run_on_device(network, read, lengths, *masks).items():
            # Copied, so that the rest of the window is freed: (1, size, ...) -> (last - first, ...)
            pieces.setdefault(stage, []).append(Encoding(*(values[0, kept].clone() for values in encoding)))
    return {stage: Encoding(*map(torch.cat, zip(*some, strict=True))) for stage, some in pieces.items()}
