"""Corruptions of a test set: misrecognised words, babble noise, a telephone's band."""

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

SEARCH_STEPS = 16  # of the bisection for a rate: finer than a word


class NormalisedWord(NamedTuple):
    """A word as it is written, and as the word error rate compares it; the latter is empty for a mark that is none."""

    spelling: str
    normal: str


DELETED = NormalisedWord("", "")


@dataclass(frozen=True, kw_only=True)
class WordConfusions:
    """Words said, and what was heard of them, over many utterances.

    Attributes:
        said: how often each word was said
        instead: what was heard where a word was not heard right, once for each time; DELETED for nothing
        inserted: what was heard where nothing was said, once for each time
    """

    said: Mapping[str, int]
    instead: Mapping[str, Sequence[NormalisedWord]]
    inserted: Sequence[NormalisedWord]

    @cached_property
    def all_instead(self) -> list[NormalisedWord]:
        return sorted(word for words in self.instead.values() for word in words)

    @cached_property
    def words(self) -> int:
        return sum(self.said.values())

    @cached_property
    def wrong(self) -> float:
        """The share of the words said that were substituted or deleted."""
        return len(self.all_instead) / self.words if self.words else 0.0

    @cached_property
    def insertions(self) -> float:
        """Words inserted for each word said."""
        return len(self.inserted) / self.words if self.words else 0.0

    def wrong_of(self, word: str) -> float:
        """How probable an error is in a word: as if it had been said once more, and had fared as all words do."""
        return (len(self.instead.get(word, ())) + self.wrong) / (self.said.get(word, 0) + 1)

    def heard_of(self, word: str, place: float) -> NormalisedWord:
        """What is heard where a word is not heard right: among what was, and with the weight of ``wrong`` among all's.

        Args:
            place: among these, from 0 to below 1
        """
        own = self.instead.get(word, ())
        at = place * (len(own) + self.wrong)
        if at < len(own):
            return own[int(at)]
        first = int((at - len(own)) / self.wrong * len(self.all_instead))
        turned = (self.all_instead[(first + step) % len(self.all_instead)] for step in range(len(self.all_instead)))
        return next((heard for heard in turned if heard.normal != word), DELETED)


def count_confusions(pairs: Iterable[tuple[str, str]]) -> WordConfusions:
    """Of reference and recognised words, each pair aligned at the least number of errors.

    Raises:
        MoodlineError: jiwer is not installed
    """
    references, recognised = zip(*pairs, strict=True)
    said, heard = (
        [[word for word in words if word.normal] for words in split_texts(texts)] for texts in (references, recognised)
    )
    from jiwer import process_words

    sides = [[" ".join(word.normal for word in words) for words in side] for side in (said, heard)]
    found = process_words(sides[0], sides[1])
    instead: dict[str, list[NormalisedWord]] = {}
    inserted: list[NormalisedWord] = []
    for chunks, words, others in zip(found.alignments, said, heard, strict=True):
        for chunk in chunks:
            of = words[chunk.ref_start_idx : chunk.ref_end_idx]
            became = others[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "substitute":
                for word, other in zip(of, became, strict=True):
                    instead.setdefault(word.normal, []).append(other)
            elif chunk.type == "delete":
                for word in of:
                    instead.setdefault(word.normal, []).append(DELETED)
            elif chunk.type == "insert":
                inserted += became
    return WordConfusions(
        said=Counter(word.normal for words in said for word in words),
        instead={word: sorted(others) for word, others in instead.items()},
        inserted=sorted(inserted),
    )


def split_texts(texts: Sequence[str]) -> list[list[NormalisedWord]]:
    """Each text's words; what is parted by a hyphen or a dash is several."""
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
    """Reference words to be given errors: more and more of the same, as the scale of their probability grows.

    Args:
        texts: reference words by utterance id
        seed: with an utterance's id it decides where errors come first, and which
    """

    def __init__(self, texts: Mapping[str, str], confusions: WordConfusions, seed: int) -> None:
        self.texts, self.confusions = texts, confusions
        self.words = dict(zip(texts, split_texts(list(texts.values())), strict=True))
        # A row a word: whether it is heard wrong, and as what; whether a word is heard after it, and which.
        self.draws: dict[str, NDArray[np.float64]] = {
            name: create_generator(seed, "errors", name).random((len(words), 4)) for name, words in self.words.items()
        }

    def at(self, scale: float) -> dict[str, str]:
        """The words where each error is so many times as probable as it is with the recogniser."""
        return {name: self._corrupt_text(name, scale) for name in self.texts}

    def _corrupt_text(self, name: str, scale: float) -> str:
        confusions, heard, altered = self.confusions, [], False
        for word, (wrong, instead, inserted, which) in zip(self.words[name], self.draws[name].tolist(), strict=True):
            is_wrong = bool(word.normal) and wrong < scale * confusions.wrong_of(word.normal)
            is_followed = bool(word.normal) and inserted < scale * confusions.insertions
            heard += [confusions.heard_of(word.normal, instead) if is_wrong else word]
            heard += [confusions.inserted[int(which * len(confusions.inserted))]] if is_followed else []
            altered |= is_wrong or is_followed
        return " ".join(word.spelling for word in heard if word.spelling) if altered else self.texts[name]

    def corrupt_to_rate(self, rate: float) -> dict[str, str]:
        """The words at the scale whose word error rate, measured, is as near to this one as bisection comes.

        A rate that errors as they are cannot reach is approached.
        """
        low, high = 0.0, 1.0
        while self.measure_rate(self.at(high)) < rate and high < 2**SEARCH_STEPS:
            low, high = high, 2 * high
        for _ in range(SEARCH_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.measure_rate(self.at(middle)) < rate else (low, middle)
        return min((self.at(scale) for scale in (low, high)), key=lambda words: abs(self.measure_rate(words) - rate))

    def measure_rate(self, words: Mapping[str, str]) -> float:
        """Their word error rate; 0 without reference words."""
        return count_word_errors(list(self.texts.values()), [words[name] for name in self.texts]).rate or 0.0


BABBLE_SPEAKERS = 6  # of babble; fewer where there are not so many others
TELEPHONE_RATE = 8_000  # Hz
TELEPHONE_BAND = (300.0, 3_400.0)  # Hz
FILTER_ORDER = 6  # of each edge of the band: 36 dB an octave


class BabbleNoise:
    """Utterances of a corpus's other speakers, spoken all at once.

    Args:
        conversations: of the whole corpus; each utterance id stands once in them
        seed: with an utterance's id it decides who talks over it, and what: the same at every ratio
    """

    def __init__(self, conversations: Sequence[Conversation], seed: int) -> None:
        self.seed = seed
        self.present = {turn.id: one.speakers for one in conversations for turn in one.utterances}
        self.turns: dict[str, list[Utterance]] = {}
        for turn in sorted((turn for one in conversations for turn in one.utterances), key=lambda turn: turn.id):
            if turn.audio is not None:
                self.turns.setdefault(turn.speaker, []).append(turn)

    def find_other_speakers(self, utterance: Utterance) -> list[str]:
        """Speakers with speech who are not in the utterance's conversation."""
        return sorted(self.turns.keys() - self.present[utterance.id])

    def draw_speakers(self, utterance: Utterance) -> list[Utterance]:
        """An utterance of each of some others."""
        generator = create_generator(self.seed, "talkers", utterance.id)
        others = self.find_other_speakers(utterance)
        chosen = generator.permutation(len(others))[:BABBLE_SPEAKERS]
        turns = [self.turns[others[index]] for index in chosen]
        return [of_one[generator.integers(len(of_one))] for of_one in turns]

    def generate_babble(self, utterance: Utterance, length: int, sample_rate: int) -> NDArray[np.float64]:
        """Babble (T,) as long as the utterance: each talker at the same mean power, from anywhere and round again.

        Raises:
            MoodlineError: an utterance cannot be read, or all of the talkers are silent
        """
        generator = create_generator(self.seed, "starts", utterance.id)
        sum_of_all = np.zeros(length)
        for talker in self.draw_speakers(utterance):
            samples = read_waveform(talker, sample_rate).numpy().astype(float)
            # Where there is sound: a short piece may else be digital silence, as between words.
            sounding = np.flatnonzero(samples)
            start = sounding[generator.integers(len(sounding))] if len(sounding) else 0
            voice = np.resize(np.roll(samples, -start), length)
            if power := compute_mean_power(voice):
                sum_of_all += voice / np.sqrt(power)
        if not sum_of_all.any():
            raise MoodlineError(
                f"babble is made of speech, and that drawn for {utterance.id} is silence: "
                f"{', '.join(talker.id for talker in self.draw_speakers(utterance))}; restore these recordings"
            )
        return sum_of_all


def compute_mean_power(samples: NDArray[np.floating]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def mix_at_ratio(speech: NDArray[np.float32], babble: NDArray[np.float64], ratio: float) -> NDArray[np.float32]:
    """Speech and babble (T,) at a signal-to-noise ratio in dB, of mean powers over the utterance.

    What is silent has no such ratio, and stays so.
    """
    power = compute_mean_power(speech) / (compute_mean_power(babble) * 10 ** (ratio / 10))
    return (speech + np.sqrt(power) * babble).astype(np.float32)


def apply_telephone_band(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """What is left of a waveform (T,) after a telephone's band at its sample rate; as long, at the same rate."""
    # A little silence behind it, as rounding to whole samples, there and back, may take a few.
    followed = np.pad(samples.astype(float), (0, sample_rate // 100))
    heard = soxr.resample(followed, sample_rate, TELEPHONE_RATE)
    band = butter(FILTER_ORDER, TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")
    back = soxr.resample(np.asarray(sosfilt(band, heard)), TELEPHONE_RATE, sample_rate)
    return back[: len(samples)].astype(np.float32)


def explain_missing_babble(babble: BabbleNoise, tested: Iterable[Utterance]) -> str:
    """Why some utterance has no babble; empty where all have."""
    alone = next((turn for turn in tested if not babble.find_other_speakers(turn)), None)
    if alone is None:
        return ""
    return (
        "babble is left out: it is made of speakers who are not in the test utterance's conversation, and the corpus "
        f"has speech of nobody else than those in that of {alone.id}"
    )
