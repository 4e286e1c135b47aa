"""The sound of a video, or of another container that libsndfile does not read, through PyAV (FFmpeg)."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from moodline.errors import MoodlineError
from moodline.wording import to_install

ENDINGS = frozenset(
    {".3gp", ".aac", ".amr", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mkv"}
    | {".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wma", ".wmv"}
)


def is_container(path: Path) -> bool:
    """Whether a file is one that PyAV reads, by its name's ending."""
    return path.suffix.lower() in ENDINGS


def as_wav(path: Path) -> io.BytesIO:
    """The first sound of a container as a WAV file in memory: all of it, its channels and rate as they are.

    Raises:
        MoodlineError: as ``opened`` does
    """
    with opened(path) as container:
        samples, rate = decoded(container)
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="FLOAT")
    wav.seek(0)
    return wav


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """PyAV's container, with sound; what FFmpeg says while it is open is told in a sentence.

    Raises:
        MoodlineError: PyAV is not installed, or the file is none of its formats, is broken or is silent film
    """
    try:
        import av
        from av.error import FFmpegError
    except ModuleNotFoundError as error:
        raise MoodlineError(
            f"the sound of a video is read with PyAV, which is not installed: {path} needs it; "
            f"{to_install('video')}, or convert the file to WAV or FLAC"
        ) from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MoodlineError(f"a video must have sound: {path} has none; restore it, or leave it out")
            yield container
    except (FFmpegError, ValueError, OverflowError) as error:
        raise MoodlineError(
            f"a video must be readable by FFmpeg: {path} is not ({' '.join(str(error).split())}); restore or convert it"
        ) from error


def decoded(container: Any) -> tuple[np.ndarray, int]:
    """The first audio stream's samples (frames, channels) and their rate."""
    import av

    rate = container.streams.audio[0].rate
    resampler = av.AudioResampler(format="fltp", rate=rate)  # planar floats, whatever the codec gives
    frames = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    blocks = [frame.to_ndarray() for frame in (*frames, *resampler.resample(None))]  # each (channels, frames)
    if not blocks:
        return np.zeros((0, 1), dtype=np.float32), rate
    return np.concatenate(blocks, axis=1).T, rate
