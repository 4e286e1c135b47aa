"""What a recogniser is given to hear."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from moodline.audio import waveform
from moodline.conversation import AudioClip
from moodline.speech.recogniser import SAMPLE_RATE


class Sound(Protocol):
    """Speech that can be had when it is needed; picklable, so that another process may hear it."""

    @property
    def origin(self) -> Sequence[object]:
        """Everything that the samples are a function of, as JSON has it."""
        ...

    def samples(self) -> np.ndarray:
        """(T,), float within [-1, 1] at SAMPLE_RATE."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stretch of a recording."""

    clip: AudioClip

    @property
    def origin(self) -> Sequence[object]:
        # Tables of before recordings had hashes know them by their paths.
        return self.clip.file_hash or self.clip.path.as_posix(), self.clip.offset, self.clip.duration

    def samples(self) -> np.ndarray:
        return waveform.read(self.clip, SAMPLE_RATE)
