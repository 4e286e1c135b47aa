"""Audio files to waveforms: reading, mixing to mono, resampling, and reporting faults."""

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
from moodline.errors import MoodlineError, format_install_hint, join_lines

CONTAINER_SUFFIXES = frozenset(
    {".3gp", ".aac", ".amr", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mkv"}
    | {".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wma", ".wmv"}
)
# The demuxers of these files. Others, of playlists and lists of files, would open what the file names.
DEMUXERS = "aac,amr,asf,avi,flv,matroska,mov,mp3,mpeg,mpegts,mpegvideo,ogg,wav"
# FFmpeg opens its input by a protocol, http and concat among them: a file, and nothing that a file refers to.
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS}

# Tools that write WAV to a pipe do not know its size, and announce this many bytes (SoX) or more.
MIN_UNKNOWN_SIZE = 0x7FFFF000
# libsndfile's notes on a header that announces more than there is: WAV, AIFF, AU and W64 in bytes, RF64 in frames.
ANNOUNCED_LENGTHS = {
    "bytes": re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (?P<announced>\d+) \(should be (?P<held>\d+)\)", re.M),
    "frames": re.compile(r"frame count (?P<held>\d+) does not match value from 'ds64' chunk of (?P<announced>\d+)"),
}
# Floating-point files may hold the numbers of 32-bit integers; with larger ones a filter's energies overflow.
MAX_AMPLITUDE = 2.0**31
BLOCK = 2**20  # frames that are read together
UNRECOGNISED_FORMAT = 7  # libsndfile's error code for a file that is missing or not audio
READ_ERRORS = (soundfile.SoundFileError, TypeError)  # TypeError: the name ends as that of samples without a header

SAMPLE_RATE = 16_000  # Hz, of clips in a page
MAX_SECONDS = 12.0  # of clips in a page, so that one with some clips has a few megabytes


@contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """Open PyAV's container, with sound; FFmpeg's errors while it is open become a sentence."""
    try:
        import av
        from av.error import FFmpegError
    except ModuleNotFoundError as error:
        raise MoodlineError(
            f"PyAV, which reads {path}, is not installed: {format_install_hint('video')}", code="audio.missing_extra"
        ) from error
    try:
        with av.open(f"file:{path}", options=OPTIONS) as container:
            if not container.streams.audio:
                raise MoodlineError(f"{path} has no sound: restore it, or leave it out", code="audio.no_sound")
            yield container
    except (FFmpegError, ValueError, OverflowError) as error:
        reason = join_lines(error)
        raise MoodlineError(
            f"FFmpeg cannot read {path} ({reason}): restore or convert it", code="audio.unreadable"
        ) from error


def decode_to_wav(path: Path) -> io.BytesIO:
    """Decode a container's first audio stream to a WAV file in memory, with its own channels and rate."""
    with open_container(path) as container:
        import av

        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="fltp", rate=rate)  # planar floats for any codec
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        blocks = [frame.to_ndarray() for frame in (*frames, *resampler.resample(None))]  # each (channels, frames)
    samples: np.ndarray = np.concatenate(blocks, axis=1).T if blocks else np.zeros((0, 1), dtype=np.float32)
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="FLOAT")
    wav.seek(0)
    return wav


class ForwardSoundFile(soundfile.SoundFile):
    """A file that is read forward.

    soundfile seeks to its position after each read of a seekable file. An MP3's decoder then starts anew, lacks what
    earlier frames held for this one, and reports each on standard error.
    """

    def seekable(self) -> bool:
        return False

    def seek_frame(self, frame: int) -> None:
        """Seek to a frame; in an MP3 by way of the second before it, whose frames hold parts of later ones."""
        before = max(0, frame - self.samplerate) if self.format == "MP3" else frame
        self.seek(before)
        self.read(frame - before)


def read_clip(clip: AudioClip, sample_rate: int) -> np.ndarray:
    """Read the waveform of a clip: its channels' mean at the sample rate, float32 (T,), all finite.

    Within [-1, 1], except for files of floating-point samples that are louder.
    """
    blocks = list(_iter_blocks(clip))
    waveform, rate = np.concatenate([samples for samples, _ in blocks]), blocks[0][1]
    return waveform if rate == sample_rate else soxr.resample(waveform, rate, sample_rate)


def check_clip(clip: AudioClip) -> None:
    """Read a clip block by block and keep nothing; errors as in ``read_clip``."""
    for _ in _iter_blocks(clip):
        pass


def _iter_blocks(clip: AudioClip) -> Iterator[tuple[np.ndarray, int]]:
    """Iterate over a clip's samples, the channels' mean, float32 (frames,), and the file's sample rate."""
    with _open_file(clip.path) as file:
        rate = file.samplerate
        start = round(clip.offset * rate)
        end = start + max(1, round((clip.offset + clip.duration) * rate) - start)
        file.seek_frame(min(start, file.frames))
        while (at := file.tell()) < end:
            samples = file.read(min(BLOCK, end - at), dtype="float32", always_2d=True).mean(axis=1)
            if len(samples) == 0:
                break
            faults = np.flatnonzero(~(np.abs(samples) <= MAX_AMPLITUDE))  # NaN is not <= anything
            if len(faults):
                raise MoodlineError(
                    f"audio samples must be finite numbers, of sound within [-1, 1]: {clip.path} has "
                    f"{samples[faults[0]]:g} at {(at + faults[0]) / rate:.3f} s; write the file anew from its source",
                    code="audio.not_finite",
                )
            yield samples, rate
        found = file.tell()
    if found <= start or found < end - 1:  # rounding the clip's times may take one frame
        raise MoodlineError(
            f"an audio file must hold the whole clip: {clip.path} ends at {found / rate:.3f} s, before the clip's end "
            f"at {clip.offset + clip.duration:.3f} s; restore the file, or correct the clip's offset and duration",
            code="audio.short_file",
        )


def inspect_file(path: Path) -> AudioClip:
    """Return the whole of an audio file as a clip, from its header; refuse one that is truncated or has no samples."""
    with _open_file(path) as file:
        frames, rate, notes = file.frames, file.samplerate, file.extra_info
    if frames == 0:
        raise MoodlineError(
            f"an audio file must hold samples: {path} has none; restore it, or leave its utterance out",
            code="audio.no_samples",
        )
    mismatch = find_length_mismatch(notes)
    if mismatch is not None:
        unit, announced, held = mismatch
        raise MoodlineError(
            f"an audio file must be complete: {path} announces {announced} {unit} of samples and holds {held}; "
            "restore it from its source",
            code="audio.truncated",
        )
    return AudioClip(path=path, duration=frames / rate, sample_rate=rate)


def find_length_mismatch(notes: str) -> tuple[str, int, int] | None:
    """Find in libsndfile's notes the unit, the announced number and the number that is there; None if they agree."""
    for unit, pattern in ANNOUNCED_LENGTHS.items():
        found = pattern.search(notes)
        if found and int(found["held"]) < int(found["announced"]) < MIN_UNKNOWN_SIZE:
            return unit, int(found["announced"]), int(found["held"])
    return None


def check_present(path: Path) -> None:
    """Refuse a missing or an empty file."""
    try:
        is_present, reason = path.is_file(), ""
    except OSError as error:  # such as a name that is too long
        is_present, reason = False, f" ({error.strerror})"
    if not is_present:
        raise MoodlineError(
            f"an audio file must exist: there is no file {path}{reason}; check the path", code="audio.missing_file"
        )
    if path.stat().st_size == 0:
        raise MoodlineError(
            f"an audio file must hold samples: {path} is empty (0 bytes); restore it from its source",
            code="audio.empty_file",
        )


def build_unreadable_error(path: Path, error: Exception) -> MoodlineError:
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    if getattr(error, "code", None) == UNRECOGNISED_FORMAT:  # also of an MP3 without frames
        reason = "nothing in it can be decoded"
    return MoodlineError(
        f"an audio file must be WAV, FLAC, OGG, MP3 or alike: {path} is not ({reason}); restore it from its source, or "
        "convert it",
        code="audio.unreadable",
    )


@contextmanager
def _open_file(path: Path) -> Iterator[ForwardSoundFile]:
    check_present(path)
    try:
        with ForwardSoundFile(decode_to_wav(path) if path.suffix.lower() in CONTAINER_SUFFIXES else path) as file:
            yield file
    except READ_ERRORS as error:
        raise build_unreadable_error(path, error) from error


def encode_data_uri(clip: AudioClip) -> str:
    """Encode a clip's first MAX_SECONDS, mono at SAMPLE_RATE, as FLAC; errors as in ``read_clip``."""
    samples = read_clip(replace(clip, duration=min(clip.duration, MAX_SECONDS)), SAMPLE_RATE)
    written = io.BytesIO()
    soundfile.write(written, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
