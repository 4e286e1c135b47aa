"""Recordings of any length, decoded once and then read as often as needed, in bounded memory."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any

import numpy as np
import soundfile
import soxr

from moodline.audio import io
from moodline.errors import MoodlineError

BLOCK = 2**16  # frames that are read together
DECODED_BLOCK = 4096  # frames, a FLAC file's own: less than this is lost before damage
IN_MEMORY = 2**24  # bytes of decoded sound; more goes to a temporary file
MERGE_DISTANCE = 0.1  # seconds: closer gaps are merged
FIRST_SKIP = 0.1  # seconds after damage at which reading is tried again, then twice as far each time
MAX_JITTER = 0.1  # seconds: timestamps that differ more from the count of samples are believed
HEADERLESS_FORMATS = frozenset({"aac", "amr", "mp3", "mpeg"})  # formats whose header has no length

UNREADABLE = "cannot be read; silence replaces it"
NOT_FINITE = "has samples that are not finite numbers; silence replaces them"
TRUNCATED = "is missing; the file breaks off"

Decoded = tuple[np.ndarray, int]
"""Samples, float32 (frames, channels), and their rate in Hz, the same in all blocks."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of a recording that cannot be read, and the reason."""

    start: float  # in seconds
    end: float  # the start, if the length of the damage is unknown
    reason: str  # the end of a sentence

    def __str__(self) -> str:
        return f"{self.start:.3f} s to {self.end:.3f} s {self.reason}"


class Recording:
    """Sound from a file or an array, with its own rate in Hz and its channels.

    All of it is decoded, once, when the sound, its duration or its gaps are first asked for.
    """

    def __init__(
        self,
        blocks: Iterator[Decoded],
        name: str,
        gaps: list[Gap],
        path: Path | None = None,
        separate: bool = False,
    ) -> None:
        first, self.sample_rate = next(blocks, (None, 0))
        if first is None:
            raise MoodlineError(f"nothing in {name} can be decoded: restore it", code="audio.no_samples")
        self.name, self.path, self.channels = name, path, first.shape[1]
        self._blocks = chain([first], (samples for samples, _ in blocks))
        self._gaps, self._separate = gaps, separate
        # Many systems keep /tmp in memory: without a choice by the user, gigabytes go to /var/tmp.
        is_chosen = any(os.environ.get(variable) for variable in ("TMPDIR", "TEMP", "TMP"))
        self._folder = None if is_chosen or not os.access("/var/tmp", os.W_OK) else "/var/tmp"
        # It has no name, where the system allows that, and disappears however the process ends.
        self._file = SpooledTemporaryFile(IN_MEMORY, dir=self._folder)  # noqa: SIM115  # as long as this lives

    @classmethod
    def open(cls, path: Path, *, separate: bool = False) -> "Recording":
        """Open a file of audio or video; its channels are mixed unless they are ``separate``.

        PyAV decodes it if its ending is a container's or libsndfile does not know its content, else libsndfile.
        """
        io.check_present(path)
        gaps: list[Gap] = []
        if path.suffix.lower() in io.CONTAINER_SUFFIXES:
            blocks = decode_container(path, gaps.append)
        else:
            try:
                blocks = decode_sound_file(io.ForwardSoundFile(path), path, gaps.append)
            except io.READ_ERRORS as error:
                blocks = decode_other_file(path, gaps.append, error)
        return cls(blocks, str(path), gaps, path, separate)

    @classmethod
    def from_samples(
        cls, samples: np.ndarray, sample_rate: int, name: str = "array", *, separate: bool = False
    ) -> "Recording":
        """Open an array (T,) or (T, channels): floats within [-1, 1], or integers of full scale."""
        return cls(decode_array(np.asarray(samples), sample_rate), name, [], separate=separate)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Return the parts that cannot be read, in order; those that touch and have one reason are merged."""
        merged: list[Gap] = []
        found = self._gaps if self.duration else ()  # decoding finds them
        for gap in sorted(found, key=lambda gap: (gap.reason, gap.start)):
            last = merged[-1] if merged else gap
            if last.reason == gap.reason and gap.start <= last.end + MERGE_DISTANCE:
                merged[-1:] = [replace(last, end=max(last.end, gap.end))]
            else:
                merged.append(gap)
        return tuple(sorted(merged, key=lambda gap: (gap.start, gap.end)))

    def iter_blocks(self, sample_rate: int, channel: int | None = None) -> Iterator[np.ndarray]:
        """Iterate over a channel, or their mean, in blocks, float32 (frames,), some of them empty, at a sample rate."""
        rate, frames = self.sample_rate, round(self.duration * self.sample_rate)
        starts = range(0, frames, BLOCK)
        blocks = (self.clip(start / rate, min(start + BLOCK, frames) / rate, rate, channel) for start in starts)
        if sample_rate == rate:
            yield from blocks
            return
        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
        for block in blocks:
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)

    def clip(self, start: float, end: float, sample_rate: int, channel: int | None = None) -> np.ndarray:
        """Return a channel or their mean from start to end in seconds, float32 (T,) at a rate; silent after the end."""
        if not 0 <= start <= end < np.inf:
            raise ValueError(f"a clip starts at 0 or later and ends after that: {start} to {end}")
        if channel is not None and not (self._separate and 0 <= channel < self.channels):
            raise ValueError(f"{self.name} has no separate channel {channel} of {self.channels}")
        first, last, frames = (round(seconds * self.sample_rate) for seconds in (start, end, self.duration))
        samples = np.zeros((max(1, last - first), self.channels if self._separate else 1), dtype=np.float32)
        self._file.seek(min(first, frames) * samples[:1].nbytes)
        self._file.readinto(samples.data.cast("B"))
        if channel is not None:
            waveform = np.ascontiguousarray(samples[:, channel])
        else:
            waveform = samples.mean(axis=1) if self._separate else samples[:, 0]
        return waveform if sample_rate == self.sample_rate else soxr.resample(waveform, self.sample_rate, sample_rate)

    @cached_property
    def duration(self) -> float:
        """Decode all samples to the temporary file, and return their duration in seconds.

        The file has the channels' mean unless they are separate, float32; samples that are not finite become silence.
        """
        frames = 0
        for samples in self._blocks:
            faults = ~(np.abs(samples) <= io.MAX_AMPLITUDE)  # NaN is not <= anything
            if faults.any():
                rows = (frames + np.flatnonzero(faults.any(axis=1))).tolist()
                self._gaps.append(Gap(rows[0] / self.sample_rate, (rows[-1] + 1) / self.sample_rate, NOT_FINITE))
                samples = np.where(faults, np.float32(0), samples)
            kept = samples if self._separate else samples.mean(axis=1, keepdims=True)
            try:
                self._file.write(np.ascontiguousarray(kept, dtype=np.float32).data)
                self._file.flush()
            except OSError as error:
                raise MoodlineError(
                    f"the sound of {self.name} cannot be written to {self._folder or gettempdir()} "
                    f"({error.strerror}): free space there, or set TMPDIR to another folder",
                    code="audio.no_space",
                ) from error
            frames += len(samples)
        return frames / self.sample_rate


def open_recording(
    source: str | Path | np.ndarray, sample_rate: int | None = None, *, separate: bool = False
) -> Recording:
    """Open a file, or samples at a rate."""
    if not isinstance(source, str | Path | np.ndarray):
        kind = type(source).__name__
        raise MoodlineError(f"a recording is a file's path or an array, not {kind}", code="audio.not_a_recording")
    if isinstance(source, np.ndarray):
        if sample_rate is None:
            raise MoodlineError("samples need their rate: give sample_rate, in Hz", code="audio.no_rate")
        return Recording.from_samples(source, sample_rate, separate=separate)
    if sample_rate is not None:
        raise MoodlineError(f"{source} has a rate: leave out sample_rate={sample_rate}", code="audio.unfit_rate")
    return Recording.open(Path(source), separate=separate)


def decode_other_file(path: Path, note: Callable[[Gap], None], error: Exception) -> Iterator[Decoded]:
    """Decode with PyAV what libsndfile refused with an error; raise that one if PyAV refuses it too."""
    try:
        yield from decode_container(path, note)
    except MoodlineError:
        raise io.build_unreadable_error(path, error) from error


def decode_sound_file(file: io.ForwardSoundFile, path: Path, note: Callable[[Gap], None]) -> Iterator[Decoded]:
    """Decode what libsndfile has opened, and close it."""
    rate, frames = file.samplerate, file.frames
    mismatch = io.find_length_mismatch(file.extra_info)
    if frames and mismatch is not None:
        _, announced, held = mismatch
        note(Gap(frames / rate, frames / rate * announced / max(1, held), TRUNCATED))
    at = begin = skip = 0
    while begin < frames:
        try:
            # After damage libsndfile needs the file opened anew.
            with io.ForwardSoundFile(path) if begin else file as opened:
                if begin:
                    opened.seek(begin)
                while len(samples := opened.read(DECODED_BLOCK, dtype="float32", always_2d=True)):
                    if begin > at:
                        note(Gap(at / rate, begin / rate, UNREADABLE))
                        yield from iter_silence(begin - at, file.channels, rate)
                    yield samples, rate
                    at = begin = begin + len(samples)
                    skip = 0
        except soundfile.SoundFileError:
            pass
        if at >= frames:
            break
        skip = 2 * skip or round(FIRST_SKIP * rate)
        begin = at + skip
    file.close()
    if 0 < at < frames:
        note(Gap(at / rate, frames / rate, TRUNCATED))


def decode_container(path: Path, note: Callable[[Gap], None]) -> Iterator[Decoded]:
    """Decode the first audio stream that FFmpeg finds, placed by its timestamps; errors as in ``io.open_container``."""
    at, is_damaged = 0, False
    with io.open_container(path) as container:
        stream = container.streams.audio[0]
        rate, has_length = stream.rate, container.format.name not in HEADERLESS_FORMATS
        seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / 1e6
        announced = round(seconds * rate) if has_length else 0  # else FFmpeg guesses from the bit rate
        for samples, position in iter_frames(container):
            if samples is None:
                is_damaged = True
                continue
            # After damage a timestamp may be anything, and those of files without a header are guesses.
            if position is None or not has_length or 0 < announced < position:
                position = at
            if is_damaged or position - at > MAX_JITTER * rate:
                ahead = max(0, position - at)
                if is_damaged or at:  # else the sound begins later than the pictures
                    note(Gap(at / rate, (at + ahead) / rate, UNREADABLE))
                yield from iter_silence(ahead, stream.channels, rate)
                at, is_damaged = at + ahead, False
            yield samples, rate
            at += len(samples)
    if 0 < at < announced - MAX_JITTER * rate:
        note(Gap(at / rate, announced / rate, TRUNCATED))


def iter_frames(container: Any) -> Iterator[tuple[np.ndarray | None, int | None]]:
    """Iterate over samples (frames, channels) and their position in frames, if known; None for undecodable ones."""
    import av
    from av.error import FFmpegError

    stream = container.streams.audio[0]
    begin = (container.start_time or 0) / 1e6
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    position = None if frame.time is None else round((frame.time - begin) * stream.rate)
                    for part in resampler.resample(frame):
                        yield np.ascontiguousarray(part.to_ndarray().T), position
                        position = None
            except (FFmpegError, ValueError):  # ValueError: a frame of another rate or layout than the stream's
                yield None, None
    except FFmpegError:  # the rest of the file is not a container
        return


def decode_array(samples: np.ndarray, sample_rate: int) -> Iterator[Decoded]:
    """Decode samples in memory (T,) or (T, channels): floats, or integers of full scale."""
    is_sound = samples.ndim in (1, 2) and samples.size > 0 and samples.dtype.kind in "fiu"
    if not is_sound or samples.shape[-1] > samples.shape[0]:
        raise MoodlineError(
            f"the array has shape {samples.shape} and type {samples.dtype}: give real numbers (T,) or (T, channels)",
            code="audio.bad_array",
        )
    if not isinstance(sample_rate, int | float | np.number) or sample_rate < 1 or sample_rate % 1:
        raise MoodlineError(f"a sample rate is a whole number of Hz, not {sample_rate!r}", code="audio.bad_rate")
    columns = samples.reshape(len(samples), -1)  # (T,) or (T, channels) -> (T, channels)
    kind, scale = samples.dtype.kind, 2.0 ** (8 * samples.dtype.itemsize - 1)
    for start in range(0, len(columns), DECODED_BLOCK):
        block = columns[start : start + DECODED_BLOCK]
        if kind != "f":
            block = (block.astype(float) - (scale if kind == "u" else 0)) / scale
        yield block.astype(np.float32), int(sample_rate)


def iter_silence(frames: int, channels: int, sample_rate: int) -> Iterator[Decoded]:
    for start in range(0, frames, DECODED_BLOCK):
        yield np.zeros((min(DECODED_BLOCK, frames - start), channels), dtype=np.float32), sample_rate
