"""Corrupt a test set: misrecognised words, babble noise, telephone band."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from moodline.conversation import Conversation, Utterance
from moodline.errors import MoodlineError
from moodline.inference.encode import read_waveform
from moodline.metrics import build_normalisation, count_word_errors
from moodline.runtime import create_generator

SEARCH_STEPS = 16  # of the bisection for a rate, finer than one word


class NormalisedWord(NamedTuple):
    """A token as written, and as the word error rate compares it: empty for punctuation and marks."""

    spelling: str
    normal: str


DELETED = NormalisedWord("", "")


@dataclass(frozen=True, kw_only=True)
class WordConfusions:
    """A recogniser's word confusions over many utterances.

    Attributes:
        counts: number of occurrences of each reference word
        substitutes: recognised word of each error in a reference word, with repetitions; DELETED for a deletion
        inserted: each inserted word, with repetitions
    """

    counts: Mapping[str, int]
    substitutes: Mapping[str, Sequence[NormalisedWord]]
    inserted: Sequence[NormalisedWord]

    @cached_property
    def all_substitutes(self) -> list[NormalisedWord]:
        return sorted(word for words in self.substitutes.values() for word in words)

    @cached_property
    def error_rate(self) -> float:
        """Substitutions and deletions per reference word."""
        return self._divide_by_words(len(self.all_substitutes))

    @cached_property
    def insertion_rate(self) -> float:
        """Insertions per reference word."""
        return self._divide_by_words(len(self.inserted))

    def _divide_by_words(self, count: int) -> float:
        return count / words if (words := sum(self.counts.values())) else 0.0

    def estimate_error_rate(self, word: str) -> float:
        """Estimate the probability of an error in a word, smoothed by one occurrence with the rate of all words."""
        return (len(self.substitutes.get(word, ())) + self.error_rate) / (self.counts.get(word, 0) + 1)

    def choose_substitute(self, word: str, position: float) -> NormalisedWord:
        """Choose a substitute from the word's own ones and, with the weight of ``error_rate``, from all words'.

        Args:
            position: position in this distribution, in [0, 1)
        """
        own, others = self.substitutes.get(word, ()), self.all_substitutes
        at = position * (len(own) + self.error_rate)
        if at < len(own):
            return own[int(at)]
        first = int((at - len(own)) / self.error_rate * len(others))
        rotated = (others[(first + step) % len(others)] for step in range(len(others)))
        return next((other for other in rotated if other.normal != word), DELETED)


def count_confusions(pairs: Iterable[tuple[str, str]]) -> WordConfusions:
    """Count confusions of reference and recognised texts, aligned with the fewest errors.

    Raises:
        MoodlineError: jiwer is not installed
    """
    references, hypotheses = (
        [[word for word in words if word.normal] for words in split_texts(texts)] for texts in zip(*pairs, strict=True)
    )
    from jiwer import process_words

    sides = [[" ".join(word.normal for word in words) for words in side] for side in (references, hypotheses)]
    substitutes: dict[str, list[NormalisedWord]] = {}
    inserted: list[NormalisedWord] = []
    for chunks, words, others in zip(process_words(sides[0], sides[1]).alignments, references, hypotheses, strict=True):
        for chunk in chunks:
            before = words[chunk.ref_start_idx : chunk.ref_end_idx]
            after = others[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "insert":
                inserted += after
            elif chunk.type != "equal":
                for word, other in zip(before, after or [DELETED] * len(before), strict=True):
                    substitutes.setdefault(word.normal, []).append(other)
    return WordConfusions(
        counts=Counter(word.normal for words in references for word in words),
        substitutes={word: sorted(others) for word, others in substitutes.items()},
        inserted=sorted(inserted),
    )


def split_texts(texts: Sequence[str]) -> list[list[NormalisedWord]]:
    """Split texts into words; hyphens and dashes separate words."""
    normalise = build_normalisation()
    tokens = sorted({token for text in texts for token in text.split()})
    parts = {
        token: split_token(token, normal.split())
        for token, normal in zip(tokens, normalise(tokens) if tokens else [], strict=True)
    }
    return [[word for token in text.split() for word in parts[token]] for text in texts]


def split_token(token: str, normals: Sequence[str]) -> list[NormalisedWord]:
    if len(normals) > 1:
        return [NormalisedWord(normal, normal) for normal in normals]
    return [NormalisedWord(token, normals[0] if normals else "")]


class WordCorruption:
    """Corrupts reference words: a larger scale of the error probability adds errors to those of a smaller one.

    Args:
        texts: reference words by utterance id
        seed: with an utterance's id, determines the errors and their order
    """

    def __init__(self, texts: Mapping[str, str], confusions: WordConfusions, seed: int) -> None:
        self.texts, self.confusions = texts, confusions
        self.words = dict(zip(texts, split_texts(list(texts.values())), strict=True))
        # Per word: whether it is an error, its substitute, whether an insertion follows, the inserted word.
        self.draws: dict[str, NDArray[np.float64]] = {
            name: create_generator(seed, "errors", name).random((len(words), 4)) for name, words in self.words.items()
        }

    def corrupt_texts(self, scale: float) -> dict[str, str]:
        """Corrupt the texts with the recogniser's error probabilities times this scale."""
        return {name: self._corrupt_text(name, scale) for name in self.texts}

    def _corrupt_text(self, name: str, scale: float) -> str:
        confusions, words, is_changed = self.confusions, [], False
        for word, (error, substitute, insertion, other) in zip(
            self.words[name], self.draws[name].tolist(), strict=True
        ):
            is_error = bool(word.normal) and error < scale * confusions.estimate_error_rate(word.normal)
            is_followed = bool(word.normal) and insertion < scale * confusions.insertion_rate
            words += [confusions.choose_substitute(word.normal, substitute) if is_error else word]
            words += [confusions.inserted[int(other * len(confusions.inserted))]] if is_followed else []
            is_changed |= is_error or is_followed
        return " ".join(word.spelling for word in words if word.spelling) if is_changed else self.texts[name]

    def corrupt_to_rate(self, rate: float) -> dict[str, str]:
        """Corrupt the texts to a measured word error rate as close to this one as bisection and confusions allow."""
        low, high = 0.0, 1.0
        while self.measure_rate(self.corrupt_texts(high)) < rate and high < 2**SEARCH_STEPS:
            low, high = high, 2 * high
        for _ in range(SEARCH_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.measure_rate(self.corrupt_texts(middle)) < rate else (low, middle)
        return min(map(self.corrupt_texts, (low, high)), key=lambda words: abs(self.measure_rate(words) - rate))

    def measure_rate(self, words: Mapping[str, str]) -> float:
        """Measure the word error rate; 0 without reference words."""
        return count_word_errors(list(self.texts.values()), [words[name] for name in self.texts]).rate or 0.0


BABBLE_SPEAKERS = 6  # at most; fewer if the corpus has fewer other speakers
TELEPHONE_RATE = 8_000  # Hz
TELEPHONE_BAND = (300.0, 3_400.0)  # Hz
FILTER_ORDER = 6  # of each edge of the band: 36 dB per octave


class BabbleNoise:
    """Babble from superposed utterances of a corpus's other speakers.

    Args:
        conversations: all conversations of the corpus, with unique utterance ids
        seed: with an utterance's id, determines the speakers and their utterances, the same at every ratio
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

    def draw_speakers(self, utterance: Utterance) -> list[Utterance]:
        """Draw an utterance of each of up to BABBLE_SPEAKERS other speakers."""
        generator = create_generator(self.seed, "talkers", utterance.id)
        others = self.find_other_speakers(utterance)
        chosen = generator.permutation(len(others))[:BABBLE_SPEAKERS]
        turns = [self.turns[others[index]] for index in chosen]
        return [of_one[generator.integers(len(of_one))] for of_one in turns]

    def generate_babble(self, utterance: Utterance, length: int, sample_rate: int) -> NDArray[np.float64]:
        """Generate babble (T,): each speaker with the same mean power, repeated from a random start.

        Raises:
            MoodlineError: an utterance cannot be read, or all speakers are silent
        """
        generator = create_generator(self.seed, "starts", utterance.id)
        babble = np.zeros(length)
        for talker in self.draw_speakers(utterance):
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
                f"{', '.join(talker.id for talker in self.draw_speakers(utterance))}; restore these recordings",
                code="experiment.silent_babble",
            )
        return babble


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


def explain_missing_babble(babble: BabbleNoise, tested: Iterable[Utterance]) -> str:
    """Explain why an utterance has no babble; empty if all have babble."""
    alone = next((turn for turn in tested if not babble.find_other_speakers(turn)), None)
    if alone is None:
        return ""
    return (
        "babble is left out: it consists of speakers outside the test utterance's conversation, and the corpus has no "
        f"speech of others than those in the conversation of {alone.id}"
    )
