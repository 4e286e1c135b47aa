"""A fold's predictions at a point: what is altered there, and what the model then says."""

from collections.abc import Callable
from functools import cached_property

import pyarrow as pa
import torch
from torch import Tensor

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE
from moodline.conversation import Utterance
from moodline.embeddings import Embeddings
from moodline.inference.encode import Sound
from moodline.inference.inputs import waveform_of
from moodline.reproduction.robustness.fold import TestedFold
from moodline.reproduction.robustness.noise import Babble, mixed, through_telephone
from moodline.reproduction.robustness.points import CLEAN, ENCODER, INTERPOLATED, TELEPHONE, Point, clean_point
from moodline.reproduction.robustness.words import FoldWords, mixture
from moodline.speech.error_rate import WordErrors, word_errors


class AlteredFold:
    """A fold's test set at every point; its model is loaded when the first of them is asked for.

    Args:
        load: the fold with its model
        words: for the curves of words; None where there are none
        babble: for the curves of speech
    """

    def __init__(self, load: Callable[[], TestedFold], words: FoldWords | None, babble: Babble) -> None:
        self.load, self.words, self.babble = load, words, babble

    @cached_property
    def tested(self) -> TestedFold:
        return self.load()

    def predictions(self, point: Point) -> pa.Table:
        encoder = ENCODER[point.curve]
        altered = self._words_at(point) if encoder == TEXT_UTTERANCE else self._sound_at(point)
        return self.tested.predictions({encoder: altered})

    def errors(self, point: Point) -> WordErrors | None:
        """Of the words that are read at a point of a curve of words."""
        if ENCODER[point.curve] != TEXT_UTTERANCE or self.words is None:
            return None
        read = self.words.at(point)
        return word_errors(list(self.words.reference.values()), [read[name] for name in self.words.reference])

    def _words_at(self, point: Point) -> Embeddings:
        assert self.words is not None, "points of words are asked for where there are words"
        if point.curve == INTERPOLATED:
            return mixture(*self._both, point.x, self.words.seed)
        return self.tested.text(self.words.at(point)) if point.x else self._both[0]

    @cached_property
    def _both(self) -> tuple[Embeddings, Embeddings]:
        """Of the reference words and of the recognised ones."""
        assert self.words is not None, "points of words are asked for where there are words"
        return self.tested.text(self.words.reference), self.tested.text(self.words.recognised)

    def _sound_at(self, point: Point) -> Embeddings:
        if point == clean_point(point.curve):
            return self.tested.clean[AUDIO_UTTERANCE]
        return self.tested.audio(sound_at(point, self.babble))


def sound_at(point: Point, babble: Babble) -> Sound:
    """How an utterance sounds at a point of a curve of speech."""

    def sound(utterance: Utterance, sample_rate: int) -> Tensor:
        samples = waveform_of(utterance, sample_rate).numpy()
        if point.x != CLEAN:
            samples = mixed(samples, babble.over(utterance, len(samples), sample_rate), point.x)
        if point.curve == TELEPHONE:
            samples = through_telephone(samples, sample_rate)
        return torch.from_numpy(samples)

    return sound
