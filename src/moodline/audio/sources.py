"""Where a recording's samples come from, forward and block by block: libsndfile, FFmpeg or an array.

Damage is gone round: what comes after it is read, and the gap is noted.
"""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from moodline.audio import container, waveform
from moodline.audio.gaps import NOT_THERE, UNREADABLE, Gap
from moodline.errors import MoodlineError

BLOCK = 4096  # frames: a FLAC file's own; what is lost before damage is less than this
FIRST_STEP = 0.1  # seconds past damage at which reading is tried again, and then twice as far each time
JUMP = 0.1  # seconds: timestamps that are further off than this are believed, and not the count of samples
WITHOUT_HEADER = frozenset({"aac", "amr", "mp3", "mpeg"})  # formats that do not tell how long they are

Note = Callable[[Gap], None]


class Source(Protocol):
    """Attributes: ``frames`` is what a header says until the end was read."""

    sample_rate: int
    channels: int
    frames: int

    def blocks(self, note: Note) -> Iterator[np.ndarray]:
        """All samples from the first on, float32 (frames, channels); every call begins anew."""
        ...


def of_file(path: Path, note: Note) -> Source:
    """What reads a file: PyAV those of containers' endings, and what libsndfile does not know where PyAV does.

    Raises:
        MoodlineError: the file is missing, empty, no sound, or without any; or PyAV is needed and not installed
    """
    waveform.check_present(path)
    if container.is_container(path):
        return Film(path, note)
    try:
        return SoundFile(path, note)
    except waveform.UNREADABLE as error:
        try:
            return Film(path, note)
        except MoodlineError:
            raise waveform.unreadable(path, error) from error


class SoundFile:
    """What libsndfile reads.

    Raises what it raises where it cannot open the file, and MoodlineError where it holds no samples.
    """

    def __init__(self, path: Path, note: Note) -> None:
        with soundfile.SoundFile(path) as file:
            self.sample_rate, self.channels, self.frames = file.samplerate, file.channels, file.frames
            promise = waveform.broken_promise(file.extra_info)
        self.path = path
        if self.frames == 0:
            raise _nothing_in(path)
        if promise is not None:
            _, announced, held = promise
            end = self.frames / self.sample_rate
            note(Gap(end, end * announced / max(1, held), NOT_THERE))

    def blocks(self, note: Note) -> Iterator[np.ndarray]:
        at, damaged_at, step = 0, None, 0
        while (damaged_at or 0) + step < self.frames:
            begin = at if damaged_at is None else damaged_at + step
            for samples in self._readable(begin):
                if damaged_at is not None:
                    note(Gap(damaged_at / self.sample_rate, begin / self.sample_rate, UNREADABLE))
                    yield from silence(begin - damaged_at, self.channels)
                    at, damaged_at, step = begin, None, 0
                yield samples
                at += len(samples)
            if at >= self.frames:
                break
            if damaged_at is None:
                damaged_at, step = at, round(FIRST_STEP * self.sample_rate)
            else:
                step *= 2
        if at == 0:
            raise _nothing_in(self.path)
        if at < self.frames:
            note(Gap(at / self.sample_rate, self.frames / self.sample_rate, NOT_THERE))
        self.frames = at

    def _readable(self, begin: int) -> Iterator[np.ndarray]:
        """Blocks from a frame on, until the end or damage; after damage libsndfile wants the file opened anew."""
        try:
            with waveform.ForwardFile(self.path) as file:
                if begin:
                    file.seek(begin)
                while len(samples := file.read(BLOCK, dtype="float32", always_2d=True)):
                    yield samples
        except soundfile.SoundFileError:
            return


class Film:
    """The first sound of what FFmpeg reads, placed by its timestamps.

    Raises MoodlineError as ``container.opened`` does, and where there are no samples.
    """

    def __init__(self, path: Path, note: Note) -> None:
        self.path = path
        with container.opened(path) as film:
            stream = film.streams.audio[0]
            self.sample_rate, self.channels = stream.rate, stream.channels
            self._announced = self.frames = _announced(film, stream)
            self._has_times = film.format.name not in WITHOUT_HEADER
        blocks = self.blocks(note)
        next(blocks)  # something can be decoded
        if not self._announced:
            deque(blocks, maxlen=0)  # to the end, which tells how long it is

    def blocks(self, note: Note) -> Iterator[np.ndarray]:
        at, rate, damaged = 0, self.sample_rate, False
        with container.opened(self.path) as film:
            for samples, position in _frames(film):
                if samples is None:
                    damaged = True
                    continue
                ahead = position - at if position is not None and self._is_possible(position) else 0
                if damaged or ahead > JUMP * rate:
                    ahead = max(0, ahead)
                    if damaged or at:  # else the sound begins later than the pictures
                        note(Gap(at / rate, (at + ahead) / rate, UNREADABLE))
                    yield from silence(ahead, self.channels)
                    at, damaged = at + ahead, False
                yield samples
                at += len(samples)
        if at == 0:
            raise _nothing_in(self.path)
        if at < self._announced - JUMP * rate:
            note(Gap(at / rate, self._announced / rate, NOT_THERE))
        self.frames = at

    def _is_possible(self, position: int) -> bool:
        """Whether a timestamp may be right: damage brings forth any, and a file without a header only guesses."""
        return self._has_times and (not self._announced or position <= self._announced)


def _announced(film: Any, stream: Any) -> int:
    """How many frames a container's header tells of; 0 where it does not, and FFmpeg would guess from the rate."""
    if film.format.name in WITHOUT_HEADER:
        return 0
    if stream.duration:
        return round(stream.duration * stream.time_base * stream.rate)
    return round(film.duration * stream.rate / 1e6) if film.duration else 0


def _frames(film: Any) -> Iterator[tuple[np.ndarray | None, int | None]]:
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


class Array:
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

    def blocks(self, note: Note) -> Iterator[np.ndarray]:
        kind = self._samples.dtype
        middle, scale = (0, 1)
        if kind.kind in "iu":
            scale = 2 ** (8 * kind.itemsize - 1)
            middle = scale if kind.kind == "u" else 0
        for start in range(0, self.frames, BLOCK):
            block = self._samples[start : start + BLOCK]
            yield block.astype(np.float32) if scale == 1 else ((block.astype(float) - middle) / scale).astype("f4")


def silence(frames: int, channels: int) -> Iterator[np.ndarray]:
    for start in range(0, frames, BLOCK):
        yield np.zeros((min(BLOCK, frames - start), channels), dtype=np.float32)


def _nothing_in(path: Path) -> MoodlineError:
    return MoodlineError(
        f"an audio file must hold samples: {path} has none that can be read; restore it from its source"
    )
