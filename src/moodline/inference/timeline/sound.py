"""A recording for a page: its envelope to be seen and, where it is not too long, its sound to be heard.

Both come from one reading in blocks, and neither grows with a long recording. A page holds MP3 at a constant rate: each
browser plays it and finds times in it. In MP3 at a variable rate Chromium missed times by seconds, and Ogg is unknown
to telephones of a few years ago.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile

from moodline.audio.recording import Recording

LONGEST_EMBEDDED = 30 * 60.0  # seconds; a page of some ten megabytes
SAMPLE_RATE = 16_000
COMPRESSION = 0.85  # 32 kbit/s at this rate, measured
DELAY = 1105  # samples by which MP3 comes late: LAME's 576 and each decoder's 529, which no header tells at this rate
POINTS_PER_SECOND = 20
MOST_POINTS = 20_000
LOUDEST = 127
LOUD_QUANTILE = 0.98


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """What a page shows and plays of a recording.

    Attributes:
        duration: in seconds
        envelope: of equal stretches of the recording the lowest and the highest sample, int8 (points, 2)
        embedded: the sound as a data URI; None where it is too long for a page
        beside: the name of the file that a page plays in its place; None where there is none, as of an array
    """

    duration: float
    envelope: np.ndarray
    embedded: str | None
    beside: str | None

    @property
    def envelope_base64(self) -> str:
        return base64.b64encode(self.envelope.tobytes()).decode("ascii")


def read(recording: Recording) -> Sound:
    """The envelope of a recording, and its sound where it is at most ``LONGEST_EMBEDDED`` seconds.

    Raises:
        MoodlineError: nothing can be read
    """
    envelope, compressed = Envelope(), Compressed() if is_embedded(recording.duration) else None
    for samples in recording.blocks(SAMPLE_RATE):
        envelope.add(samples)
        if compressed is not None:
            compressed.add(samples)
    return Sound(
        duration=recording.duration,
        envelope=envelope.points(),
        embedded=None if compressed is None else compressed.data_uri(),
        beside=None if compressed is not None or recording.path is None else recording.path.name,
    )


def is_embedded(seconds: float) -> bool:
    """Whether the sound of a recording so long is in its page, and not beside it."""
    return seconds <= LONGEST_EMBEDDED


class Compressed:
    """MP3 of blocks that come one after another: what is at a time in them is heard at that time.

    The first ``DELAY`` samples, which MP3 puts before them, take the place of as many of theirs.
    """

    def __init__(self) -> None:
        self.late = DELAY
        self.written = io.BytesIO()
        self.file = soundfile.SoundFile(
            self.written,
            "w",
            SAMPLE_RATE,
            channels=1,
            format="MP3",
            subtype="MPEG_LAYER_III",
            compression_level=COMPRESSION,
            bitrate_mode="CONSTANT",
        )

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples, float32 (frames,)."""
        self.file.write(np.clip(samples[self.late :], -1, 1))
        self.late = max(0, self.late - len(samples))

    def data_uri(self) -> str:
        """All of it; no samples can be added after that."""
        self.file.close()
        return f"data:audio/mpeg;base64,{base64.b64encode(self.written.getvalue()).decode('ascii')}"


class Envelope:
    """The lowest and the highest sample of equal stretches, of blocks that come one after another."""

    STRETCH = SAMPLE_RATE // POINTS_PER_SECOND  # samples

    def __init__(self) -> None:
        self.extremes: list[np.ndarray] = []  # each (stretches, 2)
        self.rest = np.zeros(0, dtype=np.float32)

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples, float32 (frames,)."""
        samples = np.concatenate([self.rest, samples])
        whole = len(samples) - len(samples) % self.STRETCH
        stretches, self.rest = samples[:whole].reshape(-1, self.STRETCH), samples[whole:]  # (stretches, STRETCH)
        self.extremes.append(_extremes(stretches))

    def points(self) -> np.ndarray:
        """int8 (points, 2), at ``LOUDEST`` what few stretches are louder than: one shout leaves the rest to be seen.

        What is more than ``MOST_POINTS`` stretches is told in as many.
        """
        rest = [_extremes(self.rest[None])] if len(self.rest) else []
        both = np.concatenate([*self.extremes, *rest])  # (stretches, 2)
        points = min(MOST_POINTS, len(both))
        first = np.arange(points) * len(both) // points
        low, high = np.minimum.reduceat(both[:, 0], first), np.maximum.reduceat(both[:, 1], first)
        both = np.stack([low, high], axis=1)  # (points, 2)
        loud = np.quantile(np.abs(both).max(axis=1), LOUD_QUANTILE) or np.abs(both).max() or 1.0
        return np.round(np.clip(both / loud, -1, 1) * LOUDEST).astype(np.int8)


def _extremes(stretches: np.ndarray) -> np.ndarray:
    """(stretches, samples) -> (stretches, 2)"""
    return np.stack([stretches.min(axis=1), stretches.max(axis=1)], axis=1)
