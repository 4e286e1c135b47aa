"""Corrupt a test set: misrecognised words, babble noise, telephone band."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from torch import Tensor

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE
from moodline.conversation import Conversation, Utterance
from moodline.errors import MoodlineError
from moodline.inference.encode import read_waveform
from moodline.metrics import build_normalisation, count_word_errors
from moodline.runtime import create_generator

SEARCH_STEPS = 16  # of the bisection for a rate, finer than one word
BABBLE_SPEAKERS = 6  # at most; fewer if the corpus has fewer other speakers
TELEPHONE_RATE = 8_000  # Hz
TELEPHONE_BAND = (300.0, 3_400.0)  # Hz
FILTER_ORDER = 6  # of each edge of the band: 36 dB per octave
WordsById = Mapping[str, str]
Value = TypeVar("Value")
CLEAN_RATIO = math.inf  # dB: no babble
INTERPOLATED, DRAWN, BABBLE, TELEPHONE = "interpolated", "drawn", "babble", "telephone"


class Curve(NamedTuple):
    """A way to corrupt the input of an encoder, and its points.

    They are for ``interpolated`` the shares of utterances with recognised words, for ``drawn`` the target WERs, for
    ``babble`` and ``telephone`` the SNRs in dB, CLEAN_RATIO without babble.
    """

    title: str
    encoder: str
    x: tuple[float, ...]


TENTHS, RATIOS = tuple(tenth / 10 for tenth in range(11)), (CLEAN_RATIO, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0)
CURVES: Mapping[str, Curve] = {
    INTERPOLATED: Curve("Recognised words in a share of the utterances", TEXT_UTTERANCE, TENTHS),
    DRAWN: Curve("Words with errors sampled from the recogniser's confusions", TEXT_UTTERANCE, TENTHS[:8]),
    BABBLE: Curve("Speech in babble", AUDIO_UTTERANCE, RATIOS),
    TELEPHONE: Curve("Speech in babble, through a telephone band", AUDIO_UTTERANCE, RATIOS),
}


class CorruptionPoint(NamedTuple):
    """A point of a curve."""

    curve: str
    x: float

    @classmethod
    def list_all(cls, encoder: str, *, with_babble: bool = True) -> "list[CorruptionPoint]":
        curves = {name: curve for name, curve in CURVES.items() if curve.encoder == encoder}
        return [cls(name, x) for name, curve in curves.items() for x in curve.x if with_babble or x == CLEAN_RATIO]

    @property
    def name(self) -> str:
        return f"{self.curve}{self.x:+g}"

    @property
    def encoder(self) -> str:
        return CURVES[self.curve].encoder

    @property
    def clean(self) -> "CorruptionPoint":
        """The uncorrupted point with which it is compared."""
        return self._replace(x=0.0) if self.encoder == TEXT_UTTERANCE else CorruptionPoint(BABBLE, CLEAN_RATIO)


class NormalisedWord(NamedTuple):
    """A token as written, and as the word error rate compares it: empty for punctuation and marks."""

    spelling: str
    normal: str


DELETED = NormalisedWord("", "")


@dataclass(frozen=True, kw_only=True)
class WordConfusions:
    """A recogniser's word confusions over many utterances, with repetitions."""

    counts: Mapping[str, int]  # occurrences of each reference word
    substitutes: Mapping[str, Sequence[NormalisedWord]]  # of each reference word; DELETED for a deletion
    inserted: Sequence[NormalisedWord]

    @cached_property
    def all_substitutes(self) -> list[NormalisedWord]:
        return sorted(word for words in self.substitutes.values() for word in words)

    @cached_property
    def error_rate(self) -> float:
        """Substitutions and deletions per reference word."""
        return len(self.all_substitutes) / (sum(self.counts.values()) or math.inf)

    @cached_property
    def insertion_rate(self) -> float:
        """Insertions per reference word."""
        return len(self.inserted) / (sum(self.counts.values()) or math.inf)

    def estimate_error_rate(self, word: str) -> float:
        """Estimate the probability of an error in a word, smoothed by one occurrence with the rate of all words."""
        return (len(self.substitutes.get(word, ())) + self.error_rate) / (self.counts.get(word, 0) + 1)

    def choose_substitute(self, word: str, position: float) -> NormalisedWord:
        """Choose the word's own substitute or, with the weight of ``error_rate``, any word's: position in [0, 1)."""
        own, others = self.substitutes.get(word, ()), self.all_substitutes
        at = position * (len(own) + self.error_rate)
        if at < len(own):
            return own[int(at)]
        first = int((at - len(own)) / self.error_rate * len(others))
        rotated = (others[(first + step) % len(others)] for step in range(len(others)))
        return next((other for other in rotated if other.normal != word), DELETED)


def count_confusions(pairs: Iterable[tuple[str, str]]) -> WordConfusions:
    """Count confusions of reference and recognised texts, aligned with the fewest errors."""
    sides = [
        [[word for word in words if word.normal] for words in split_texts(texts)] for texts in zip(*pairs, strict=True)
    ]
    from jiwer import process_words

    references, hypotheses = ([" ".join(word.normal for word in words) for words in side] for side in sides)
    substitutes: dict[str, list[NormalisedWord]] = {}
    inserted: list[NormalisedWord] = []
    for chunks, words, others in zip(process_words(references, hypotheses).alignments, *sides, strict=True):
        for chunk in chunks:
            before = words[chunk.ref_start_idx : chunk.ref_end_idx]
            after = others[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "insert":
                inserted += after
            elif chunk.type != "equal":
                for word, other in zip(before, after or [DELETED] * len(before), strict=True):
                    substitutes.setdefault(word.normal, []).append(other)
    return WordConfusions(
        counts=Counter(word.normal for words in sides[0] for word in words),
        substitutes={word: sorted(others) for word, others in substitutes.items()},
        inserted=sorted(inserted),
    )


def split_texts(texts: Sequence[str]) -> list[list[NormalisedWord]]:
    """Split texts into words; hyphens and dashes separate words."""
    normalise, parts = build_normalisation(), dict[str, list[NormalisedWord]]()
    tokens = sorted({token for text in texts for token in text.split()})
    for token, normal in zip(tokens, normalise(tokens) if tokens else [], strict=True):
        pieces = normal.split()
        parts[token] = [NormalisedWord(token if len(pieces) < 2 else one, one) for one in pieces or [""]]
    return [[word for token in text.split() for word in parts[token]] for text in texts]


class WordCorruption:
    """Corrupts reference words: a larger scale of the error probability adds errors to those of a smaller one.

    Seed and utterance id determine the errors and their order.
    """

    def __init__(self, texts: WordsById, confusions: WordConfusions, seed: int) -> None:
        self.texts, self.confusions = texts, confusions
        self.words = dict(zip(texts, split_texts(list(texts.values())), strict=True))
        # Per word: whether it is an error, its substitute, whether an insertion follows, the inserted word.
        self.draws: dict[str, list[list[float]]] = {
            name: create_generator(seed, "errors", name).random((len(words), 4)).tolist()
            for name, words in self.words.items()
        }

    def corrupt_texts(self, scale: float) -> dict[str, str]:
        """Corrupt the texts with the recogniser's error probabilities times this scale."""
        return {name: self._corrupt_text(name, scale) for name in self.texts}

    def _corrupt_text(self, name: str, scale: float) -> str:
        confusions, words, is_changed = self.confusions, [], False
        for word, (error, substitute, insertion, other) in zip(self.words[name], self.draws[name], strict=True):
            is_error = bool(word.normal) and error < scale * confusions.estimate_error_rate(word.normal)
            is_followed = bool(word.normal) and insertion < scale * confusions.insertion_rate
            words += [confusions.choose_substitute(word.normal, substitute) if is_error else word]
            words += [confusions.inserted[int(other * len(confusions.inserted))]] if is_followed else []
            is_changed |= is_error or is_followed
        return " ".join(word.spelling for word in words if word.spelling) if is_changed else self.texts[name]

    def corrupt_to_rate(self, rate: float) -> dict[str, str]:
        """Corrupt the texts to a measured word error rate as close to this one as bisection and confusions allow."""

        def measure(words: WordsById) -> float:
            return count_word_errors(list(self.texts.values()), list(words.values())).rate or 0.0

        low, high = 0.0, 1.0
        while measure(self.corrupt_texts(high)) < rate and high < 2**SEARCH_STEPS:
            low, high = high, 2 * high
        for _ in range(SEARCH_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if measure(self.corrupt_texts(middle)) < rate else (low, middle)
        return min(map(self.corrupt_texts, (low, high)), key=lambda words: abs(measure(words) - rate))


class FoldWords:
    """Reference, recognised and corrupted words of a fold's test utterances, by utterance id.

    The recogniser's confusions are estimated from the corpus's other conversations.
    """

    def __init__(
        self, tested: Sequence[Utterance], others: Sequence[Conversation], recognised: WordsById, seed: int
    ) -> None:
        self.reference = {turn.id: turn.said for turn in tested}
        self.recognised = {turn.id: recognised[turn.id] for turn in tested}
        self.pairs = [(turn.said, recognised[turn.id]) for one in others for turn in one.utterances]
        self.seed = seed
        self._corrupted: dict[float, WordsById] = {0.0: self.reference}

    @cached_property
    def confusions(self) -> WordConfusions:
        return count_confusions(self.pairs)

    def build_words(self, point: CorruptionPoint) -> WordsById:
        if point.curve == INTERPOLATED:
            return mix_words(self.reference, self.recognised, point.x, self.seed)
        if point.x not in self._corrupted:
            corruption = WordCorruption(self.reference, self.confusions, self.seed)
            self._corrupted[point.x] = corruption.corrupt_to_rate(point.x)
        return self._corrupted[point.x]


def mix_words(
    reference: Mapping[str, Value], recognised: Mapping[str, Value], share: float, seed: int
) -> dict[str, Value]:
    """Take a random share of the utterances from the recognised side, a larger share including each smaller one."""
    drawn = {name: create_generator(seed, "recognised", name).random() for name in reference}
    return {name: (recognised if drawn[name] < share else reference)[name] for name in reference}


class BabbleNoise:
    """Babble from superposed utterances of a corpus's other speakers.

    Seed and utterance id determine the speakers and their utterances, the same at every ratio.
    """

    def __init__(self, conversations: Sequence[Conversation], seed: int) -> None:
        self.seed = seed
        self.present = {turn.id: one.speakers for one in conversations for turn in one.utterances}
        self.turns: dict[str, list[Utterance]] = {}
        for turn in sorted((turn for one in conversations for turn in one.utterances), key=lambda turn: turn.id):
            if turn.audio is not None:
                self.turns.setdefault(turn.speaker, []).append(turn)

    def find_other_speakers(self, utterance: Utterance) -> list[str]:
        """Find the speakers with audio who are not in the utterance's conversation."""
        return sorted(self.turns.keys() - self.present[utterance.id])

    def explain_missing(self, tested: Iterable[Utterance]) -> str:
        """Explain why an utterance has no babble; empty if all have babble."""
        alone = next((turn for turn in tested if not self.find_other_speakers(turn)), None)
        if alone is None:
            return ""
        return (
            "babble is left out: it consists of speakers outside the test utterance's conversation, and the corpus has "
            f"no speech of others than those in the conversation of {alone.id}"
        )

    def draw_speakers(self, utterance: Utterance) -> list[Utterance]:
        """Draw an utterance of each of up to BABBLE_SPEAKERS other speakers."""
        generator = create_generator(self.seed, "talkers", utterance.id)
        others = self.find_other_speakers(utterance)
        turns = [self.turns[others[index]] for index in generator.permutation(len(others))[:BABBLE_SPEAKERS]]
        return [of_one[generator.integers(len(of_one))] for of_one in turns]

    def generate_babble(self, utterance: Utterance, length: int, sample_rate: int) -> NDArray[np.float64]:
        """Generate babble (T,): each speaker with the same mean power, repeated from a random start."""
        generator = create_generator(self.seed, "starts", utterance.id)
        babble, speakers = np.zeros(length), self.draw_speakers(utterance)
        for talker in speakers:
            samples = read_waveform(talker, sample_rate).numpy().astype(float)
            # Start at a sample that is not zero: a short piece might otherwise be digital silence.
            sounding = np.flatnonzero(samples)
            start = sounding[generator.integers(len(sounding))] if len(sounding) else 0
            voice = np.resize(np.roll(samples, -start), length)
            if power := compute_mean_power(voice):
                babble += voice / np.sqrt(power)
        if not babble.any():
            raise MoodlineError(
                f"the utterances drawn as babble for {utterance.id} are silent: "
                f"{', '.join(talker.id for talker in speakers)}; restore these recordings",
                code="experiment.silent_babble",
            )
        return babble

    def read_corrupted(self, point: CorruptionPoint, utterance: Utterance, sample_rate: int) -> Tensor:
        """Read an utterance's waveform (T,) corrupted as at a point of a curve of speech."""
        samples = read_waveform(utterance, sample_rate).numpy()
        if point.x != CLEAN_RATIO:
            samples = mix_at_ratio(samples, self.generate_babble(utterance, len(samples), sample_rate), point.x)
        if point.curve == TELEPHONE:
            samples = apply_telephone_band(samples, sample_rate)
        return torch.from_numpy(samples)


def compute_mean_power(samples: NDArray[np.floating]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def mix_at_ratio(speech: NDArray[np.float32], babble: NDArray[np.float64], ratio: float) -> NDArray[np.float32]:
    """Mix speech and babble (T,) at a signal-to-noise ratio in dB of mean powers; silent speech stays silent."""
    power = compute_mean_power(speech) / (compute_mean_power(babble) * 10 ** (ratio / 10))
    return (speech + np.sqrt(power) * babble).astype(np.float32)


def apply_telephone_band(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Filter a waveform (T,) to a telephone's band and sample rate, and resample it back to its own rate: (T,)."""
    # Padded, because resampling twice may lose a few samples by rounding.
    padded = np.pad(samples.astype(float), (0, sample_rate // 100))
    narrow = soxr.resample(padded, sample_rate, TELEPHONE_RATE)
    band = butter(FILTER_ORDER, TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")
    back = soxr.resample(np.asarray(sosfilt(band, narrow)), TELEPHONE_RATE, sample_rate)
    return back[: len(samples)].astype(np.float32)
