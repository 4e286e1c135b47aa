"""Differences between a recording and a model's training data, measured in the same way on both."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from moodline.audio.vad import CHUNK_SECONDS
from moodline.config import AUDIO_UTTERANCE, Recipe
from moodline.conversation import Conversation, Utterance
from moodline.inference.encode import read_waveform
from moodline.modeling.description import (
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

BANDWIDTH_FLOOR = 60.0  # dB below the strongest frequency: weaker frequencies are outside the band
LOUD, SOFT = 90, 10  # percentiles of a turn's chunks by power
SILENCE_POWER = 1e-10  # of full scale's power: less than the rounding to 16 bits
MAX_SIGNAL_TO_NOISE = 30.0  # dB; beyond it the soft chunks measure the pauses of a turn, not its noise
MIN_PIECES = 15  # with fewer, a name or two would decide the language
MAX_TURNS = 400  # of a training set, which takes some seconds to read
TURNS_PER_CONVERSATION = 10
PERCENTILES = (5, 95)  # over the conversations
Item = TypeVar("Item")


def measure_quality(waveform: np.ndarray, sample_rate: int) -> DataStatistics:
    """Measure a turn (T,) in chunks of CHUNK_SECONDS; empty if it is silent or shorter than a chunk.

    Returns:
        BANDWIDTH: in Hz, the highest frequency that is at most BANDWIDTH_FLOOR below the strongest: a telephone's 4 kHz
            at whatever rate its recording is stored
        LOUDNESS: root mean square of the loud chunks, in dB of full scale; pauses do not count
        SIGNAL_TO_NOISE: power of the loud chunks without that of the soft ones, over that of the soft ones, in dB, at
            most MAX_SIGNAL_TO_NOISE; an estimate from percentiles of the power, like NIST's ``stnr``
    """
    size = round(CHUNK_SECONDS * sample_rate)
    chunks = waveform[: len(waveform) // size * size].reshape(-1, size)  # (T,) -> (N, size)
    if not chunks.any():
        return {}
    powers = np.square(chunks).mean(axis=1) + SILENCE_POWER
    loud, soft = (float(power) for power in np.percentile(powers, (LOUD, SOFT)))
    windowed = chunks * np.hanning(size).astype(chunks.dtype)
    spectrum = (np.abs(np.fft.rfft(windowed)) ** 2).sum(axis=0)  # (N, size) -> (size // 2 + 1,)
    band = np.flatnonzero(spectrum >= spectrum.max() * 10 ** (-BANDWIDTH_FLOOR / 10))
    ratio = 10 * math.log10((loud - soft) / soft) if loud > soft else -MAX_SIGNAL_TO_NOISE
    return {
        BANDWIDTH: float(band[-1] * sample_rate / size),
        LOUDNESS: 10 * math.log10(loud),
        SIGNAL_TO_NOISE: min(ratio, MAX_SIGNAL_TO_NOISE),
    }


def compute_statistics(qualities: Iterable[DataStatistics] = (), counts: PieceCounts | None = None) -> DataStatistics:
    """Compute the statistics of turns' speech and words; empty without speech and with too few words.

    Of speech, they are the median of each measure over turns, so that one odd turn does not decide.
    """
    measured = [quality for quality in qualities if quality]
    found = {name: float(np.median([one[name] for one in measured])) for name in (measured[0] if measured else ())}
    if counts is not None and counts.pieces >= MIN_PIECES:
        found |= {PIECES_PER_WORD: counts.pieces / counts.words, UNKNOWN_PIECES: counts.unknown / counts.pieces}
    return found


def sample_evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Choose at most so many items, spread over all, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[position] for position in np.linspace(0, len(items) - 1, most).round().astype(int)]


class ShiftTolerance(NamedTuple):
    """How far a measure may be outside its range in training, and the meaning of more."""

    finding: str  # the beginning of a sentence, which the number and the unit continue
    unit: str
    number: Callable[[float], str]
    low: str = ""  # the meaning of a value below ``least``
    high: str = ""
    least: Callable[[float], float] = lambda _: -math.inf  # from the range's lower end
    most: Callable[[float], float] = lambda _: math.inf  # from its upper end


TOLERANCES = {
    BANDWIDTH: ShiftTolerance(
        "its speech reaches up to",
        " kHz",
        lambda hertz: f"{hertz / 1000:.1f}",
        low="it lacks high frequencies that the model uses, as a telephone call does",
        high="it has high frequencies that the training data lacks",
        least=lambda low: 0.75 * low,
        most=lambda high: high / 0.75,
    ),
    LOUDNESS: ShiftTolerance(
        "the loudness of its speech is",
        " dB of full scale",
        lambda decibels: f"{decibels:.0f}",
        low="it is much softer",
        high="it is much louder",
        least=lambda low: low - 10,
        most=lambda high: high + 10,
    ),
    SIGNAL_TO_NOISE: ShiftTolerance(
        "the ratio of its speech to noise is",
        " dB",
        lambda decibels: f"{decibels:.0f}",
        low="it has noise, or other voices, that the training data lacks",
        least=lambda low: low - 8,
    ),
    PIECES_PER_WORD: ShiftTolerance(
        "the text encoder splits each word on average into",
        " pieces",
        lambda pieces: f"{pieces:.2f}",
        high="the words seem to be in a language that the encoder does not know",
        most=lambda high: high + 0.3,
    ),
    UNKNOWN_PIECES: ShiftTolerance(
        "the share of word pieces that are unknown to the text encoder is",
        " %",
        lambda share: f"{100 * share:.0f}",
        high="the words seem to be in a script or a language that the encoder does not know",
        most=lambda high: high + 0.05,
    ),
}
NORMALISATION_NOTE = "; the model evens loudness out, so that this matters only if sound was lost or clipped"


def is_beyond(measure: str, value: float, limits: tuple[float, float]) -> bool:
    return not TOLERANCES[measure].least(limits[0]) <= value <= TOLERANCES[measure].most(limits[1])


def find_domain_shift(
    statistics: DataStatistics, model: ModelDescription, language: str | None = None
) -> tuple[str, ...]:
    """Write a sentence for each of a recording's statistics outside its tolerance; none if the model has no ranges."""
    sentences: list[str] = []
    for measure, limits in model.conditions.ranges.items() if model.conditions is not None else ():
        value = statistics.get(measure)
        if value is None or not is_beyond(measure, value, limits):
            continue
        finding, unit, number, low, high, *_ = TOLERANCES[measure]
        usual = " to ".join(dict.fromkeys(map(number, limits)))  # one number if both ends round to it
        reason = low if value < limits[0] else high
        if measure == LOUDNESS and model.recipe.audio_utterance.waveform_normalisation:
            reason += NORMALISATION_NOTE
        if measure in (PIECES_PER_WORD, UNKNOWN_PIECES) and language is not None:
            reason += f" (the transcript names the language {language})"
        sentences.append(
            "differs from the training data, probabilities may be unreliable: "
            f"{finding} {number(value)}{unit}, in training {usual}{unit}: {reason}"
        )
    return tuple(sentences)


def compute_training_statistics(
    conversations: Sequence[Conversation], recipe: Recipe, tokenizer: Tokenizer | None
) -> TrainingStatistics:
    """Compute the ranges of measures over a sample of a training set, for what the recipe's own encoders read."""
    sample, rate = sample_turns(conversations), recipe.audio_utterance.sample_rate
    found: list[DataStatistics] = []
    if AUDIO_UTTERANCE in recipe.stages:
        for turns in sample:
            waveforms = (read_waveform(turn, rate).numpy() for turn in turns if turn.audio is not None)
            found.append(compute_statistics(measure_quality(waveform, rate) for waveform in waveforms))
    if tokenizer is not None:
        counts = (count_pieces([turn.words for turn in turns], tokenizer) for turns in sample)
        found += (compute_statistics(counts=count) for count in merge_counts(counts))
    ranges: dict[str, tuple[float, float]] = {}
    for measure in MEASURES:
        if values := [one[measure] for one in found if measure in one]:
            low, high = np.percentile(values, PERCENTILES)
            ranges[measure] = (float(low), float(high))
    return TrainingStatistics(conversations=len(sample), ranges=ranges)


def sample_turns(conversations: Sequence[Conversation]) -> list[list[Utterance]]:
    """Choose some turns of some conversations, the same ones in whatever order these come."""
    sample: list[list[Utterance]] = []
    for conversation in sorted(conversations, key=lambda one: (one.fingerprint, one.id)):
        if sum(map(len, sample)) >= MAX_TURNS:
            break
        if conversation.utterances:
            sample.append(sample_evenly(conversation.utterances, TURNS_PER_CONVERSATION))
    return sample


def merge_counts(counts: Iterable[PieceCounts]) -> Iterator[PieceCounts]:
    """Add up neighbours' counts until they have MIN_PIECES: a conversation may be one short turn."""
    total = PieceCounts()
    for count in counts:
        total += count
        if total.pieces >= MIN_PIECES:
            yield total
            total = PieceCounts()
