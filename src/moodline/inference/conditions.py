"""The conditions of one conversation, measured alike in training and in a recording."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from moodline.conditions import BANDWIDTH, LOUDNESS, PIECES_PER_WORD, SIGNAL_TO_NOISE, UNKNOWN_PIECES, Conditions
from moodline.speech.quality import Quality, quality_of, typical
from moodline.text.pieces import Pieces

LEAST_PIECES = 15  # fewer tell no language: a name or two would decide

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """So many of them at most, spread over all, the first and the last included."""
    if len(items) <= most:
        return list(items)
    return [items[position] for position in np.linspace(0, len(items) - 1, most).round().astype(int)]


class Listener:
    """Measures turns as they are heard, and keeps nothing of their sound.

    Args:
        sample_rate: of the waveforms, in Hz: at which the model reads them
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._heard: list[Quality] = []

    def hear(self, waveform: np.ndarray) -> None:
        """One turn (T,)."""
        found = quality_of(waveform, self._sample_rate)
        if found is not None:
            self._heard.append(found)

    @property
    def conditions(self) -> Conditions:
        """Of all turns that were heard; nothing where none had any sound."""
        if not self._heard:
            return {}
        found = typical(self._heard)
        return {BANDWIDTH: found.bandwidth, LOUDNESS: found.loudness, SIGNAL_TO_NOISE: found.signal_to_noise}


def conditions_of_words(found: Pieces) -> Conditions:
    """Of turns' words; nothing where they are too few."""
    if found.pieces < LEAST_PIECES:
        return {}
    return {PIECES_PER_WORD: found.pieces / found.words, UNKNOWN_PIECES: found.unknown / found.pieces}
