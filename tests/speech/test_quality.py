"""Measures of a recording against what was put into it."""

import math

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.speech.quality import _meets, quality

RATE = 16_000
SPEECH = [(1.0, 2.0), (3.0, 3.5), (3.2, 4.0)]


def white(seconds: float, loudness: float) -> np.ndarray:
    """Noise (T,) of so many dB of full scale."""
    return np.random.default_rng(5).normal(0, 10 ** (loudness / 20), round(seconds * RATE)).astype(np.float32)


def recording(speech: float, pauses: float) -> np.ndarray:
    samples = white(5, pauses) if math.isfinite(pauses) else np.zeros(5 * RATE, dtype=np.float32)
    for start, end in ((1, 2), (3, 4)):
        samples[start * RATE : end * RATE] += white(end - start, speech)
    return samples


def test_loudness_and_noise_are_those_that_were_put_in() -> None:
    found = quality(iter(np.array_split(recording(-20, -50), 7)), RATE, SPEECH)
    assert found is not None
    assert found.loudness == pytest.approx(-20, abs=0.5)
    assert found.signal_to_noise == pytest.approx(30, abs=1.0)
    assert found.bandwidth == pytest.approx(RATE / 2, rel=0.01)


def test_a_telephones_band_shows_at_any_rate() -> None:
    telephone = soxr.resample(soxr.resample(recording(-20, -60), RATE, 8_000), 8_000, RATE)
    found = quality([telephone], RATE, SPEECH)
    assert found is not None
    assert 3_500 < found.bandwidth <= 4_000


def test_pauses_that_are_silent_or_not_there() -> None:
    silent = quality([recording(-20, -math.inf)], RATE, [(0.9, 2.1), (2.9, 4.1)])
    without = quality([white(2, -20)], RATE, [(0, 2)])
    assert silent is not None
    assert without is not None
    assert silent.signal_to_noise == math.inf
    assert without.signal_to_noise is None
    louder_pauses = quality([recording(-60, -20)], RATE, [(4.5, 5.0)])
    assert louder_pauses is not None
    assert louder_pauses.signal_to_noise is not None


def test_no_speech_has_no_quality() -> None:
    assert quality([white(1, -20)], RATE, []) is None
    assert quality([np.zeros(RATE, dtype=np.float32)], RATE, [(0, 1)]) is None
    assert quality([], RATE, [(0, 1)]) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=8), st.integers(0, 9))
def test_an_interval_meets_the_stretches_that_it_shares_time_with(found: list[tuple[int, int]], length: int) -> None:
    stretches = sorted((start, start + length) for start, length in found)
    begins = np.arange(80) + 0.5 * (length == 0)
    expected = [any(start < begin + length and begin < end for start, end in stretches) for begin in begins]
    assert _meets(begins, begins + length, stretches).tolist() == expected
