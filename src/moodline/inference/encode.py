"""Encode utterances by trained parts, in batches of similar length; find what is there to read."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from moodline.audio import io
from moodline.config import AUDIO_UTTERANCE, FUSION, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import Conversation, Utterance
from moodline.device import get_precision, run_on_device
from moodline.errors import MoodlineError, format_option
from moodline.inference.feature_store import FeatureFolder, FeatureStore, is_cacheable
from moodline.io import build_read_error, hash_file, hash_json
from moodline.modeling.as_released import ReleasedPadding
from moodline.modeling.batching import Encoding, Features, build_length_batches, pad_sequences
from moodline.modeling.model import ENCODER_BY_STAGE
from moodline.modeling.text_encoder import Tokenizer
from moodline.runtime import memory_trimmer

MODALITY_BY_ENCODER: Mapping[str, Modalities] = {AUDIO_UTTERANCE: "audio", TEXT_UTTERANCE: "text"}
WaveformReader = Callable[[Utterance, int], Tensor]
"""Reads an utterance's waveform (T,) at a sample rate in Hz."""

ENCODER_BATCH = 16
FEATURE_BATCH = 256
FEATURES_PER_FILE = 256
# Of batches by seconds. Pretrained encoders of speech make 50 frames a second, and a token costs what a frame does.
TOKENS_PER_SECOND = 50
BATCHES_TOGETHER = 8  # batches by seconds, from which those of similar length are chosen


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


class Turn(NamedTuple):
    """Hold an utterance, and the words of the turns before it that its encoder of words reads too."""

    utterance: Utterance
    previous: tuple[str, ...] = ()


def list_turns(utterances: Iterable[Utterance], recipe: Recipe, before: Iterable[Utterance] = ()) -> list[Turn]:
    """List a conversation's utterances with the words that each one is read after.

    Args:
        before: the turns before the first one
    """
    words = deque((one.words for one in before), maxlen=recipe.text_utterance.context_words)
    turns: list[Turn] = []
    for utterance in utterances:
        turns.append(Turn(utterance, tuple(words)))
        words.append(utterance.words)
    return turns


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


def measure_length(stage: str, utterance: Utterance, recipe: Recipe, previous: Sequence[str] = ()) -> float:
    """Measure an utterance for batches of similar length: in padded seconds, or in characters."""
    if stage != AUDIO_UTTERANCE:
        return float(len(utterance.words) + sum(map(len, previous)))
    seconds = utterance.audio.duration if utterance.audio is not None else 0.0
    audio = recipe.audio_utterance
    return max(seconds, audio.padded_seconds) if audio.pads_as_released else seconds


def tokenize_turns(turns: Sequence[Turn], recipe: Recipe, tokenizer: Tokenizer) -> list[list[Tensor]]:
    """Convert turns to token ids (T_i,) and, if the encoder reads context, to masks (T_i,) of their own tokens."""
    words = [turn.utterance.words for turn in turns]
    if not recipe.text_utterance.context_words:
        return [tokenizer(words)]
    found = tokenizer.encode_in_context(words, [turn.previous for turn in turns])
    return [[one.tokens for one in found], [one.own for one in found]]


def group_conversations(
    conversations: Iterable[Conversation], batch_seconds: float | None
) -> Iterator[list[Conversation]]:
    """Group conversations whose utterances share batches: neighbours that fill some batches by seconds, else each."""
    group, seconds = list[Conversation](), 0.0
    for conversation in conversations:
        group.append(conversation)
        for one in conversation.utterances:  # a token has at least about one character
            seconds += max(len(one.words) / TOKENS_PER_SECOND, one.audio.duration if one.audio else 0.0)
        if batch_seconds is None or seconds >= BATCHES_TOGETHER * batch_seconds:
            yield group
            group, seconds = [], 0.0
    if group:
        yield group


def run_batch(
    part: nn.Module, inputs: Sequence[Sequence[Tensor]], function: Callable[..., Any] | None = None
) -> list[Any]:
    """Run a part on a batch, in two halves if the device's memory is too small for the whole.

    Args:
        inputs: (T_i, ...) for each of the part's arguments; the lengths are added
        function: a method of the part to call instead of the part itself
    """

    def run(rows: slice) -> Any:
        sequences, *masks = (pad_sequences(one[rows]) for one in inputs)
        return run_on_device(part, *sequences, *(mask for mask, _ in masks), function=function)

    rows = len(inputs[0])
    middle = (rows + 1) // 2
    try:
        return [run(slice(None))]
    except MoodlineError as error:
        if error.code != "device.out_of_memory" or middle == rows:
            raise
    return [run(slice(middle)), run(slice(middle, None))]  # here, where the failed attempt's tensors are freed


class UtteranceEncoder(NamedTuple):
    """Runs a part that encodes utterances on what it reads of them, in batches of similar length.

    Attributes:
        stage: the audio encoder's name, or the text encoder's
        part: that encoder
        tokenizer: of an encoder that reads words
        read: reads an utterance's waveform (T,) at a sample rate
        batch_seconds: see ``plan_batches``
    """

    stage: str
    part: Any
    recipe: Recipe
    tokenizer: Tokenizer | None = None
    read: WaveformReader = read_waveform
    batch_seconds: float | None = None

    def plan_batches(self, turns: Sequence[Turn]) -> list[list[int]]:
        """Plan batches of similar length, as indices of turns.

        A batch has at most ``ENCODER_BATCH`` turns and the recipe's padded seconds of speech. With ``batch_seconds`` it
        has any number of turns, and at most that many padded seconds, or ``TOKENS_PER_SECOND`` times as many tokens.
        """
        lengths = [measure_length(self.stage, turn.utterance, self.recipe, turn.previous) for turn in turns]
        seconds = self.batch_seconds
        if seconds is None:
            longest = self.recipe.audio_utterance.batch_seconds if self.stage == AUDIO_UTTERANCE else float("inf")
            return build_length_batches(lengths, batch_size=ENCODER_BATCH, maximum_total=longest)
        if self.stage != AUDIO_UTTERANCE:
            lengths = [len(ids) for ids in self.tokenize(turns)[0]]
            seconds *= TOKENS_PER_SECOND
        return build_length_batches(lengths, batch_size=len(lengths), maximum_total=seconds)

    def tokenize(self, turns: Sequence[Turn]) -> list[list[Tensor]]:
        assert self.tokenizer is not None, "a model of words is loaded with its tokenizer"
        return tokenize_turns(turns, self.recipe, self.tokenizer)

    def iter_batches(self, turns: Sequence[Turn]) -> Iterator[tuple[list[int], list[list[Tensor]]]]:
        """Yield batches: indices of turns, and a list of (T_i, ...) for each of the part's arguments."""
        audio = self.recipe.audio_utterance
        rate = getattr(self.part, "sample_rate", audio.sample_rate)  # a pretrained encoder has its own
        for batch in self.plan_batches(turns):
            memory_trimmer.trim()
            chosen = [turns[index] for index in batch]
            if self.stage != AUDIO_UTTERANCE:
                yield batch, self.tokenize(chosen)
                continue
            inputs = [self.read(turn.utterance, rate) for turn in chosen]
            if audio.pads_as_released:
                inputs = list(map(ReleasedPadding(round(audio.padded_seconds * rate)), inputs))
            yield batch, [inputs]

    @torch.inference_mode()
    def encode(self, turns: Sequence[Turn], features: FeatureFolder | None = None) -> Encoding:
        """Encode turns of ``list_turns`` in their order: (N, E) and logits (N, classes).

        Args:
            features: what frozen encoders computed before
        """
        self.part.eval()
        if features is not None and is_cacheable(self.part):
            encoding = self._encode_features(turns, features.open(self.part, self.tokenizer))
        else:
            order: list[int] = []
            encodings: list[Encoding] = []
            for batch, inputs in self.iter_batches(turns):
                order += batch
                encodings += run_batch(self.part, inputs)
            places = torch.tensor(order).argsort()
            encoding = Encoding(*(torch.cat(values)[places] for values in zip(*encodings, strict=True)))
        if get_precision(self.part) == "fp16" and not all(values.isfinite().all() for values in encoding):
            raise MoodlineError(
                f"{self.stage} computes numbers beyond the range of fp16: choose --precision bf16 or 32",
                code="device.overflow",
            )
        return encoding

    def _encode_features(self, turns: Sequence[Turn], store: FeatureStore) -> Encoding:
        """Encode turns from features in a store, a batch of them in memory at a time, and compute those it lacks."""
        names = name_features(self.stage, turns)
        missing = store.select_missing(names)
        found: dict[str, Tensor] = {}
        for batch, values in self.extract_features([turns[row] for row in missing]):
            found.update(zip([names[missing[row]] for row in batch], values, strict=True))
        values = (found[name] if name in found else store[name] for name in names)
        encodings: list[Encoding] = []
        while batch := list(islice(values, FEATURE_BATCH)):
            encodings.append(run_on_device(self.part, *pad_sequences(batch), function=self.part.head))
        return Encoding(*map(torch.cat, zip(*encodings, strict=True)))

    def extract_features(self, turns: Sequence[Turn]) -> Iterator[tuple[list[int], list[Tensor]]]:
        """Yield batches of turns, as their indices, and what the part's frozen encoder computes of each: (R_i, W)."""
        for batch, inputs in self.iter_batches(turns):
            found: list[Features] = run_batch(self.part, inputs, self.part.extract)  # (B, R, W), (B,)
            rows = (row for one in found for row in zip(one.values, one.lengths.tolist(), strict=True))
            yield batch, [values[:size].clone() for values, size in rows]

    @torch.inference_mode()
    def store_features(
        self,
        turns: Sequence[Turn],
        store: FeatureStore,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Compute and write the features of turns that a store lacks; a killed process resumes after the last file.

        Args:
            progress: receives the number of computed turns and their total
        """
        self.part.eval()
        names = name_features(self.stage, turns)
        missing = store.select_missing(names)
        found: dict[str, Tensor] = {}
        done = 0
        for batch, values in self.extract_features([turns[row] for row in missing]):
            found.update(zip([names[missing[row]] for row in batch], values, strict=True))
            done += len(batch)
            progress(done, len(missing))
            if len(found) >= FEATURES_PER_FILE or done == len(missing):
                store.add(found)
                found = {}


def name_features(stage: str, turns: Sequence[Turn]) -> list[str]:
    """Name turns' features by what an encoder reads: the content of the audio file and the clip, or the words."""
    names: list[str] = []
    for utterance, previous in turns:
        clip = utterance.audio
        if stage == AUDIO_UTTERANCE and clip is not None:
            names.append(hash_json([hash_audio(clip.path), clip.offset, clip.duration]))
        else:
            names.append(hash_json([utterance.words, *previous]))
    return names


def hash_audio(path: Path) -> str:
    """Hash an audio file's bytes, once in this process until it changes."""
    try:
        status = path.stat()
    except OSError as error:
        raise build_read_error(path, error) from error
    return hash_version(path, status.st_size, find_last_change(status))


def find_last_change(status: os.stat_result) -> int:
    """Return the time of a file's last change in ns; a copy may keep the first of both times."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


@cache
def hash_version(path: Path, size: int, modified: int) -> str:
    return hash_file(path)
