"""A recording of any length, read forward in blocks: its memory does not grow with its length."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr

from moodline.audio import decoders
from moodline.audio.decoders import NOT_FINITE, AudioGap, GapCollector
from moodline.audio.io import MAX_AMPLITUDE
from moodline.errors import MoodlineError, format_count

TimeSpan = tuple[float, float, int | None]
"""Start and end in seconds, and the channel from 0, or None for the mean of all."""


class Recording:
    """Sound from a file or an array.

    Attributes:
        name: the file's path, or what the array was called
        path: of the file; None for an array
    """

    def __init__(self, source: decoders.SampleSource, name: str, gaps: GapCollector, path: Path | None = None) -> None:
        self.name, self.path = name, path
        self._source = source
        self._gaps = gaps

    @classmethod
    def open(cls, path: Path) -> "Recording":
        """A file: WAV, FLAC, OGG and MP3 through libsndfile, and containers with sound through PyAV.

        Raises:
            MoodlineError: the file is missing, empty, no sound, or without any; or PyAV is needed and not installed
        """
        gaps = GapCollector()
        return cls(decoders.open_source(path, gaps.add), str(path), gaps, path)

    @classmethod
    def from_samples(cls, samples: np.ndarray, sample_rate: int, name: str = "array") -> "Recording":
        """An array (T,) or (T, channels): floats within [-1, 1], or integers of full scale.

        Raises:
            MoodlineError: it is no such array, or empty
        """
        return cls(decoders.ArraySource(np.asarray(samples), sample_rate), name, GapCollector())

    @property
    def sample_rate(self) -> int:
        """In Hz, of the file itself."""
        return self._source.sample_rate

    @property
    def channels(self) -> int:
        return self._source.channels

    @property
    def duration(self) -> float:
        """In seconds: what the header says, until the end was read."""
        return self._source.frames / self._source.sample_rate

    @property
    def gaps(self) -> tuple[AudioGap, ...]:
        """What is missing, as far as it was read, in order; all of it after ``blocks`` or ``iter_clips`` reached "
        "the end."""
        return self._gaps.to_tuple()

    def iter_blocks(self, sample_rate: int, channel: int | None = None) -> Iterator[np.ndarray]:
        """All of it in blocks, float32 (frames,) each, some of them empty, at the sample rate.

        Args:
            channel: from 0; None for the mean of all

        Raises:
            MoodlineError: there is no such channel, or nothing can be read
        """
        self._check_channel(channel)
        mono = (_mix_to_mono(samples, channel) for samples in self._iter_source_blocks())
        yield from mono if sample_rate == self.sample_rate else _resample(mono, self.sample_rate, sample_rate)

    def read_through(self) -> None:
        """Read all of it and keep nothing: then its real end is known, and all its gaps.

        Raises:
            MoodlineError: nothing can be read
        """
        deque(self._iter_source_blocks(), maxlen=0)

    def iter_clips(self, stretches: Iterable[TimeSpan], sample_rate: int) -> Iterator[np.ndarray]:
        """The waveform of each stretch, float32 (T,) at the sample rate, in one reading.

        Where a stretch reaches beyond the end there is silence.

        Args:
            stretches: in order of their starts; they may overlap. What is held is as long as the longest of them

        Raises:
            MoodlineError: there is no such channel, or nothing can be read
            ValueError: the stretches are not in order, or one ends before it starts
        """
        rate, window, before = self.sample_rate, StreamBuffer(self._iter_source_blocks(), self.channels), 0.0
        for start, end, channel in stretches:
            if not before <= start <= end < np.inf:
                raise ValueError(f"stretches are read in order of their starts: {start} to {end} came after {before}")
            self._check_channel(channel)
            before, first = start, round(start * rate)
            waveform = _mix_to_mono(window.take(first, max(first + 1, round(end * rate))), channel)
            yield waveform if rate == sample_rate else soxr.resample(waveform, rate, sample_rate)

    def _iter_source_blocks(self) -> Iterator[np.ndarray]:
        """The source's blocks (frames, channels), silence in place of what is no finite number."""
        at = 0
        for samples in self._source.iter_blocks(self._gaps.add):
            faults = ~(np.abs(samples) <= MAX_AMPLITUDE)  # NaN is not <= anything
            if faults.any():
                rows = np.flatnonzero(faults.any(axis=1))
                first, last = at + rows[0], at + rows[-1] + 1
                self._gaps.add(AudioGap(float(first / self.sample_rate), float(last / self.sample_rate), NOT_FINITE))
                samples = np.where(faults, np.float32(0), samples)
            yield samples
            at += len(samples)

    def _check_channel(self, channel: int | None) -> None:
        if channel is not None and not 0 <= channel < self.channels:
            raise MoodlineError(
                f"a channel must be one of the recording's: {self.name} has {format_count(self.channels, 'channel')}, "
                f"and no channel {channel + 1}"
            )


def open_recording(source: str | Path | np.ndarray, sample_rate: int | None = None) -> Recording:
    """A file, or samples at a rate.

    Raises:
        MoodlineError: samples come without their rate, or a file with one; or as of ``Recording``
    """
    if isinstance(source, np.ndarray):
        if sample_rate is None:
            raise MoodlineError("samples are heard at their rate: give sample_rate, in Hz")
        return Recording.from_samples(source, sample_rate)
    if not isinstance(source, str | Path):
        raise MoodlineError(
            f"a recording is a file's path or an array with its rate, not {type(source).__name__}; several are "
            "labelled with recognise_all"
        )
    if sample_rate is not None:
        raise MoodlineError(f"a file tells its own rate: leave out sample_rate={sample_rate} for {source}")
    return Recording.open(Path(source))


class StreamBuffer:
    """The part of a stream that is still wanted.

    Attributes:
        held: how many frames are in memory
    """

    def __init__(self, blocks: Iterator[np.ndarray], channels: int) -> None:
        self._blocks = blocks
        self._kept: deque[np.ndarray] = deque()
        self._nothing = np.zeros((0, channels), dtype=np.float32)
        self._end = 0  # of what was read
        self.held = 0

    def take(self, first: int, last: int) -> np.ndarray:
        """Frames first to last (last - first, channels), zeros after the stream's end; first never goes back."""
        self._forget(first)
        while self._end < last and (block := next(self._blocks, None)) is not None:
            self._end += len(block)
            self._kept.append(block)
            self.held += len(block)
            self._forget(first)
        found = np.concatenate([self._nothing, *self._iter_between(first, last)])
        return np.pad(found, ((0, last - first - len(found)), (0, 0)))

    def _iter_between(self, first: int, last: int) -> Iterator[np.ndarray]:
        """What is held of frames first to last: a long stretch that is held must not cost each that lies in it."""
        begin = self._end - self.held
        for block in self._kept:
            if begin >= last:
                return
            if begin + len(block) > first:
                yield block[max(0, first - begin) : last - begin]
            begin += len(block)

    def _forget(self, first: int) -> None:
        while self._kept and self._end - self.held + len(self._kept[0]) <= first:
            self.held -= len(self._kept.popleft())


def _mix_to_mono(samples: np.ndarray, channel: int | None) -> np.ndarray:
    """(frames, channels) -> (frames,)"""
    return samples.mean(axis=1) if channel is None else np.ascontiguousarray(samples[:, channel])


def _resample(blocks: Iterator[np.ndarray], rate: int, sample_rate: int) -> Iterator[np.ndarray]:
    resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
