"""Conversations in progress: each turn is predicted from itself and the turns before it."""

import difflib
import json
import logging
import math
import sys
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import compress, count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moodline.audio import io
from moodline.audio.recording import Recording
from moodline.config import FUSION, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import UNKNOWN, AudioClip, Utterance
from moodline.device import run_on_device
from moodline.errors import MoodlineError, get_first_line, quote
from moodline.inference.encode import (
    WaveformReader,
    drop_full_masks,
    find_masks,
    read_waveform,
    refuse_unreadable,
)
from moodline.inference.predictor import Predictor
from moodline.inference.windows import CONVERSATION_BATCH
from moodline.modeling.batching import Encoding
from moodline.modeling.context import number_speakers
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel, build_speaker_means
from moodline.timeline.timeline import UtterancePrediction

logger = logging.getLogger("moodline")

# Turns that a stream's contexts read, the newest included: they take 100 ms a turn on two cores (docs/timeline.md).
MAX_HISTORY = 128


class CausalInput(NamedTuple):
    """The network's input for the last s turns, by encoder; see ``ConversationModel``."""

    values: Mapping[str, Tensor]  # (s, E), zeros if a turn lacks what the encoder reads
    encoded: Mapping[str, Tensor]  # (s,), the turns that the contexts read
    present: Mapping[str, Tensor] | None  # (s,), those that the fusion reads; None if it reads all
    speakers: Tensor  # (s,), see ``ConversationModel``


class ConversationHistory:
    """Keeps the last ``turns`` of a conversation for the contexts, and each speaker's mean over all turns."""

    def __init__(self, recipe: Recipe, turns: int = MAX_HISTORY, modalities: Modalities = "both") -> None:
        self.recipe = recipe
        self.modalities: Modalities = modalities
        stages = [stage for stage in ENCODER_BY_STAGE if stage in recipe.select_stages(modalities)]
        self.embeddings = {ENCODER_BY_STAGE[stage]: deque[Tensor](maxlen=turns) for stage in stages}
        self.utterances = deque[Utterance](maxlen=turns)
        self.configs = {ENCODER_BY_STAGE[stage]: getattr(recipe, stage) for stage in stages}
        self.means = {encoder: build_speaker_means(config) for encoder, config in self.configs.items()}

    def add(self, embeddings: Mapping[str, Tensor], utterance: Utterance) -> CausalInput:
        """Add a turn with its embeddings (E,) by encoder, and return the input for the last turns."""
        self.utterances.append(utterance)
        masks, present = find_masks(self.utterances, self.recipe, self.modalities)
        values: dict[str, Tensor] = {}
        for encoder, kept in self.embeddings.items():
            kept.append(embeddings[encoder])
            mask, means = masks[encoder], self.means[encoder]
            if means is not None and mask[-1]:
                means.add(embeddings[encoder], utterance.speaker)
            rows = torch.stack(tuple(kept)).masked_fill(~mask[:, None], 0.0)  # (s, E)
            if means is not None:
                size = self.configs[encoder].count_inputs(rows.shape[1])
                read, rows = rows[mask], rows.new_zeros(len(rows), size)
                if mask.any():
                    speakers = [one.speaker for one in compress(self.utterances, mask.tolist())]
                    rows[mask] = means.relate(read, speakers)
            values[encoder] = rows
        return CausalInput(values, masks, present, number_speakers([one.speaker for one in self.utterances]))


@torch.inference_mode()
def encode_newest(network: ConversationModel, inputs: Sequence[CausalInput]) -> dict[str, Encoding]:
    """Encode the newest turn of B histories of one length: embeddings (B, D) and logits (B, classes) by stage."""
    values = stack_by_encoder([one.values for one in inputs])  # (B, s, E) each
    lengths = torch.full((len(inputs),), next(iter(values.values())).shape[1])
    present = [one.present for one in inputs if one.present is not None]
    encoded_by = stack_by_encoder([one.encoded for one in inputs])
    present_by = drop_full_masks(stack_by_encoder(present)) if present else None
    speakers = torch.stack([one.speakers for one in inputs])  # (B, s)
    encodings = run_on_device(network, values, lengths, encoded_by, present_by, speakers)
    return {stage: Encoding(*(rows[:, -1] for rows in encoding)) for stage, encoding in encodings.items()}


def stack_by_encoder(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """B times (s, ...) by encoder -> (B, s, ...) by encoder."""
    return {encoder: torch.stack([row[encoder] for row in rows]) for encoder in rows[0]}


class EncodedConversation(NamedTuple):
    """A conversation for ``encode_causally``: its turns' embeddings (S, E) by encoder, and the turns."""

    embeddings: Mapping[str, Tensor]
    utterances: Sequence[Utterance]


def encode_causally(
    network: ConversationModel, recipe: Recipe, conversations: Sequence[EncodedConversation]
) -> list[dict[str, Encoding]]:
    """Encode every turn by each stage with context, from itself and the turns before it: (S_i, ...) by stage."""
    histories = [ConversationHistory(recipe) for _ in conversations]
    newest: list[list[dict[str, Encoding]]] = [[] for _ in conversations]
    for turn in range(max((len(one.utterances) for one in conversations), default=0)):
        remaining = [index for index, one in enumerate(conversations) if turn < len(one.utterances)]
        for begin in range(0, len(remaining), CONVERSATION_BATCH):
            # One turn of several conversations, all of one length, without padding.
            batch, inputs = remaining[begin : begin + CONVERSATION_BATCH], []
            for index in batch:
                embeddings, utterances = conversations[index]
                row = {encoder: values[turn] for encoder, values in embeddings.items()}
                inputs.append(histories[index].add(row, utterances[turn]))
            encodings = encode_newest(network, inputs)
            for row, index in enumerate(batch):
                newest[index].append(
                    {stage: Encoding(*(values[row] for values in one)) for stage, one in encodings.items()}
                )
    return [
        {stage: Encoding(*map(torch.stack, zip(*(one[stage] for one in turns), strict=True))) for stage in turns[0]}
        if turns
        else {}
        for turns in newest
    ]


TEXT_KEYS = ("id", "speaker", "words", "audio")
KEYS = (*TEXT_KEYS, "start", "end")
EXAMPLE = '{"words": "Hello."}'


def parse_turn(line: bytes, number: int, recipe: Recipe, modalities: Modalities = "both") -> Utterance:
    """Parse a turn from a line of JSON; ``number`` is its id if it has none.

    ``audio`` is a file with the turn's speech and no other's; ``start`` and ``end`` are its times in seconds.
    """
    content = parse_line(line)
    stages = recipe.select_stages(modalities)
    is_optional = FUSION in stages and recipe.fusion.handles_missing_modality
    if TEXT_UTTERANCE in stages and not is_optional and "words" not in content:
        keys = ", ".join(content) or "nothing"
        raise MoodlineError(f"the turn has {keys}, and this model reads words: add words", code="stream.missing_words")
    if "audio" in content:
        content["audio"] = io.inspect_file(Path(content["audio"]))
    return Utterance(**{"id": str(number), "speaker": UNKNOWN, "words": "", **content})


def parse_line(line: bytes) -> dict[str, Any]:
    """Parse a line's keys and values without null."""
    try:
        content = json.loads(line.decode())
        if not isinstance(content, dict):
            raise ValueError(f"it is {format_value(content)}")
    except (ValueError, RecursionError) as error:
        raise MoodlineError(
            f"the line is not a JSON object in UTF-8 ({get_first_line(error)}): write a turn such as {EXAMPLE}",
            code="stream.not_an_object",
        ) from error
    content = {key: value for key, value in content.items() if value is not None}
    if "words" not in content and "text" in content:  # the key of many recognisers
        content["words"] = content.pop("text")
    for key, value in content.items():
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"use {', '.join(KEYS)}"
            raise MoodlineError(f"unknown key {quote(key)} in a turn; {hint}", code="stream.unknown_key")
        # JSON may hold halves of surrogate pairs, which no file can, and integers that exceed all floats.
        is_text = isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        if not (is_text if key in TEXT_KEYS else is_number):
            kind = "a text" if key in TEXT_KEYS else "a finite number of seconds"
            raise MoodlineError(f"a turn's {key} must be {kind}, not {format_value(value)}", code="stream.bad_value")
    start, end = content.get("start", -math.inf), content.get("end", math.inf)
    if end < start:
        raise MoodlineError(f"a turn ends at {end} s, before it starts at {start} s", code="stream.bad_times")
    return content


def format_value(value: Any) -> str:
    """Format a value in a sentence, no longer than a line."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]} ..."


def warn_of_former_name(former: str, present: str) -> None:
    """Warn the caller of a method by its former name."""
    warnings.warn(f"Stream.{former} is deprecated; use Stream.{present}", DeprecationWarning, stacklevel=3)


class Stream:
    """Predicts one conversation turn by turn.

    Each prediction is that of ``Model.predict`` for the last turn of the conversation so far, of which the last
    MAX_HISTORY turns are read. The encoders read each turn once.

    Args:
        modalities: both, or only audio or text
        threshold: from 0 to 1; turns with a lower probability are uncertain
    """

    def __init__(self, predictor: Predictor, modalities: Modalities = "both", threshold: float | None = None) -> None:
        self.predictor, self.threshold = predictor, predictor.choose_threshold(threshold)
        self.history = ConversationHistory(predictor.model.recipe, modalities=modalities)
        self.numbers = count()
        self.told_of_unknown = False  # speakers, once in a conversation

    def predict(self, utterance: Utterance) -> UtterancePrediction:
        """Predict the next turn; one that raises an error does not become part of the conversation."""
        return self._predict(utterance, read_waveform)

    def hear(self, utterance: Utterance) -> UtterancePrediction:
        """Call ``predict``; deprecated."""
        warn_of_former_name("hear", "predict")
        return self.predict(utterance)

    def predict_samples(
        self, samples: NDArray[np.number], sample_rate: int, words: str, speaker: str = UNKNOWN
    ) -> UtterancePrediction:
        """Predict the next turn from its speech, mono, (T,), floats within [-1, 1] or integers, and its words."""
        samples = np.asarray(samples)
        faults = np.count_nonzero(~np.isfinite(samples)) if samples.dtype.kind in "fiu" else samples.size
        if samples.ndim != 1 or not len(samples) or faults:
            raise MoodlineError(
                f"a turn's samples must be finite numbers (T,): {faults} of {samples.shape} are not finite; give the "
                "mean of the channels",
                code="stream.bad_samples",
            )
        recording = Recording.from_samples(samples, sample_rate)

        def read(utterance: Utterance, rate: int) -> Tensor:
            return torch.from_numpy(recording.clip(0.0, recording.duration, rate))

        clip = AudioClip(path=Path(), offset=0.0, duration=recording.duration, sample_rate=recording.sample_rate)
        return self._predict(Utterance(id=str(next(self.numbers)), speaker=speaker, words=words, audio=clip), read)

    def hear_samples(self, *arguments: Any, **named: Any) -> UtterancePrediction:
        """Call ``predict_samples``; deprecated."""
        warn_of_former_name("hear_samples", "predict_samples")
        return self.predict_samples(*arguments, **named)

    def _predict(self, utterance: Utterance, read: WaveformReader) -> UtterancePrediction:
        if not isinstance(utterance, Utterance):
            raise MoodlineError(
                f"a stream predicts an Utterance, not {quote(utterance)}; make one, such as "
                'Utterance(id="1", speaker="ann", words="Hello.")',
                code="stream.not_an_utterance",
            )
        model, modalities = self.predictor.model, self.history.modalities
        refuse_unreadable([*self.history.utterances, utterance], "the conversation so far", model.recipe, modalities)
        encoded = self.predictor.encode_utterances([utterance], modalities, read, self.history.utterances)
        if utterance.speaker == UNKNOWN and not self.told_of_unknown and model.recipe.reads_each_speaker(modalities):
            self.told_of_unknown = True
            logger.warning(
                "turn %s has no known speaker: the part of the model that reads each speaker's turns alone leaves such "
                "turns out; name the speakers",
                utterance.id,
            )
        inputs = self.history.add({name: rows[0] for name, rows in encoded.embeddings.items()}, utterance)
        encodings = {**encoded.encodings, **encode_newest(model.network, [inputs])}
        stages = model.recipe.select_stages(modalities)
        (prediction,) = self.predictor.build_predictions(
            [utterance], {stage: encodings[stage] for stage in stages}, self.threshold
        )
        return prediction
