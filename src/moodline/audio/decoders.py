"""Decoders of recordings, forward and block by block: libsndfile, FFmpeg or an array."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
Decoded = tuple[np.ndarray, int]
"""Samples, float32 (frames, channels), and their rate in Hz, which no block changes."""


def decode(path: Path, note: GapCallback) -> Iterator[Decoded]:
    """Decode a file: with PyAV where its ending is a container's or libsndfile does not know it, else with libsndfile.

    Raises:
        MoodlineError: the file is missing, empty, no sound, or without any; or PyAV is needed and not installed
    """
    io.check_present(path)
    if io.is_container(path):
        yield from decode_film(path, note)
        return
    try:
        file = io.ForwardSoundFile(path)
    except io.READ_ERRORS as error:
        film = decode_film(path, note)
        try:
            first = next(film)
        except MoodlineError:
            raise io.build_unreadable_error(path, error) from error
        yield first
        yield from film
    else:
        yield from decode_sound_file(file, path, note)


def decode_sound_file(file: io.ForwardSoundFile, path: Path, note: GapCallback) -> Iterator[Decoded]:
    """Decode what libsndfile has opened, and close it.

    Raises:
        MoodlineError: there are no samples
    """
    rate, channels, frames = file.samplerate, file.channels, file.frames
    promise = io.find_length_mismatch(file.extra_info)
    if frames and promise is not None:
        _, announced, held = promise
        note(AudioGap(frames / rate, frames / rate * announced / max(1, held), TRUNCATED))
    at = begin = step = 0
    while begin < frames:
        for samples in _readable(path, begin, file):
            if begin > at:
                note(AudioGap(at / rate, begin / rate, UNREADABLE))
                yield from iter_silence(begin - at, channels, rate)
            yield samples, rate
            at = begin = begin + len(samples)
            step = 0
        if at >= frames:
            break
        step = 2 * step or round(FIRST_SKIP_SECONDS * rate)
        begin = at + step
    file.close()
    if at == 0:
        raise _build_empty_error(path)
    if at < frames:
        note(AudioGap(at / rate, frames / rate, TRUNCATED))


def _readable(path: Path, begin: int, file: io.ForwardSoundFile) -> Iterator[np.ndarray]:
    """Blocks from a frame on, until the end or damage; after damage libsndfile needs the file opened anew."""
    try:
        with io.ForwardSoundFile(path) if begin else file as opened:
            if begin:
                opened.seek(begin)
            while len(samples := opened.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield samples
    except soundfile.SoundFileError:
        return


def decode_film(path: Path, note: GapCallback) -> Iterator[Decoded]:
    """Decode the first sound of what FFmpeg reads, placed by its timestamps.

    Raises:
        MoodlineError: as ``container.open_container`` does, or there are no samples
    """
    at, damaged = 0, False
    with io.open_container(path) as film:
        stream = film.streams.audio[0]
        rate, channels, announced = stream.rate, stream.channels, _count_announced_frames(film, stream)
        has_times = film.format.name not in HEADERLESS_FORMATS
        for samples, position in _iter_frames(film):
            if samples is None:
                damaged = True
                continue
            # After damage a timestamp may be anything, and a file without a header only guesses.
            if position is None or not has_times or 0 < announced < position:
                position = at
            if damaged or position - at > MAX_JITTER_SECONDS * rate:
                ahead = max(0, position - at)
                if damaged or at:  # else the sound begins later than the pictures
                    note(AudioGap(at / rate, (at + ahead) / rate, UNREADABLE))
                yield from iter_silence(ahead, channels, rate)
                at, damaged = at + ahead, False
            yield samples, rate
            at += len(samples)
    if at == 0:
        raise _build_empty_error(path)
    if at < announced - MAX_JITTER_SECONDS * rate:
        note(AudioGap(at / rate, announced / rate, TRUNCATED))


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


def decode_array(samples: np.ndarray, sample_rate: int) -> Iterator[Decoded]:
    """Decode samples in memory (T,) or (T, channels): floats, or integers of full scale.

    Raises:
        MoodlineError: they are not that, or empty
    """
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fiu":
        raise MoodlineError(
            "a recording in memory must be an array (T,) or (T, channels) of real numbers: it is "
            f"{samples.shape} of {samples.dtype}"
        )
    if sample_rate < 1 or sample_rate % 1:
        raise MoodlineError(f"a sample rate must be a positive whole number of Hz, not {sample_rate}")
    if samples.size == 0:
        raise MoodlineError(f"a recording in memory must hold samples: its shape is {samples.shape}")
    samples = samples.reshape(len(samples), -1)  # (T,) or (T, channels) -> (T, channels)
    if samples.shape[1] > len(samples):
        raise MoodlineError(
            "a recording in memory must have a row a sample and a column a channel: its shape is "
            f"{samples.shape}; transpose it"
        )
    kind, scale = samples.dtype, 2.0 ** (8 * samples.dtype.itemsize - 1)
    for start in range(0, len(samples), BLOCK_FRAMES):
        block = samples[start : start + BLOCK_FRAMES]
        if kind.kind != "f":
            block = (block.astype(float) - (scale if kind.kind == "u" else 0)) / scale
        yield block.astype(np.float32), int(sample_rate)


def iter_silence(frames: int, channels: int, sample_rate: int) -> Iterator[Decoded]:
    for start in range(0, frames, BLOCK_FRAMES):
        yield np.zeros((min(BLOCK_FRAMES, frames - start), channels), dtype=np.float32), sample_rate


def _build_empty_error(path: Path) -> MoodlineError:
    return MoodlineError(
        f"an audio file must hold samples: {path} has none that can be read; restore it from its source",
        code="audio.no_samples",
    )
