"""What a recogniser makes of each word, and words with errors drawn from that."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moodline.speech.error_rate import normalisation, word_errors
from moodline.training.randomness import generator_of

STEPS = 16  # of the bisection for a rate: finer than a word


class Word(NamedTuple):
    """A word as it is written, and as the word error rate compares it; the latter is empty for a mark that is none."""

    spelling: str
    normal: str


DELETED = Word("", "")


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Words said, and what was heard of them, over many utterances.

    Attributes:
        said: how often each word was said
        instead: what was heard where a word was not heard right, once for each time; DELETED for nothing
        inserted: what was heard where nothing was said, once for each time
    """

    said: Mapping[str, int]
    instead: Mapping[str, Sequence[Word]]
    inserted: Sequence[Word]

    @cached_property
    def all_instead(self) -> list[Word]:
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

    def heard_of(self, word: str, place: float) -> Word:
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


def confusions_of(pairs: Iterable[tuple[str, str]]) -> Confusions:
    """Of reference and recognised words, each pair aligned at the least number of errors.

    Raises:
        MoodlineError: jiwer is not installed
    """
    references, recognised = zip(*pairs, strict=True)
    said, heard = (
        [[word for word in words if word.normal] for words in spelt(texts)] for texts in (references, recognised)
    )
    from jiwer import process_words

    sides = [[" ".join(word.normal for word in words) for words in side] for side in (said, heard)]
    found = process_words(sides[0], sides[1])
    instead: dict[str, list[Word]] = {}
    inserted: list[Word] = []
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
    return Confusions(
        said=Counter(word.normal for words in said for word in words),
        instead={word: sorted(others) for word, others in instead.items()},
        inserted=sorted(inserted),
    )


def spelt(texts: Sequence[str]) -> list[list[Word]]:
    """Each text's words; what is parted by a hyphen or a dash is several."""
    normalise = normalisation()
    tokens = sorted({token for text in texts for token in text.split()})
    parts = {
        token: parted(token, normal.split())
        for token, normal in zip(tokens, normalise(tokens) if tokens else [], strict=True)
    }
    return [[word for token in text.split() for word in parts[token]] for text in texts]


def parted(token: str, normals: Sequence[str]) -> list[Word]:
    if len(normals) > 1:
        return [Word(normal, normal) for normal in normals]
    return [Word(token, normals[0] if normals else "")]


class Corruption:
    """Reference words to be given errors: more and more of the same, as the scale of their probability grows.

    Args:
        texts: reference words by utterance id
        seed: with an utterance's id it decides where errors come first, and which
    """

    def __init__(self, texts: Mapping[str, str], confusions: Confusions, seed: int) -> None:
        self.texts, self.confusions = texts, confusions
        self.words = dict(zip(texts, spelt(list(texts.values())), strict=True))
        # A row a word: whether it is heard wrong, and as what; whether a word is heard after it, and which.
        self.draws: dict[str, NDArray[np.float64]] = {
            name: generator_of(seed, "errors", name).random((len(words), 4)) for name, words in self.words.items()
        }

    def at(self, scale: float) -> dict[str, str]:
        """The words where each error is so many times as probable as it is with the recogniser."""
        return {name: self._at(name, scale) for name in self.texts}

    def _at(self, name: str, scale: float) -> str:
        confusions, heard, altered = self.confusions, [], False
        for word, (wrong, instead, inserted, which) in zip(self.words[name], self.draws[name].tolist(), strict=True):
            is_wrong = bool(word.normal) and wrong < scale * confusions.wrong_of(word.normal)
            is_followed = bool(word.normal) and inserted < scale * confusions.insertions
            heard += [confusions.heard_of(word.normal, instead) if is_wrong else word]
            heard += [confusions.inserted[int(which * len(confusions.inserted))]] if is_followed else []
            altered |= is_wrong or is_followed
        return " ".join(word.spelling for word in heard if word.spelling) if altered else self.texts[name]

    def reaching(self, rate: float) -> dict[str, str]:
        """The words at the scale whose word error rate, measured, is as near to this one as bisection comes.

        A rate that errors as they are cannot reach is approached.
        """
        low, high = 0.0, 1.0
        while self.measured(self.at(high)) < rate and high < 2**STEPS:
            low, high = high, 2 * high
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.measured(self.at(middle)) < rate else (low, middle)
        return min((self.at(scale) for scale in (low, high)), key=lambda words: abs(self.measured(words) - rate))

    def measured(self, words: Mapping[str, str]) -> float:
        """Their word error rate; 0 without reference words."""
        return word_errors(list(self.texts.values()), [words[name] for name in self.texts]).rate or 0.0
