"""A conversation as it goes on: each turn is labelled from itself and the turns before it."""

import difflib
import json
import math
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count
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
from moodline.errors import MoodlineError, get_first_line
from moodline.inference.encode import (
    CONVERSATION_BATCH,
    WaveformReader,
    drop_full_masks,
    find_encoded,
    find_fused,
    read_waveform,
    refuse_unreadable,
    scatter_rows,
    select_utterances,
)
from moodline.inference.predictor import Predictor
from moodline.modeling.batching import Encoding
from moodline.modeling.context import SpeakerMeans
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel
from moodline.timeline.timeline import UtterancePrediction

# Turns that a stream's contexts read, the newest included: what a turn's 100 ms allow on two cores (docs/timeline.md).
MAX_HISTORY = 128


class CausalInput(NamedTuple):
    """What is read of the last s turns, each by encoder; see ``ConversationModel``.

    Attributes:
        values: (s, E), zeros where a turn lacks what the encoder reads
        encoded: (s,), which turns the contexts read
        present: (s,), which the fusion reads; None of a fusion that was never without any
    """

    values: Mapping[str, Tensor]
    encoded: Mapping[str, Tensor]
    present: Mapping[str, Tensor] | None


class ConversationHistory:
    """What the contexts read of a conversation so far: its last turns, and each speaker's mean over all turns.

    Args:
        turns: how many are kept, the newest included
        modalities: whose encoders and contexts read them
    """

    def __init__(self, recipe: Recipe, turns: int = MAX_HISTORY, modalities: Modalities = "both") -> None:
        self.recipe = recipe
        self.modalities: Modalities = modalities
        stages = [stage for stage in ENCODER_BY_STAGE if stage in recipe.select_stages(modalities)]
        self.embeddings = {ENCODER_BY_STAGE[stage]: deque[Tensor](maxlen=turns) for stage in stages}
        self.utterances = deque[Utterance](maxlen=turns)
        self.means = {
            ENCODER_BY_STAGE[stage]: SpeakerMeans()
            for stage in stages
            if recipe.get_context_config(stage).speaker_relative
        }

    def add(self, embeddings: Mapping[str, Tensor], utterance: Utterance) -> CausalInput:
        """One more turn, its embeddings (E,) by encoder -> what is read of the last turns."""
        self.utterances.append(utterance)
        for encoder, kept in self.embeddings.items():
            kept.append(embeddings[encoder])
        masks = find_encoded(self.utterances, self.recipe)
        for encoder, means in self.means.items():
            if masks[encoder][-1]:
                means.add(embeddings[encoder], utterance.speaker)
        fuses = FUSION in self.recipe.select_stages(self.modalities)
        return CausalInput(
            values={encoder: self._build_values(encoder, masks[encoder]) for encoder in self.embeddings},
            encoded={encoder: masks[encoder] for encoder in self.embeddings},
            present=find_fused(self.utterances, self.recipe, self.modalities) if fuses else None,
        )

    def _build_values(self, encoder: str, mask: Tensor) -> Tensor:
        values = torch.stack(tuple(self.embeddings[encoder]))[mask]
        if encoder in self.means and len(values):
            speakers = [utterance.speaker for utterance in select_utterances(self.utterances, mask)]
            values = self.means[encoder].subtract_from(values, speakers)
        return scatter_rows(values, mask, 0.0)


@torch.inference_mode()
def encode_newest(network: ConversationModel, reads: Sequence[CausalInput]) -> dict[str, Encoding]:
    """The newest turn of each of B histories of one length, by stage: embeddings (B, D) and logits (B, classes).

    Args:
        reads: what ``ConversationHistory.add`` gave, B times
    """
    values = stack_by_encoder([read.values for read in reads])  # (B, s, E) each
    lengths = torch.tensor([len(next(iter(read.values.values()))) for read in reads])
    present = [read.present for read in reads if read.present is not None]
    encoded_by = drop_full_masks(stack_by_encoder([read.encoded for read in reads]))
    present_by = drop_full_masks(stack_by_encoder(present) if present else None)
    return {
        stage: Encoding(encoding.embeddings[:, -1], encoding.logits[:, -1])
        for stage, encoding in run_on_device(network, values, lengths, encoded_by, present_by).items()
    }


class EncodedConversation(NamedTuple):
    """A conversation for ``encode_causally``: its turns' embeddings (S, E) by encoder, and the turns."""

    embeddings: Mapping[str, Tensor]
    utterances: Sequence[Utterance]


def encode_causally(
    network: ConversationModel, recipe: Recipe, talks: Sequence[EncodedConversation]
) -> list[dict[str, Encoding]]:
    """Every turn of conversations by each later stage, from itself and what came before: (S_i, ...) by stage.

    The conversations go on side by side: what shares a batch is of one length, and nothing is padding.
    """
    histories = [ConversationHistory(recipe) for _ in talks]
    newest: list[list[dict[str, Encoding]]] = [[] for _ in talks]
    for turn in range(max((len(talk.utterances) for talk in talks), default=0)):
        going = [index for index, talk in enumerate(talks) if turn < len(talk.utterances)]
        for begin in range(0, len(going), CONVERSATION_BATCH):
            batch = going[begin : begin + CONVERSATION_BATCH]
            reads = [
                histories[index].add(select_turn(talks[index], turn), talks[index].utterances[turn]) for index in batch
            ]
            encodings = encode_newest(network, reads)
            for row, index in enumerate(batch):
                newest[index].append({stage: select_row(encoding, row) for stage, encoding in encodings.items()})
    return [
        {stage: stack_encodings([one[stage] for one in rows]) for stage in rows[0]} if rows else {} for rows in newest
    ]


def select_turn(talk: EncodedConversation, turn: int) -> dict[str, Tensor]:
    return {encoder: values[turn] for encoder, values in talk.embeddings.items()}


def stack_by_encoder(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """B times (s, ...) by encoder -> (B, s, ...) by encoder."""
    return {encoder: torch.stack([row[encoder] for row in rows]) for encoder in rows[0]}


def select_row(encoding: Encoding, row: int) -> Encoding:
    return Encoding(encoding.embeddings[row], encoding.logits[row])


def stack_encodings(rows: Sequence[Encoding]) -> Encoding:
    """S times (D,) and (classes,) -> (S, D) and (S, classes)."""
    return Encoding(torch.stack([one.embeddings for one in rows]), torch.stack([one.logits for one in rows]))


TEXT_KEYS = ("id", "speaker", "words", "audio")
TIME_KEYS = ("start", "end")
EXAMPLE = '{"words": "Hello."}'


def parse_turn(line: bytes, number: int, recipe: Recipe, modalities: Modalities = "both") -> Utterance:
    """The turn that a line holds; ``number`` is its id where it has none.

    ``audio`` is a file with the turn's speech and no other's; ``start`` and ``end`` tell when it is spoken, in seconds.

    Raises:
        MoodlineError: it is no JSON object, a value is not what it should be, or words are read, as the model was never
            without any, and it has none
    """
    content = parse_object(line)
    stages = recipe.select_stages(modalities)
    knows_absence = FUSION in stages and recipe.fusion.handles_missing_modality
    if TEXT_UTTERANCE in stages and not knows_absence and "words" not in content:
        raise MoodlineError(f"this model reads words, and the turn has {', '.join(content) or 'nothing'}: add words")
    audio = content.get("audio")
    return Utterance(
        id=content.get("id", str(number)),
        speaker=content.get("speaker", UNKNOWN),
        words=content.get("words", ""),
        audio=None if audio is None else io.inspect_file(Path(audio)),
        start=content.get("start"),
        end=content.get("end"),
    )


def parse_object(line: bytes) -> dict[str, Any]:
    """A line's keys and values, those that are null left out; errors as of ``parse_turn``."""
    try:
        content = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise MoodlineError(f"a turn is a JSON object in UTF-8, and this is none ({get_first_line(error)})") from error
    if not isinstance(content, dict):
        raise MoodlineError(f"a turn is a JSON object, such as {EXAMPLE}, and this is {format_value(content)}")
    content = {key: value for key, value in content.items() if value is not None}
    if "words" not in content and "text" in content:  # as recognisers call them
        content["words"] = content.pop("text")
    for key, value in content.items():
        refuse_unfit_value(key, value)
    start, end = content.get("start", -math.inf), content.get("end", math.inf)
    if end < start:
        raise MoodlineError(
            f"a turn ends after it starts, and this starts at {start} s and ends at {end} s: correct it"
        )
    return content


def refuse_unfit_value(key: str, value: Any) -> None:
    """Refuse a key that a turn does not have, or a value that is not of its kind."""
    if key not in (*TEXT_KEYS, *TIME_KEYS):
        close = difflib.get_close_matches(key, (*TEXT_KEYS, *TIME_KEYS), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join((*TEXT_KEYS, *TIME_KEYS))}"
        raise MoodlineError(f"a turn has no key {key!r}; {hint}")
    if key in TEXT_KEYS and not is_text(value):
        raise MoodlineError(f"a turn's {key} is a text, and this is {format_value(value)}: correct it")
    if key in TIME_KEYS and not is_time(value):
        raise MoodlineError(
            f"a turn's {key} is a finite number of seconds, and this is {format_value(value)}: correct it"
        )


def is_text(value: Any) -> bool:
    """Whether it is a text of whole characters: JSON may hold halves of pairs, which no file does."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def is_time(value: Any) -> bool:
    # JSON's whole numbers may be beyond all floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def format_value(value: Any) -> str:
    """A value in a sentence, no longer than a line."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]} ..."


class Stream:
    """One conversation's predictions, turn by turn.

    Each is what ``Predictor.predict`` says of the last turn of the conversation so far, up to
    ``moodline.inference.streaming.MAX_HISTORY`` turns; later, the last so many are read. The encoders read each turn
    once.

    Args:
        modalities: what is read, as for ``Predictor.predict``
        threshold: the probability below which a turn is uncertain

    Raises:
        MoodlineError: the threshold is no probability, or a class has the name of what it answers
    """

    def __init__(self, predictor: Predictor, modalities: Modalities = "both", threshold: float | None = None) -> None:
        predictor.refuse_threshold(threshold)
        self.predictor, self.threshold = predictor, threshold
        self.history = ConversationHistory(predictor.model.recipe, modalities=modalities)
        self.numbers = count()

    def hear(self, utterance: Utterance) -> UtterancePrediction:
        """Label the next turn.

        Raises:
            MoodlineError: it lacks audio or embeddings that the model needs, or they cannot be read; it is then no part
                of the conversation
        """
        return self._label(utterance, read_waveform)

    def hear_samples(
        self, samples: NDArray[np.number], sample_rate: int, words: str, speaker: str = UNKNOWN
    ) -> UtterancePrediction:
        """Label the next turn from its speech, mono, (T,), and its words; its id is its number.

        Args:
            samples: floats within [-1, 1] or integers of full scale

        Raises:
            MoodlineError: the samples are no finite numbers in one row, or the rate is none
        """
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise MoodlineError(
                f"a turn's samples are finite numbers in one row, one at least: these have the shape {samples.shape} "
                f"and {np.count_nonzero(~np.isfinite(samples))} that are not finite; give the mean of the channels"
            )

        recording = Recording.from_samples(samples, sample_rate)

        def sound(utterance: Utterance, rate: int) -> Tensor:
            return torch.from_numpy(recording.clip(0.0, recording.duration, rate))

        clip = AudioClip(path=Path(), offset=0.0, duration=recording.duration, sample_rate=recording.sample_rate)
        return self._label(Utterance(id=str(next(self.numbers)), speaker=speaker, words=words, audio=clip), sound)

    def _label(self, utterance: Utterance, sound: WaveformReader) -> UtterancePrediction:
        recipe, modalities = self.predictor.model.recipe, self.history.modalities
        refuse_unreadable([*self.history.utterances, utterance], "this conversation so far", recipe, modalities)
        alone = self.predictor.encode_utterances([utterance], sound, modalities, find_encoded([utterance], recipe))
        read = self.history.add({name: values[0] for name, values in alone.embeddings.items()}, utterance)
        encodings = {**alone.encodings, **encode_newest(self.predictor.model.network, [read])}
        kept = {stage: encodings[stage] for stage in recipe.select_stages(modalities)}
        (prediction,) = self.predictor.build_predictions([utterance], kept, self.threshold)
        return prediction
