"""Measures of turns against what was put into them."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.inference.domain_shift import MAX_SIGNAL_TO_NOISE, compute_statistics, measure_quality
from moodline.modeling.description import BANDWIDTH, LOUDNESS, SIGNAL_TO_NOISE, DataStatistics

RATE = 16_000


def white(seconds: float, loudness: float, seed: int = 5) -> np.ndarray:
    """Noise (T,) of so many dB of full scale."""
    return np.random.default_rng(seed).normal(0, 10 ** (loudness / 20), round(seconds * RATE)).astype(np.float32)


def turn(speech: float, noise: float) -> np.ndarray:
    """Two seconds of noise with louder noise in half of them, in dB of full scale."""
    samples = white(2, noise)
    samples[RATE // 2 : 3 * RATE // 2] += white(1, speech, seed=6)
    return samples


def found(waveform: np.ndarray, rate: int = RATE) -> DataStatistics:
    quality = measure_quality(waveform, rate)
    assert quality
    return quality


@settings(max_examples=25, deadline=None)
@given(st.floats(-50, -10), st.floats(5, 25))
def test_loudness_and_noise_are_those_that_were_put_in(loudness: float, ratio: float) -> None:
    quality = found(turn(loudness, loudness - ratio))
    assert quality[LOUDNESS] == pytest.approx(loudness + 10 * np.log10(1 + 10 ** (-ratio / 10)), abs=1)
    assert quality[SIGNAL_TO_NOISE] == pytest.approx(ratio, abs=1.5)  # the percentiles are of 62 chunks


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 1))
def test_a_softer_turn_is_as_clean_and_as_wide(gain: float) -> None:
    whole, soft = found(turn(-20, -40)), found((turn(-20, -40) * gain).astype(np.float32))
    assert soft[LOUDNESS] == pytest.approx(whole[LOUDNESS] + 20 * np.log10(gain), abs=0.1)
    assert soft[SIGNAL_TO_NOISE] == pytest.approx(whole[SIGNAL_TO_NOISE], abs=0.5)
    assert soft[BANDWIDTH] == whole[BANDWIDTH]


def test_a_telephones_band_shows_at_any_rate() -> None:
    telephone = soxr.resample(white(2, -20), RATE, 8_000)
    at_its_own, at_more = found(telephone, 8_000), found(soxr.resample(telephone, 8_000, RATE))
    assert found(white(2, -20))[BANDWIDTH] == RATE / 2
    for quality in (at_its_own, at_more):
        assert 3_600 < quality[BANDWIDTH] <= 4_000


def test_digital_silence_is_clean_and_no_more() -> None:
    silent = np.pad(white(1, -20), RATE // 2)
    assert found(silent)[SIGNAL_TO_NOISE] == MAX_SIGNAL_TO_NOISE
    assert found(silent)[LOUDNESS] == pytest.approx(-20, abs=1)


def test_pauses_change_no_loudness() -> None:
    assert found(turn(-20, -60))[LOUDNESS] == pytest.approx(found(turn(-20, -60)[RATE // 2 :])[LOUDNESS], abs=0.5)


@pytest.mark.parametrize("waveform", [np.zeros(RATE, dtype=np.float32), np.ones(500, dtype=np.float32), np.empty(0)])
def test_what_has_no_sound_or_hardly_lasts_has_no_quality(waveform: np.ndarray) -> None:
    assert measure_quality(waveform, RATE) == {}


def test_one_odd_turn_does_not_decide() -> None:
    usual, odd = found(turn(-20, -40)), found(turn(-60, -61))
    assert compute_statistics([usual, odd, {}, usual]) == usual
