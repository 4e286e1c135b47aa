"""Decoders of recordings, forward and block by block: libsndfile, FFmpeg or an array."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from moodline.audio import io
from moodline.errors import MoodlineError

MERGE_DISTANCE = 0.1  # seconds: gaps closer than this are told as one

UNREADABLE = "cannot be read: silence stands in its place"
NOT_FINITE = "has samples that are no finite numbers: silence stands in their place"
TRUNCATED = "is missing: the file breaks off"


@dataclass(frozen=True, slots=True)
class AudioGap:
    """A stretch of a recording without its sound.

    Attributes:
        start, end: in seconds; equal where damage is known and its length is not
        what: is the matter, as the end of a sentence
    """

    start: float
    end: float
    what: str

    def __str__(self) -> str:
        return f"{self.start:.3f} s to {self.end:.3f} s {self.what}"


class GapCollector:
    """Gaps as they are found; one that is found again, by another reading, is the same one."""

    def __init__(self) -> None:
        self._gaps: list[AudioGap] = []

    def add(self, gap: AudioGap) -> None:
        """Keep a gap, as one with those of its kind that it touches."""
        apart = []
        for other in self._gaps:
            if (
                other.what == gap.what
                and other.start <= gap.end + MERGE_DISTANCE
                and gap.start <= other.end + MERGE_DISTANCE
            ):
                gap = replace(gap, start=min(gap.start, other.start), end=max(gap.end, other.end))
            else:
                apart.append(other)
        self._gaps = [*apart, gap]

    def to_tuple(self) -> tuple[AudioGap, ...]:
        return tuple(sorted(self._gaps, key=lambda gap: (gap.start, gap.end)))


BLOCK_FRAMES = 4096  # frames: a FLAC file's own; what is lost before damage is less than this
FIRST_SKIP_SECONDS = 0.1  # seconds past damage at which reading is tried again, and then twice as far each time
MAX_JITTER_SECONDS = (
    0.1  # seconds: timestamps that are further off than this are believed, and not the count of samples
)
HEADERLESS_FORMATS = frozenset({"aac", "amr", "mp3", "mpeg"})  # formats that do not tell how long they are

GapCallback = Callable[[AudioGap], None]


class SampleSource(Protocol):
    """Attributes: ``frames`` is what a header says until the end was read."""

    sample_rate: int
    channels: int
    frames: int

    def iter_blocks(self, note: GapCallback) -> Iterator[np.ndarray]:
        """All samples from the first on, float32 (frames, channels); every call begins anew."""
        ...


def open_source(path: Path, note: GapCallback) -> SampleSource:
    """What reads a file: PyAV those of containers' endings, and what libsndfile does not know where PyAV does.

    Raises:
        MoodlineError: the file is missing, empty, no sound, or without any; or PyAV is needed and not installed
    """
    io.check_present(path)
    if io.is_container(path):
        return FFmpegSource(path, note)
    try:
        return LibsndfileSource(path, note)
    except io.READ_ERRORS as error:
        try:
            return FFmpegSource(path, note)
        except MoodlineError:
            raise io.build_unreadable_error(path, error) from error


class LibsndfileSource:
    """What libsndfile reads.

    Raises what it raises where it cannot open the file, and MoodlineError where it holds no samples.
    """

    def __init__(self, path: Path, note: GapCallback) -> None:
        with soundfile.SoundFile(path) as file:
            self.sample_rate, self.channels, self.frames = file.samplerate, file.channels, file.frames
            promise = io.find_length_mismatch(file.extra_info)
        self.path = path
        if self.frames == 0:
            raise _build_empty_error(path)
        if promise is not None:
            _, announced, held = promise
            end = self.frames / self.sample_rate
            note(AudioGap(end, end * announced / max(1, held), TRUNCATED))

    def iter_blocks(self, note: GapCallback) -> Iterator[np.ndarray]:
        at, damaged_at, step = 0, None, 0
        while (damaged_at or 0) + step < self.frames:
            begin = at if damaged_at is None else damaged_at + step
            for samples in self._iter_readable(begin):
                if damaged_at is not None:
                    note(AudioGap(damaged_at / self.sample_rate, begin / self.sample_rate, UNREADABLE))
                    yield from iter_silence(begin - damaged_at, self.channels)
                    at, damaged_at, step = begin, None, 0
                yield samples
                at += len(samples)
            if at >= self.frames:
                break
            if damaged_at is None:
                damaged_at, step = at, round(FIRST_SKIP_SECONDS * self.sample_rate)
            else:
                step *= 2
        if at == 0:
            raise _build_empty_error(self.path)
        if at < self.frames:
            note(AudioGap(at / self.sample_rate, self.frames / self.sample_rate, TRUNCATED))
        self.frames = at

    def _iter_readable(self, begin: int) -> Iterator[np.ndarray]:
        """Blocks from a frame on, until the end or damage; after damage libsndfile wants the file opened anew."""
        try:
            with io.ForwardSoundFile(self.path) as file:
                if begin:
                    file.seek(begin)
                while len(samples := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                    yield samples
        except soundfile.SoundFileError:
            return


class FFmpegSource:
    """The first sound of what FFmpeg reads, placed by its timestamps.

    Raises MoodlineError as ``container.open_container`` does, and where there are no samples.
    """

    def __init__(self, path: Path, note: GapCallback) -> None:
        self.path = path
        with io.open_container(path) as film:
            stream = film.streams.audio[0]
            self.sample_rate, self.channels = stream.rate, stream.channels
            self._announced = self.frames = _count_announced_frames(film, stream)
            self._has_times = film.format.name not in HEADERLESS_FORMATS
        blocks = self.iter_blocks(note)
        next(blocks)  # something can be decoded
        if not self._announced:
            deque(blocks, maxlen=0)  # to the end, which tells how long it is

    def iter_blocks(self, note: GapCallback) -> Iterator[np.ndarray]:
        at, rate, damaged = 0, self.sample_rate, False
        with io.open_container(self.path) as film:
            for samples, position in _iter_frames(film):
                if samples is None:
                    damaged = True
                    continue
                ahead = position - at if position is not None and self._is_plausible(position) else 0
                if damaged or ahead > MAX_JITTER_SECONDS * rate:
                    ahead = max(0, ahead)
                    if damaged or at:  # else the sound begins later than the pictures
                        note(AudioGap(at / rate, (at + ahead) / rate, UNREADABLE))
                    yield from iter_silence(ahead, self.channels)
                    at, damaged = at + ahead, False
                yield samples
                at += len(samples)
        if at == 0:
            raise _build_empty_error(self.path)
        if at < self._announced - MAX_JITTER_SECONDS * rate:
            note(AudioGap(at / rate, self._announced / rate, TRUNCATED))
        self.frames = at

    def _is_plausible(self, position: int) -> bool:
        """Whether a timestamp may be right: damage brings forth any, and a file without a header only guesses."""
        return self._has_times and (not self._announced or position <= self._announced)


def _count_announced_frames(film: Any, stream: Any) -> int:
    """How many frames a container's header tells of; 0 where it does not, and FFmpeg would guess from the rate."""
    if film.format.name in HEADERLESS_FORMATS:
        return 0
    if stream.duration:
        return round(stream.duration * stream.time_base * stream.rate)
    return round(film.duration * stream.rate / 1e6) if film.duration else 0


def _iter_frames(film: Any) -> Iterator[tuple[np.ndarray | None, int | None]]:
    """Samples (frames, channels) and where they belong, in frames, if that is told; None for what cannot be decoded."""
    import av
    from av.error import FFmpegError

    stream = film.streams.audio[0]
    begin = (film.start_time or 0) / 1e6
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    packets = film.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:  # where it begins to be no container any more
            packet = None
        if packet is None:
            return
        try:
            for frame in packet.decode():
                position = None if frame.time is None else round((frame.time - begin) * stream.rate)
                for part in resampler.resample(frame):
                    yield np.ascontiguousarray(part.to_ndarray().T), position
                    position = None
        except (FFmpegError, ValueError):  # ValueError: a frame of another rate or layout than the stream's
            yield None, None


class ArraySource:
    """Samples in memory (T,) or (T, channels): floats, or integers of full scale.

    Raises MoodlineError where they are not that.
    """

    def __init__(self, samples: np.ndarray, sample_rate: int) -> None:
        if samples.ndim not in (1, 2) or samples.dtype.kind not in "fiu":
            raise MoodlineError(
                "a recording in memory must be an array (T,) or (T, channels) of real numbers: it is "
                f"{samples.shape} of {samples.dtype}"
            )
        if sample_rate < 1 or sample_rate % 1:
            raise MoodlineError(f"a sample rate must be a positive whole number of Hz, not {sample_rate}")
        self._samples = samples[:, None] if samples.ndim == 1 else samples
        self.frames, self.channels = self._samples.shape
        self.sample_rate = int(sample_rate)
        if self.frames == 0 or self.channels == 0:
            raise MoodlineError(f"a recording in memory must hold samples: its shape is {samples.shape}")
        if self.channels > self.frames:
            raise MoodlineError(
                "a recording in memory must have a row a sample and a column a channel: its shape is "
                f"{samples.shape}; transpose it"
            )

    def iter_blocks(self, note: GapCallback) -> Iterator[np.ndarray]:
        kind = self._samples.dtype
        middle, scale = (0, 1)
        if kind.kind in "iu":
            scale = 2 ** (8 * kind.itemsize - 1)
            middle = scale if kind.kind == "u" else 0
        for start in range(0, self.frames, BLOCK_FRAMES):
            block = self._samples[start : start + BLOCK_FRAMES]
            yield block.astype(np.float32) if scale == 1 else ((block.astype(float) - middle) / scale).astype("f4")


def iter_silence(frames: int, channels: int) -> Iterator[np.ndarray]:
    for start in range(0, frames, BLOCK_FRAMES):
        yield np.zeros((min(BLOCK_FRAMES, frames - start), channels), dtype=np.float32)


def _build_empty_error(path: Path) -> MoodlineError:
    return MoodlineError(
        f"an audio file must hold samples: {path} has none that can be read; restore it from its source"
    )
