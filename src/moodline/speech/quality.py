"""How a recording sounds, in numbers that tell whether it is like what a model was trained on."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from moodline.speech.voice_activity import CHUNK_SECONDS, batches

BAND_FLOOR = 60.0  # dB below the strongest frequency: what is weaker than that is no part of the band


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Measured over a recording.

    Attributes:
        bandwidth: in Hz, the highest frequency that speech has at most BAND_FLOOR decibels less of than of its
            strongest: a telephone's 4 kHz shows at whatever rate its recording is stored
        loudness: of speech, its root mean square in dB of full scale
        signal_to_noise: the power of speech, less that of the pauses, over that of the pauses, in dB; infinite where
            the pauses are silent, None where there are none
    """

    bandwidth: float
    loudness: float
    signal_to_noise: float | None


def quality(blocks: Iterable[np.ndarray], sample_rate: int, speech: Sequence[tuple[float, float]]) -> Quality | None:
    """Measure a stream in one reading.

    Args:
        blocks: float32 (frames,) each
        sample_rate: theirs, in Hz
        speech: where there is some, from start to end in seconds, in order of the starts; they may overlap

    Returns:
        None where no speech has any sound
    """
    size = round(CHUNK_SECONDS * sample_rate)
    spectrum, loud, quiet = np.zeros(size // 2 + 1), _Mean(), _Mean()
    at = 0
    for chunks in batches(blocks, size):
        edges = np.arange(at, at + len(chunks) + 1) * size / sample_rate
        middles = (edges[:-1] + edges[1:]) / 2
        spoken = _meets(middles, middles, speech)
        paused = ~_meets(edges[:-1], edges[1:], speech)  # a chunk at a stretch's edge may be of neither
        powers = np.square(chunks, dtype=np.float64).mean(axis=1)
        loud.add(powers[spoken])
        quiet.add(powers[paused])
        spectrum += (np.abs(np.fft.rfft(chunks[spoken] * np.hanning(size))) ** 2).sum(axis=0)
        at += len(chunks)
    if not loud.value:
        return None
    band = np.flatnonzero(spectrum >= spectrum.max() * 10 ** (-BAND_FLOOR / 10))
    return Quality(
        bandwidth=float(band[-1] * sample_rate / size),
        loudness=_decibels(loud.value),
        signal_to_noise=_signal_to_noise(loud.value, quiet.value),
    )


class _Mean:
    def __init__(self) -> None:
        self._sum, self._number = 0.0, 0

    def add(self, values: np.ndarray) -> None:
        self._sum += float(values.sum())
        self._number += len(values)

    @property
    def value(self) -> float | None:
        return self._sum / self._number if self._number else None


def _meets(begins: np.ndarray, ends: np.ndarray, speech: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which intervals of time have more than an edge in common with one of the stretches."""
    starts = np.array([start for start, _ in speech])
    # Of the stretches that start before an interval ends, the end that is last.
    last = np.concatenate([[-np.inf], np.maximum.accumulate(np.array([end for _, end in speech]))])
    return last[np.searchsorted(starts, ends)] > begins


def _signal_to_noise(speech: float, noise: float | None) -> float | None:
    if noise is None:
        return None
    if noise == 0:
        return math.inf
    return _decibels((speech - noise) / noise) if speech > noise else -math.inf


def _decibels(power: float) -> float:
    return 10 * math.log10(power)
