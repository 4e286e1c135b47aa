"""A recording for a page: its envelope to be seen and, where it is not too long, its sound to be heard.

Both come from one reading in blocks. A page holds MP3 at a constant rate: each browser plays it and finds times in it.
In MP3 at a variable rate Chromium missed times by seconds, and Ogg is unknown to telephones of a few years ago.
"""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from moodline.audio import container
from moodline.errors import MoodlineError

LONGEST_EMBEDDED = 30 * 60.0  # seconds; a page of some ten megabytes
SAMPLE_RATE = 16_000
COMPRESSION = 0.85  # 32 kbit/s at this rate, measured
DELAY = 1105  # samples by which MP3 comes late: LAME's 576 and each decoder's 529, which no header tells at this rate
BLOCK = 2**18  # frames
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
    """

    duration: float
    envelope: np.ndarray
    embedded: str | None

    @property
    def envelope_base64(self) -> str:
        return base64.b64encode(self.envelope.tobytes()).decode("ascii")


def read(path: Path) -> Sound:
    """The envelope of a recording, and its sound where it is at most ``LONGEST_EMBEDDED`` seconds.

    Raises:
        MoodlineError: the file is missing or cannot be read
    """
    with _opened(path) as file:
        duration = file.frames / file.samplerate
        envelope = Envelope(file.frames, min(MOST_POINTS, max(1, round(duration * POINTS_PER_SECOND))))
        if duration > LONGEST_EMBEDDED:
            for samples in _blocks(file):
                envelope.add(samples)
            return Sound(duration=duration, envelope=envelope.points(), embedded=None)
        compressed = Compressed(file.samplerate)
        for samples in _blocks(file):
            envelope.add(samples)
            compressed.add(samples)
    return Sound(duration=duration, envelope=envelope.points(), embedded=compressed.data_uri())


class Compressed:
    """MP3 of blocks that come one after another: what is at a time in them is heard at that time.

    The first ``DELAY`` samples, which MP3 puts before them, take the place of as many of theirs.
    """

    def __init__(self, sample_rate: int) -> None:
        self.resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, num_channels=1, dtype="float32")
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

    def add(self, samples: np.ndarray, *, last: bool = False) -> None:
        """Take the next samples, float32 (frames,)."""
        resampled = self.resampler.resample_chunk(samples, last=last)
        self.file.write(np.clip(resampled[self.late :], -1, 1))
        self.late = max(0, self.late - len(resampled))

    def data_uri(self) -> str:
        """All of it; no samples can be added after that."""
        self.add(np.zeros(0, dtype=np.float32), last=True)
        self.file.close()
        return f"data:audio/mpeg;base64,{base64.b64encode(self.written.getvalue()).decode('ascii')}"


class Envelope:
    """The lowest and the highest sample of so many equal stretches, of blocks that come one after another."""

    def __init__(self, frames: int, points: int) -> None:
        self.frames, self.seen = frames, 0
        self.low, self.high = np.zeros(points, dtype=np.float32), np.zeros(points, dtype=np.float32)

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples, float32 (frames,)."""
        if not len(samples):
            return
        points = np.arange(self.seen, self.seen + len(samples)) * len(self.low) // max(1, self.frames)
        points = np.minimum(points, len(self.low) - 1)
        first = np.flatnonzero(np.diff(points, prepend=-1))  # where each point's samples begin
        self.low[points[first]] = np.minimum(self.low[points[first]], np.minimum.reduceat(samples, first))
        self.high[points[first]] = np.maximum(self.high[points[first]], np.maximum.reduceat(samples, first))
        self.seen += len(samples)

    def points(self) -> np.ndarray:
        """int8 (points, 2), at ``LOUDEST`` what few stretches are louder than: one shout leaves the rest to be seen."""
        both = np.stack([self.low, self.high], axis=1)
        loud = np.quantile(np.abs(both).max(axis=1), LOUD_QUANTILE) or np.abs(both).max() or 1.0
        return np.round(np.clip(both / loud, -1, 1) * LOUDEST).astype(np.int8)


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """The channels' mean, float32 (frames,), block by block; what is no number is silence."""
    while len(samples := file.read(BLOCK, dtype="float32", always_2d=True)):  # (frames, channels)
        yield np.nan_to_num(samples.mean(axis=1), nan=0.0, posinf=0.0, neginf=0.0)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.is_file():
        raise MoodlineError(f"a timeline's recording must exist: there is no file {path}; check the path")
    try:
        with soundfile.SoundFile(container.as_wav(path) if container.is_container(path) else path) as file:
            yield file
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless samples, from the name's ending
        raise MoodlineError(
            f"a timeline's recording must be readable: {path} is not ({error}); convert it, or leave the sound out"
        ) from error
