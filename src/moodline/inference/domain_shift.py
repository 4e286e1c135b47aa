"""How a recording differs from a model's training data: measured on both alike, reported per measure."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from moodline.audio.vad import CHUNK_SECONDS
from moodline.config import AUDIO_UTTERANCE, Recipe
from moodline.conversation import Conversation, Utterance
from moodline.inference.encode import read_waveform
from moodline.modeling.checkpoint import (
    BANDWIDTH,
    LOUDNESS,
    MEASURES,
    PIECES_PER_WORD,
    SIGNAL_TO_NOISE,
    UNKNOWN_PIECES,
    DataStatistics,
    ModelDescription,
    TrainingStatistics,
)
from moodline.modeling.text_encoder import PieceCounts, Tokenizer, count_pieces

BANDWIDTH_FLOOR = 60.0  # dB below the strongest frequency: what is weaker than that is no part of the band
LOUD, SOFT = 90, 10  # percentiles of a turn's chunks by their power
SILENCE_POWER = 1e-10  # of full scale's power: less than the rounding to 16 bits
# Beyond this the soft chunks tell how many pauses a turn holds, not how much noise.
MAX_SIGNAL_TO_NOISE = 30.0  # dB


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechQuality:
    """Measured over turns, in chunks of CHUNK_SECONDS.

    Attributes:
        bandwidth: in Hz, the highest frequency that speech has at most BAND_FLOOR decibels less of than of its
            strongest: a telephone's 4 kHz shows at whatever rate its recording is stored
        loudness: of the loud chunks, their root mean square in dB of full scale; so pauses do not count
        signal_to_noise: the power of the loud chunks, less that of the soft ones, over that of the soft ones, in dB,
            CLEAN at most. An estimate from percentiles of the power, as NIST's ``stnr`` makes one of its histogram
    """

    bandwidth: float
    loudness: float
    signal_to_noise: float


def measure_quality(waveform: np.ndarray, sample_rate: int) -> SpeechQuality | None:
    """Of one turn (T,) at its sample rate in Hz; None where it has no sound, or is shorter than a chunk."""
    size = round(CHUNK_SECONDS * sample_rate)
    chunks = waveform[: len(waveform) // size * size].reshape(-1, size)  # (T,) -> (N, size)
    if not chunks.any():
        return None
    powers = np.square(chunks).mean(axis=1) + SILENCE_POWER
    loud, soft = (float(power) for power in np.percentile(powers, (LOUD, SOFT)))
    windowed = chunks * np.hanning(size).astype(chunks.dtype)
    spectrum = (np.abs(np.fft.rfft(windowed)) ** 2).sum(axis=0)  # (N, size) -> (size // 2 + 1,)
    band = np.flatnonzero(spectrum >= spectrum.max() * 10 ** (-BANDWIDTH_FLOOR / 10))
    return SpeechQuality(
        bandwidth=float(band[-1] * sample_rate / size),
        loudness=_convert_to_decibels(loud),
        signal_to_noise=min(_convert_to_decibels((loud - soft) / soft), MAX_SIGNAL_TO_NOISE)
        if loud > soft
        else -MAX_SIGNAL_TO_NOISE,
    )


def compute_median_quality(qualities: Sequence[SpeechQuality]) -> SpeechQuality:
    """The median of each over one turn or more: one odd turn does not decide."""
    values = {name: [getattr(one, name) for one in qualities] for name in SpeechQuality.__slots__}
    return SpeechQuality(**{name: float(np.median(found)) for name, found in values.items()})


def _convert_to_decibels(power: float) -> float:
    return 10 * math.log10(power)


MIN_PIECES = 15  # fewer tell no language: a name or two would decide

Item = TypeVar("Item")


def sample_evenly(items: Sequence[Item], most: int) -> list[Item]:
    """So many of them at most, spread over all, the first and the last included."""
    if len(items) <= most:
        return list(items)
    return [items[position] for position in np.linspace(0, len(items) - 1, most).round().astype(int)]


class StatisticsCollector:
    """Measures turns as they are heard, and keeps nothing of their sound.

    Args:
        sample_rate: of the waveforms, in Hz: at which the model reads them
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._heard: list[SpeechQuality] = []

    def hear(self, waveform: np.ndarray) -> None:
        """One turn (T,)."""
        found = measure_quality(waveform, self._sample_rate)
        if found is not None:
            self._heard.append(found)

    @property
    def statistics(self) -> DataStatistics:
        """Of all turns that were heard; nothing where none had any sound."""
        if not self._heard:
            return {}
        found = compute_median_quality(self._heard)
        return {BANDWIDTH: found.bandwidth, LOUDNESS: found.loudness, SIGNAL_TO_NOISE: found.signal_to_noise}


def compute_word_statistics(found: PieceCounts) -> DataStatistics:
    """Of turns' words; nothing where they are too few."""
    if found.pieces < MIN_PIECES:
        return {}
    return {PIECES_PER_WORD: found.pieces / found.words, UNKNOWN_PIECES: found.unknown / found.pieces}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShiftTolerance:
    """What a measure may be beyond its range in training, and what it means if it is more than that.

    Attributes:
        what: is measured, in words; ``unit`` and ``number`` write a value of it
        least, most: that is still like training, from the range's low and high end
        low, high: what a value below ``min_deviation`` and one above ``max_deviation`` mean
    """

    what: str
    unit: str
    number: Callable[[float], str]
    min_deviation: Callable[[float], float] = lambda _: -math.inf
    max_deviation: Callable[[float], float] = lambda _: math.inf
    low: str = ""
    high: str = ""


TOLERANCES = {
    BANDWIDTH: ShiftTolerance(
        what="its speech reaches up to",
        unit=" kHz",
        number=lambda hertz: f"{hertz / 1000:.1f}",
        min_deviation=lambda low: 0.75 * low,
        max_deviation=lambda high: high / 0.75,
        low="it lacks high frequencies that the model listens to, as a telephone call does",
        high="it has high frequencies that the model has never heard",
    ),
    LOUDNESS: ShiftTolerance(
        what="the loudness of its speech is",
        unit=" dB of full scale",
        number=lambda decibels: f"{decibels:.0f}",
        min_deviation=lambda low: low - 10,
        max_deviation=lambda high: high + 10,
        low="it is much softer",
        high="it is much louder",
    ),
    SIGNAL_TO_NOISE: ShiftTolerance(
        what="the ratio of its speech to noise is",
        unit=" dB",
        number=lambda decibels: f"{decibels:.0f}",
        min_deviation=lambda low: low - 8,
        low="there is noise in it, or other voices, that the model has not learned to hear through",
    ),
    PIECES_PER_WORD: ShiftTolerance(
        what="the text encoder breaks its words into",
        unit=" pieces each",
        number=lambda pieces: f"{pieces:.2f}",
        max_deviation=lambda high: high + 0.3,
        high="they seem to be of a language that the encoder does not know",
    ),
    UNKNOWN_PIECES: ShiftTolerance(
        what="the text encoder does not know, of its words' pieces,",
        unit=" %",
        number=lambda share: f"{100 * share:.0f}",
        max_deviation=lambda high: high + 0.05,
        high="they seem to be of a script or a language that the encoder does not know",
    ),
}
NORMALISATION_NOTE = "; the model evens loudness out, so that this harms only where sound was lost or clipped by it"


def find_domain_shift(found: DataStatistics, model: ModelDescription, language: str | None = None) -> tuple[str, ...]:
    """A sentence for each measure that is beyond what TOLERANCES allows; none where the model tells no ranges.

    Args:
        found: of the recording
        language: of its words, where a transcript tells it
    """
    if model.conditions is None:
        return ()
    return tuple(
        describe_shift(measure, found[measure], limits, model.recipe, language)
        for measure, limits in model.conditions.ranges.items()
        if measure in found and is_beyond(measure, found[measure], limits)
    )


def is_beyond(measure: str, value: float, limits: tuple[float, float]) -> bool:
    low, high = limits
    return not TOLERANCES[measure].min_deviation(low) <= value <= TOLERANCES[measure].max_deviation(high)


def describe_shift(
    measure: str, value: float, limits: tuple[float, float], recipe: Recipe, language: str | None
) -> str:
    tolerance = TOLERANCES[measure]
    usual = " to ".join(dict.fromkeys(map(tolerance.number, limits)))  # one number where both ends round to it
    reason = tolerance.low if value < limits[0] else tolerance.high
    if measure == LOUDNESS and recipe.audio_utterance.waveform_normalisation:
        reason += NORMALISATION_NOTE
    if measure in (PIECES_PER_WORD, UNKNOWN_PIECES) and language is not None:
        reason += f" (the transcript says: {language})"
    return (
        f"unlike what the model was trained on, so that probabilities may be off: {tolerance.what} "
        f"{tolerance.number(value)}{tolerance.unit}, in training {usual}{tolerance.unit}: {reason}"
    )


# So many turns take seconds to read, of a corpus of any size.
MAX_TURNS = 400
TURNS_PER_CONVERSATION = 10  # conversation, so that many conversations are among them
PERCENTILES = (5, 95)  # percentiles over the conversations


def compute_training_statistics(
    conversations: Sequence[Conversation], recipe: Recipe, tokenizer: Tokenizer | None
) -> TrainingStatistics:
    """Ranges over a sample of a training set, of what the recipe's own encoders read.

    Args:
        tokenizer: None where no words are read

    Raises:
        MoodlineError: a turn's audio cannot be read
    """
    sample = sample_turns(conversations)
    found: list[DataStatistics] = []
    if AUDIO_UTTERANCE in recipe.stages:
        found += [measure_speech(turns, recipe.audio_utterance.sample_rate) for turns in sample]
    if tokenizer is not None:
        pieces = (count_pieces([turn.words for turn in turns], tokenizer) for turns in sample)
        found += [compute_word_statistics(one) for one in merge_counts(pieces)]
    return TrainingStatistics(conversations=len(sample), ranges=compute_ranges(found))


def sample_turns(conversations: Sequence[Conversation]) -> list[list[Utterance]]:
    """Some turns of some conversations, the same ones each time, in whatever order these come."""
    sample: list[list[Utterance]] = []
    for conversation in sorted(conversations, key=lambda one: (one.fingerprint, one.id)):
        if sum(map(len, sample)) >= MAX_TURNS:
            break
        if conversation.utterances:
            sample.append(sample_evenly(conversation.utterances, TURNS_PER_CONVERSATION))
    return sample


def measure_speech(turns: Sequence[Utterance], sample_rate: int) -> DataStatistics:
    listener = StatisticsCollector(sample_rate)
    for turn in turns:
        if turn.audio is not None:
            listener.hear(read_waveform(turn, sample_rate).numpy())
    return listener.statistics


def merge_counts(counts: Iterable[PieceCounts]) -> Iterator[PieceCounts]:
    """Neighbours' counts together until they tell a language: a conversation may be one short turn."""
    total = PieceCounts()
    for count in counts:
        total += count
        if total.pieces >= MIN_PIECES:
            yield total
            total = PieceCounts()


def compute_ranges(found: Sequence[DataStatistics]) -> dict[str, tuple[float, float]]:
    """By measure, over the conversations in which it could be measured."""
    ranges = {}
    for measure in MEASURES:
        values = [one[measure] for one in found if measure in one]
        if values:
            low, high = np.percentile(values, PERCENTILES)
            ranges[measure] = (float(low), float(high))
    return ranges
