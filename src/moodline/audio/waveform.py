"""Audio files to waveforms: reading a stretch of one, mixing to mono, resampling, and saying what is wrong with it.

A video is decoded whole each time that a stretch of it is read, which suits clips of an utterance each; long ones
are read by recording.py.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr

from moodline.audio import container
from moodline.conversation import AudioClip
from moodline.errors import MoodlineError

# Tools that write WAV to a pipe announce this many bytes of samples (SoX) or more, not knowing how many there will be.
LEAST_UNKNOWN_SIZE = 0x7FFFF000
# What libsndfile notes of a header that promises more than there is: WAV, AIFF, AU and W64 in bytes, RF64 in frames.
PROMISES = {
    "bytes": re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (?P<announced>\d+) \(should be (?P<held>\d+)\)", re.M),
    "frames": re.compile(r"frame count (?P<held>\d+) does not match value from 'ds64' chunk of (?P<announced>\d+)"),
}
# Floating-point files may hold 32-bit integers' numbers; beyond these a filter's energies overflow to infinity.
LOUDEST = 2.0**31
BLOCK = 2**20  # frames
NO_FILE = 7  # libsndfile's number for a file that is missing or none
UNREADABLE = (soundfile.SoundFileError, TypeError)  # TypeError: headerless samples, from the name's ending


class ForwardFile(soundfile.SoundFile):
    """A file that is read on from where it is.

    soundfile seeks to where it is after each read of a file that can seek. From there an MP3's decoder starts anew,
    lacks what frames before held for this one, and says so on standard error for each.
    """

    def seekable(self) -> bool:
        return False

    def go_to(self, frame: int) -> None:
        """Seek to a frame; in an MP3 from a second before, since what is decoded first may lack what others held."""
        before = max(0, frame - self.samplerate) if self.format == "MP3" else frame
        self.seek(before)
        self.read(frame - before)


def read(clip: AudioClip, sample_rate: int) -> np.ndarray:
    """The waveform of a stretch of an audio file: its channels' mean at the sample rate, float32 (T,).

    Within [-1, 1], but for files of floating-point samples that are louder.

    Raises:
        MoodlineError: where the file is missing, empty, unreadable or shorter than the clip, or holds NaN or infinity.
    """
    blocks = list(_blocks(clip))
    waveform = np.concatenate([samples for samples, _ in blocks])
    rate = blocks[0][1]
    return waveform if rate == sample_rate else soxr.resample(waveform, rate, sample_rate)


def check(clip: AudioClip) -> None:
    """Read a clip to its end and keep nothing of it.

    Raises:
        MoodlineError: as ``read`` does.
    """
    for _ in _blocks(clip):
        pass


def _blocks(clip: AudioClip) -> Iterator[tuple[np.ndarray, int]]:
    """A clip's samples, checked: the channels' mean, float32 (frames,), and the file's sample rate, block by block."""
    with _opened(clip.path) as file:
        rate = file.samplerate
        start = round(clip.offset * rate)
        end = start + max(1, round((clip.offset + clip.duration) * rate) - start)
        file.go_to(min(start, file.frames))
        while file.tell() < end:
            at = file.tell()
            samples = file.read(min(BLOCK, end - at), dtype="float32", always_2d=True)  # (frames, channels)
            if len(samples) == 0:
                break
            waveform = samples.mean(axis=1)
            faults = np.flatnonzero(~(np.abs(waveform) <= LOUDEST))  # NaN is not <= anything
            if len(faults):
                raise MoodlineError(
                    f"audio samples must be finite numbers, of sound within [-1, 1]: {clip.path} has "
                    f"{waveform[faults[0]]:g} at {(at + faults[0]) / rate:.3f} s; write the file anew from its source"
                )
            yield waveform, rate
        found = file.tell()
    # Rounding the clip's times may take one frame.
    if found <= start or found < end - 1:
        raise MoodlineError(
            f"an audio file must hold the whole clip: {clip.path} ends at {found / rate:.3f} s, before the clip's end "
            f"at {clip.offset + clip.duration:.3f} s; restore the file, or correct the clip's offset and duration"
        )


def inspect(path: Path) -> AudioClip:
    """The whole of an audio file as a clip, from its header.

    Raises:
        MoodlineError: where the file is missing, empty, unreadable, truncated or without samples.
    """
    with _opened(path) as file:
        frames, rate, notes = file.frames, file.samplerate, file.extra_info
    if frames == 0:
        raise MoodlineError(f"an audio file must hold samples: {path} has none; restore it, or leave its utterance out")
    promise = broken_promise(notes)
    if promise is not None:
        unit, announced, held = promise
        raise MoodlineError(
            f"an audio file must be complete: {path} announces {announced} {unit} of samples and holds {held}; "
            "restore it from its source"
        )
    return AudioClip(path=path, duration=frames / rate, sample_rate=rate)


def broken_promise(notes: str) -> tuple[str, int, int] | None:
    """The unit, how many a header announces and how many there are, from libsndfile's notes; None where it holds."""
    for unit, promise in PROMISES.items():
        found = promise.search(notes)
        if found and int(found["held"]) < int(found["announced"]) < LEAST_UNKNOWN_SIZE:
            return unit, int(found["announced"]), int(found["held"])
    return None


def check_present(path: Path) -> None:
    """Raises MoodlineError where there is no file, or nothing in it."""
    try:
        present = path.is_file()
    except OSError as error:  # such as a name that is too long
        raise MoodlineError(
            f"an audio file must exist: there is no file {path} ({error.strerror}); check the path"
        ) from error
    if not present:
        raise MoodlineError(f"an audio file must exist: there is no file {path}; check the path")
    if path.stat().st_size == 0:
        raise MoodlineError(f"an audio file must hold samples: {path} is empty (0 bytes); restore it from its source")


def unreadable(path: Path, error: Exception) -> MoodlineError:
    """Of a file that is there: libsndfile takes an MP3 without one frame for no file."""
    is_no_mp3 = getattr(error, "code", None) == NO_FILE
    reason = "nothing in it can be decoded" if is_no_mp3 else getattr(error, "error_string", str(error)).rstrip(".")
    return MoodlineError(
        f"an audio file must be WAV, FLAC, OGG, MP3 or alike: {path} is not ({reason}); restore it from its source, or "
        "convert it"
    )


@contextmanager
def _opened(path: Path) -> Iterator[ForwardFile]:
    check_present(path)
    try:
        with ForwardFile(container.as_wav(path) if container.is_container(path) else path) as file:
            yield file
    except UNREADABLE as error:
        raise unreadable(path, error) from error
