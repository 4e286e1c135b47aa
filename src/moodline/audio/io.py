"""Audio files to waveforms: reading, mixing to mono, resampling, and diagnosing faults."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from moodline.conversation import AudioClip
from moodline.errors import MoodlineError, format_install_hint

CONTAINER_SUFFIXES = frozenset(
    {".3gp", ".aac", ".amr", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mkv"}
    | {".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wma", ".wmv"}
)

# The demuxers of these files. Others, for playlists and lists of files, would open what the file names.
DEMUXERS = "aac,amr,asf,avi,flv,matroska,mov,mp3,mpeg,mpegts,mpegvideo,ogg,wav"
# FFmpeg opens what it is given by a protocol, http and concat among them: a file, and nothing that a file refers to.
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS}


def is_container(path: Path) -> bool:
    """Whether a file is one that PyAV reads, by its name's ending."""
    return path.suffix.lower() in CONTAINER_SUFFIXES


def decode_to_wav(path: Path) -> io.BytesIO:
    """The first sound of a container as a WAV file in memory: all of it, its channels and rate as they are.

    Raises:
        MoodlineError: as ``open_container`` does
    """
    with open_container(path) as container:
        samples, rate = decode_audio_stream(container)
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="FLOAT")
    wav.seek(0)
    return wav


@contextmanager
def open_container(path: Path) -> Iterator[Any]:
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
            f"{format_install_hint('video')}, or convert the file to WAV or FLAC",
            code="audio.missing_extra",
        ) from error
    try:
        with av.open(f"file:{path}", options=OPTIONS) as container:
            if not container.streams.audio:
                raise MoodlineError(
                    f"a video must have sound: {path} has none; restore it, or leave it out", code="audio.no_sound"
                )
            yield container
    except (FFmpegError, ValueError, OverflowError) as error:
        raise MoodlineError(
            f"a video must be readable by FFmpeg: {path} is not ({' '.join(str(error).split())}); restore or "
            "convert it",
            code="audio.unreadable",
        ) from error


def decode_audio_stream(container: Any) -> tuple[np.ndarray, int]:
    """The first audio stream's samples (frames, channels) and their rate."""
    import av

    rate = container.streams.audio[0].rate
    resampler = av.AudioResampler(format="fltp", rate=rate)  # planar floats, whatever the codec gives
    frames = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    blocks = [frame.to_ndarray() for frame in (*frames, *resampler.resample(None))]  # each (channels, frames)
    if not blocks:
        return np.zeros((0, 1), dtype=np.float32), rate
    return np.concatenate(blocks, axis=1).T, rate


# Tools that write WAV to a pipe announce this many bytes of samples (SoX) or more, not knowing how many there will be.
MIN_UNKNOWN_SIZE = 0x7FFFF000
# What libsndfile notes of a header that promises more than there is: WAV, AIFF, AU and W64 in bytes, RF64 in frames.
ANNOUNCED_LENGTHS = {
    "bytes": re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (?P<announced>\d+) \(should be (?P<held>\d+)\)", re.M),
    "frames": re.compile(r"frame count (?P<held>\d+) does not match value from 'ds64' chunk of (?P<announced>\d+)"),
}
# Floating-point files may hold 32-bit integers' numbers; beyond these a filter's energies overflow to infinity.
MAX_AMPLITUDE = 2.0**31
BLOCK_FRAMES = 2**20  # frames
UNRECOGNISED_FORMAT = 7  # libsndfile's number for a file that is missing or none
READ_ERRORS = (soundfile.SoundFileError, TypeError)  # TypeError: headerless samples, from the name's ending


class ForwardSoundFile(soundfile.SoundFile):
    """A file that is read on from where it is.

    soundfile seeks to where it is after each read of a file that can seek. From there an MP3's decoder starts anew,
    lacks what frames before held for this one, and says so on standard error for each.
    """

    def seekable(self) -> bool:
        return False

    def seek_frame(self, frame: int) -> None:
        """Seek to a frame; in an MP3 from a second before, since what is decoded first may lack what others held."""
        before = max(0, frame - self.samplerate) if self.format == "MP3" else frame
        self.seek(before)
        self.read(frame - before)


def read_clip(clip: AudioClip, sample_rate: int) -> np.ndarray:
    """The waveform of a stretch of an audio file: its channels' mean at the sample rate, float32 (T,).

    Within [-1, 1], but for files of floating-point samples that are louder.

    Raises:
        MoodlineError: where the file is missing, empty, unreadable or shorter than the clip, or holds NaN or infinity.
    """
    blocks = list(_iter_blocks(clip))
    waveform = np.concatenate([samples for samples, _ in blocks])
    rate = blocks[0][1]
    return waveform if rate == sample_rate else soxr.resample(waveform, rate, sample_rate)


def check_clip(clip: AudioClip) -> None:
    """Read a clip to its end and keep nothing of it.

    Raises:
        MoodlineError: as ``read_clip`` does.
    """
    for _ in _iter_blocks(clip):
        pass


def _iter_blocks(clip: AudioClip) -> Iterator[tuple[np.ndarray, int]]:
    """A clip's samples, checked: the channels' mean, float32 (frames,), and the file's sample rate, block by block."""
    with _open_file(clip.path) as file:
        rate = file.samplerate
        start = round(clip.offset * rate)
        end = start + max(1, round((clip.offset + clip.duration) * rate) - start)
        file.seek_frame(min(start, file.frames))
        while file.tell() < end:
            at = file.tell()
            samples = file.read(min(BLOCK_FRAMES, end - at), dtype="float32", always_2d=True)  # (frames, channels)
            if len(samples) == 0:
                break
            waveform = samples.mean(axis=1)
            faults = np.flatnonzero(~(np.abs(waveform) <= MAX_AMPLITUDE))  # NaN is not <= anything
            if len(faults):
                raise MoodlineError(
                    f"audio samples must be finite numbers, of sound within [-1, 1]: {clip.path} has "
                    f"{waveform[faults[0]]:g} at {(at + faults[0]) / rate:.3f} s; write the file anew from its source",
                    code="audio.not_finite",
                )
            yield waveform, rate
        found = file.tell()
    # Rounding the clip's times may take one frame.
    if found <= start or found < end - 1:
        raise MoodlineError(
            f"an audio file must hold the whole clip: {clip.path} ends at {found / rate:.3f} s, before the clip's end "
            f"at {clip.offset + clip.duration:.3f} s; restore the file, or correct the clip's offset and duration",
            code="audio.short_file",
        )


def inspect_file(path: Path) -> AudioClip:
    """The whole of an audio file as a clip, from its header.

    Raises:
        MoodlineError: where the file is missing, empty, unreadable, truncated or without samples.
    """
    with _open_file(path) as file:
        frames, rate, notes = file.frames, file.samplerate, file.extra_info
    if frames == 0:
        raise MoodlineError(
            f"an audio file must hold samples: {path} has none; restore it, or leave its utterance out",
            code="audio.no_samples",
        )
    promise = find_length_mismatch(notes)
    if promise is not None:
        unit, announced, held = promise
        raise MoodlineError(
            f"an audio file must be complete: {path} announces {announced} {unit} of samples and holds {held}; "
            "restore it from its source",
            code="audio.truncated",
        )
    return AudioClip(path=path, duration=frames / rate, sample_rate=rate)


def find_length_mismatch(notes: str) -> tuple[str, int, int] | None:
    """The unit, how many a header announces and how many there are, from libsndfile's notes; None where it holds."""
    for unit, promise in ANNOUNCED_LENGTHS.items():
        found = promise.search(notes)
        if found and int(found["held"]) < int(found["announced"]) < MIN_UNKNOWN_SIZE:
            return unit, int(found["announced"]), int(found["held"])
    return None


def check_present(path: Path) -> None:
    """Raises MoodlineError where there is no file, or nothing in it."""
    try:
        present = path.is_file()
    except OSError as error:  # such as a name that is too long
        raise MoodlineError(
            f"an audio file must exist: there is no file {path} ({error.strerror}); check the path",
            code="audio.missing_file",
        ) from error
    if not present:
        raise MoodlineError(
            f"an audio file must exist: there is no file {path}; check the path", code="audio.missing_file"
        )
    if path.stat().st_size == 0:
        raise MoodlineError(
            f"an audio file must hold samples: {path} is empty (0 bytes); restore it from its source",
            code="audio.empty_file",
        )


def build_unreadable_error(path: Path, error: Exception) -> MoodlineError:
    """Of a file that is there: libsndfile takes an MP3 without one frame for no file."""
    is_no_mp3 = getattr(error, "code", None) == UNRECOGNISED_FORMAT
    reason = "nothing in it can be decoded" if is_no_mp3 else getattr(error, "error_string", str(error)).rstrip(".")
    return MoodlineError(
        f"an audio file must be WAV, FLAC, OGG, MP3 or alike: {path} is not ({reason}); restore it from its source, or "
        "convert it",
        code="audio.unreadable",
    )


@contextmanager
def _open_file(path: Path) -> Iterator[ForwardSoundFile]:
    check_present(path)
    try:
        with ForwardSoundFile(decode_to_wav(path) if is_container(path) else path) as file:
            yield file
    except READ_ERRORS as error:
        raise build_unreadable_error(path, error) from error


SAMPLE_RATE = 16_000
MAX_SECONDS = 12.0  # seconds; a page with a few clips stays under some megabytes


def encode_data_uri(clip: AudioClip) -> str:
    """A clip's first ``MAX_SECONDS`` seconds, mono at ``SAMPLE_RATE``.

    Raises:
        MoodlineError: the audio file is missing or cannot be read
    """
    samples = read_clip(replace(clip, duration=min(clip.duration, MAX_SECONDS)), SAMPLE_RATE)
    written = io.BytesIO()
    soundfile.write(written, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
