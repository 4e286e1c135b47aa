"""A recording of any length, decoded once and then read as often as is needed: memory does not grow with its length."""

import os
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir

import numpy as np
import soxr

from moodline.audio import decoders
from moodline.audio.decoders import NOT_FINITE, AudioGap, GapCollector
from moodline.audio.io import MAX_AMPLITUDE
from moodline.errors import MoodlineError, format_count

BLOCK = 2**16  # frames that are read together
IN_MEMORY = 2**24  # bytes of decoded sound; more goes to a temporary file


class Recording:
    """Sound from a file or an array.

    Nothing is decoded before the sound, its duration or its gaps are asked for; then all of it is, once.

    Attributes:
        name: the file's path, or the name of the array
        path: of the file; None for an array
        sample_rate: in Hz, of the file itself
        channels: of the file itself
    """

    def __init__(
        self,
        blocks: Iterator[decoders.Decoded],
        name: str,
        gaps: GapCollector,
        path: Path | None = None,
        separate: bool = False,
    ) -> None:
        first, self.sample_rate = next(blocks)
        self.name, self.path, self.channels = name, path, first.shape[1]
        self._blocks = chain([first], (samples for samples, _ in blocks))
        self._gaps, self._separate = gaps, separate

    @classmethod
    def open(cls, path: Path, *, separate: bool = False) -> "Recording":
        """A file: WAV, FLAC, OGG and MP3 through libsndfile, and containers with sound through PyAV.

        Args:
            separate: whether single channels can be read, and not only their mean

        Raises:
            MoodlineError: the file is missing, empty, no sound, or without any; or PyAV is needed and not installed
        """
        gaps = GapCollector()
        return cls(decoders.decode(path, gaps.add), str(path), gaps, path, separate)

    @classmethod
    def from_samples(
        cls, samples: np.ndarray, sample_rate: int, name: str = "array", *, separate: bool = False
    ) -> "Recording":
        """An array (T,) or (T, channels): floats within [-1, 1], or integers of full scale.

        Raises:
            MoodlineError: it is no such array, or empty
        """
        return cls(decoders.decode_array(np.asarray(samples), sample_rate), name, GapCollector(), separate=separate)

    @property
    def duration(self) -> float:
        """In seconds."""
        return self._spool.frames / self.sample_rate

    @property
    def gaps(self) -> tuple[AudioGap, ...]:
        """The stretches that cannot be read, in order."""
        return self._gaps.to_tuple() if self._spool.frames else ()  # decoding finds them

    def iter_blocks(self, sample_rate: int, channel: int | None = None) -> Iterator[np.ndarray]:
        """All of it in blocks, float32 (frames,) each, some of them empty, at the sample rate.

        Args:
            channel: from 0; None for the mean of all

        Raises:
            MoodlineError: there is no such channel, or nothing can be decoded
        """
        starts = range(0, self._spool.frames, BLOCK)
        blocks = (self._mono(start, min(start + BLOCK, self._spool.frames), channel) for start in starts)
        if sample_rate == self.sample_rate:
            yield from blocks
            return
        resampler = soxr.ResampleStream(self.sample_rate, sample_rate, 1, dtype="float32")
        for block in blocks:
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)

    def clip(self, start: float, end: float, sample_rate: int, channel: int | None = None) -> np.ndarray:
        """The waveform from start to end, in seconds, float32 (T,) at the sample rate; silent beyond the recording.

        Args:
            channel: from 0; None for the mean of all

        Raises:
            MoodlineError: there is no such channel, or nothing can be decoded
            ValueError: it ends before it starts
        """
        if not 0 <= start <= end < np.inf:
            raise ValueError(f"a clip starts at 0 or later and ends after that: {start} to {end}")
        first = round(start * self.sample_rate)
        waveform = self._mono(first, max(first + 1, round(end * self.sample_rate)), channel)
        return waveform if sample_rate == self.sample_rate else soxr.resample(waveform, self.sample_rate, sample_rate)

    def _mono(self, first: int, last: int, channel: int | None) -> np.ndarray:
        """Frames first to last (last - first,), zeros after the end."""
        if channel is None:
            samples = self._spool.read(first, last)
            return samples.mean(axis=1) if self._separate else samples[:, 0]
        if not self._separate:
            raise ValueError(f"the channels of {self.name} are mixed: open it with separate=True")
        if not 0 <= channel < self.channels:
            raise MoodlineError(
                f"a channel must be one of the recording's: {self.name} has {format_count(self.channels, 'channel')}, "
                f"and no channel {channel + 1}"
            )
        return np.ascontiguousarray(self._spool.read(first, last)[:, channel])

    @cached_property
    def _spool(self) -> "Spool":
        """All samples, their mean unless the channels are separate; silence where they are no finite numbers."""
        spool = Spool(self.channels if self._separate else 1, self.name)
        for samples in self._blocks:
            faults = ~(np.abs(samples) <= MAX_AMPLITUDE)  # NaN is not <= anything
            if faults.any():
                rows = spool.frames + np.flatnonzero(faults.any(axis=1))
                first, last = float(rows[0] / self.sample_rate), float((rows[-1] + 1) / self.sample_rate)
                self._gaps.add(AudioGap(first, last, NOT_FINITE))
                samples = np.where(faults, np.float32(0), samples)
            spool.append(samples if self._separate else samples.mean(axis=1, keepdims=True))
        return spool


class Spool:
    """Decoded samples, float32 (frames, columns), in memory as long as they are few, then in a temporary file.

    The file has no name (where the system allows that), so that none is left however the process ends.

    Attributes:
        frames: how many it holds
    """

    def __init__(self, columns: int, name: str) -> None:
        self.frames = 0
        self._columns, self._name, self._folder = columns, name, folder_of_large_files()
        self._file = SpooledTemporaryFile(IN_MEMORY, dir=self._folder)  # noqa: SIM115  # as long as this lives

    def append(self, samples: np.ndarray) -> None:
        """Add samples (n, columns), before any is read.

        Raises:
            MoodlineError: the temporary file cannot be written, as on a full disk
        """
        try:
            self._file.write(np.ascontiguousarray(samples, dtype=np.float32).data)
            self._file.flush()
        except OSError as error:
            raise MoodlineError(
                f"the decoded sound of {self._name} cannot be written to {self._folder or gettempdir()}: "
                f"{error.strerror or error}; free space there, or set TMPDIR to another folder"
            ) from error
        self.frames += len(samples)

    def read(self, first: int, last: int) -> np.ndarray:
        """Frames first to last (last - first, columns), zeros after the end."""
        samples = np.zeros((last - first, self._columns), dtype=np.float32)
        self._file.seek(min(first, self.frames) * samples.itemsize * self._columns)
        self._file.readinto(samples.data.cast("B"))
        return samples


def folder_of_large_files() -> str | None:
    """The folder for a temporary file of gigabytes: /tmp is in memory on many systems. None for tempfile's own choice.

    The environment's choice comes first.
    """
    is_chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return None if is_chosen or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


def open_recording(
    source: str | Path | np.ndarray, sample_rate: int | None = None, *, separate: bool = False
) -> Recording:
    """A file, or samples at a rate.

    Raises:
        MoodlineError: samples come without their rate, or a file with one; or as of ``Recording``
    """
    if isinstance(source, np.ndarray):
        if sample_rate is None:
            raise MoodlineError("samples need their rate: give sample_rate, in Hz")
        return Recording.from_samples(source, sample_rate, separate=separate)
    if not isinstance(source, str | Path):
        raise MoodlineError(
            f"a recording is a file's path or an array with its rate, not {type(source).__name__}; several are "
            "labelled with recognise_all"
        )
    if sample_rate is not None:
        raise MoodlineError(f"a file has its own rate: leave out sample_rate={sample_rate} for {source}")
    return Recording.open(Path(source), separate=separate)
