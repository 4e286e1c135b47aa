"""Vary recordings of single utterances as real recordings vary: speed, level, room, babble, telephone, MP3, edges."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from moodline.audio.vad import CHUNK_SAMPLES, detect_activity, find_speech
from moodline.experiments.corruptions import apply_telephone_band, mix_at_ratio

RATE = 16_000
Samples = NDArray[np.float32]

MOST_SPEED_CHANGE = 0.1
LEVELS = (-24.0, 6.0)  # dB
BABBLE_RATIOS = (5.0, 20.0)  # dB
REVERBERATION_TIMES = (0.2, 0.7)  # seconds until the sound of a room has lost 60 dB
DIRECT_SHARES = (0.3, 0.8)  # of the direct sound's amplitude to the room's
MP3_COMPRESSION = (0.6, 0.95)  # from 0, the best, to 1, the smallest
SHARE = 0.35  # of the variants, that each of the changes but speed and level applies to


def vary(samples: Samples, others: Sequence[Samples], generator: np.random.Generator) -> Samples:
    """Draw a variant of an utterance (T,) at 16 kHz -> (S,), with values from -1 to 1.

    Args:
        others: utterances of other speakers, of which babble consists
    """
    changes: list[Callable[[Samples], Samples]] = [
        cut_silence,
        lambda one: add_room(one, generator),
        lambda one: add_babble(one, others, generator),
        lambda one: apply_telephone_band(one, RATE),
        lambda one: encode_mp3(one, generator),
    ]
    samples = change_speed(samples, generator)
    for change in changes:
        if generator.random() < SHARE:
            samples = change(samples)
    samples = samples * np.float32(10 ** (generator.uniform(*LEVELS) / 20))
    return np.clip(samples, -1, 1).astype(np.float32)


def change_speed(samples: Samples, generator: np.random.Generator) -> Samples:
    """Change speed and pitch together, as a tape does."""
    speed = generator.uniform(1 - MOST_SPEED_CHANGE, 1 + MOST_SPEED_CHANGE)
    return soxr.resample(samples, RATE * speed, RATE).astype(np.float32)


def cut_silence(samples: Samples) -> Samples:
    """Keep what is between the first and the last voice activity, as turns that are found in a recording do."""
    spans = find_speech(detect_activity([samples]).probabilities)
    if not spans:
        return samples
    (first, _), (_, last) = spans[0], spans[-1]
    return samples[first * CHUNK_SAMPLES : last * CHUNK_SAMPLES]


def add_room(samples: Samples, generator: np.random.Generator) -> Samples:
    """Add reverberation: noise that decays exponentially, behind the direct sound."""
    seconds = generator.uniform(*REVERBERATION_TIMES)
    times = np.arange(round(seconds * RATE)) / RATE
    tail = generator.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    tail *= (1 - generator.uniform(*DIRECT_SHARES)) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return fftconvolve(samples, tail)[: len(samples)].astype(np.float32)


def add_babble(samples: Samples, others: Sequence[Samples], generator: np.random.Generator) -> Samples:
    babble = np.zeros(len(samples))
    for other in others:
        voice = np.resize(np.roll(other, generator.integers(len(other))), len(samples)).astype(float)
        babble += voice / (np.sqrt(np.mean(voice**2)) + 1e-9)
    return mix_at_ratio(samples, babble, generator.uniform(*BABBLE_RATIOS)) if babble.any() else samples


def encode_mp3(samples: Samples, generator: np.random.Generator) -> Samples:
    """Encode as MP3 of a low rate, and decode."""
    file = io.BytesIO()
    level = generator.uniform(*MP3_COMPRESSION)
    soundfile.write(
        file, samples, RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT"
    )
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return decoded
