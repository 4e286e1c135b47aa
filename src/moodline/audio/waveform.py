"""Audio files to waveforms: reading a stretch of one, mixing to mono, resampling, and saying what is wrong with it.

A video is decoded whole each time that a stretch of it is read, which suits clips of an utterance each; long films
are better converted once.
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


def read(clip: AudioClip, sample_rate: int) -> np.ndarray:
    """The waveform of a stretch of an audio file: its channels' mean at the sample rate, float32 (T,) in [-1, 1].

    Raises:
        MoodlineError: where the file is missing, empty, unreadable or shorter than the clip, or holds NaN or infinity.
    """
    with _opened(clip.path) as file:
        rate = file.samplerate
        start = round(clip.offset * rate)
        count = max(1, round((clip.offset + clip.duration) * rate) - start)
        file.seek(min(start, file.frames))
        samples = file.read(count, dtype="float32", always_2d=True)  # (frames, channels)
        end = file.tell() / rate
    # Rounding the clip's times may take one frame.
    if len(samples) < max(1, count - 1):
        raise MoodlineError(
            f"an audio file must hold the whole clip: {clip.path} ends at {end:.3f} s, before the clip's end at "
            f"{clip.offset + clip.duration:.3f} s; restore the file, or correct the clip's offset and duration"
        )
    waveform = samples.mean(axis=1)
    faults = np.flatnonzero(~np.isfinite(waveform))
    if len(faults):
        raise MoodlineError(
            f"audio samples must be finite numbers: {clip.path} has {waveform[faults[0]]} at "
            f"{(start + faults[0]) / rate:.3f} s; write the file anew from its source"
        )
    if rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate)
    return waveform


def inspect(path: Path) -> AudioClip:
    """The whole of an audio file as a clip, from its header.

    Raises:
        MoodlineError: where the file is missing, empty, unreadable, truncated or without samples.
    """
    with _opened(path) as file:
        frames, rate, notes = file.frames, file.samplerate, file.extra_info
    truncated = re.search(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", notes, re.MULTILINE)
    if frames == 0:
        raise MoodlineError(f"an audio file must hold samples: {path} has none; restore it, or leave its utterance out")
    if truncated and int(truncated[1]) < LEAST_UNKNOWN_SIZE:
        raise MoodlineError(
            f"an audio file must be complete: {path} announces {truncated[1]} bytes of samples and holds "
            f"{truncated[2]}; restore it from its source"
        )
    return AudioClip(path=path, duration=frames / rate, sample_rate=rate)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.is_file():
        raise MoodlineError(f"an audio file must exist: there is no file {path}; check the path")
    if path.stat().st_size == 0:
        raise MoodlineError(f"an audio file must hold samples: {path} is empty (0 bytes); restore it from its source")
    try:
        with soundfile.SoundFile(container.as_wav(path) if container.is_container(path) else path) as file:
            yield file
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless samples, from the name's ending
        raise MoodlineError(
            f"an audio file must be readable by libsndfile (WAV, FLAC, OGG, MP3): {path} is not ({error}); convert it"
        ) from error
