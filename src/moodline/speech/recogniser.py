"""What recognises words in speech, behind one small interface: which one it is, and loading it."""

from typing import Protocol

import numpy as np

from moodline.speech import sphinx, whisper

SAMPLE_RATE = 16_000  # Hz


class Recogniser(Protocol):
    """Hears words. It remembers nothing: the same samples give the same words, whatever was heard before."""

    @property
    def name(self) -> str:
        """The recogniser and its model, for people."""
        ...

    @property
    def version(self) -> str:
        """What tells this software and these weights from others of the name."""
        ...

    def recognise(self, samples: np.ndarray) -> str:
        """The words in one utterance's samples (T,), float within [-1, 1] at SAMPLE_RATE; empty where it hears none."""
        ...


def choose(named: str | None) -> str:
    """Which recogniser ``load`` is to load: pocketsphinx by its name, or the folder of a model of Whisper.

    Args:
        named: pocketsphinx, a folder, or a name that faster-whisper knows, whose model is fetched where it is not
            cached; None takes a cached model of Whisper, or else pocketsphinx, whose model is in its wheel

    Raises:
        MoodlineError: there is no such model, or what reads it is not installed
    """
    if named is None:
        return str(whisper.cached() or sphinx.NAME)
    return named if named == sphinx.NAME else str(whisper.folder_of(named))


def load(chosen: str) -> Recogniser:
    """Load what ``choose`` chose.

    Raises:
        MoodlineError: it is not installed, or its model cannot be read
    """
    return sphinx.PocketSphinx() if chosen == sphinx.NAME else whisper.Whisper(chosen)
