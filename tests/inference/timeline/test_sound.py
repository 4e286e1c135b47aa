"""What a page shows and plays of a recording."""

import base64
import io
import tracemalloc
from itertools import chain, pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.audio import recording
from moodline.audio.recording import BLOCK, Recording
from moodline.timeline import html

RATE = 16_000


@pytest.fixture
def beeps(tmp_path):
    """Four seconds in stereo: silence, a beep of half a second at 1 s, one at 3 s."""
    samples = np.zeros((4 * RATE, 2), dtype=np.float32)
    for start in (1, 3):
        time = np.arange(RATE // 2) / RATE
        samples[start * RATE : start * RATE + len(time)] = 0.5 * np.sin(2 * np.pi * 440 * time)[:, None]
    path = tmp_path / "beeps.wav"
    soundfile.write(path, samples, RATE)
    return path


def heard(embedded: str) -> np.ndarray:
    kind, data = embedded.split(",", 1)
    assert kind == "data:audio/mpeg;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == html.SAMPLE_RATE
    return samples


def loud(samples: np.ndarray, rate: int) -> list[bool]:
    """Whether each quarter of a second, but for its edges, holds sound."""
    quarters = samples[: 16 * rate // 4].reshape(16, rate // 4)[:, rate // 16 : -rate // 16]
    return (np.abs(quarters).max(axis=1) > 0.2).tolist()


BEEPS = [False] * 4 + [True] * 2 + [False] * 6 + [True] * 2 + [False] * 2


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_the_sound_in_a_page_is_that_of_the_recording_at_its_times(beeps, tmp_path, rate):
    samples, was = soundfile.read(beeps)
    other = tmp_path / f"{rate}.flac"
    repeated = samples[(np.arange(4 * rate) * was // rate)]
    soundfile.write(other, repeated, rate)
    assert loud(heard(html.read_page_audio(Recording.open(other)).embedded), html.SAMPLE_RATE) == BEEPS


def test_the_envelope_shows_where_it_is_loud(beeps):
    one = html.read_page_audio(Recording.open(beeps))
    assert one.duration == 4
    assert one.envelope.shape == (4 * html.POINTS_PER_SECOND, 2)
    points = np.abs(one.envelope.astype(float)).max(axis=1) / html.MAX_LEVEL
    assert loud(points.repeat(RATE // html.POINTS_PER_SECOND), RATE) == BEEPS


def test_a_long_recording_is_not_put_into_a_page(beeps, monkeypatch):
    short = html.read_page_audio(Recording.open(beeps))
    monkeypatch.setattr(html, "MAX_EMBEDDED_SECONDS", 3.9)
    long = html.read_page_audio(Recording.open(beeps))
    assert long.embedded is None
    assert np.array_equal(long.envelope, short.envelope)


def test_samples_sound_as_their_file_does_and_have_none_to_lie_beside_a_page(beeps, monkeypatch):
    of_file = html.read_page_audio(Recording.open(beeps))
    samples, rate = soundfile.read(beeps, dtype="float32")
    of_array = html.read_page_audio(Recording.from_samples(samples, rate))
    assert of_array.embedded == of_file.embedded
    assert np.array_equal(of_array.envelope, of_file.envelope)
    monkeypatch.setattr(html, "MAX_EMBEDDED_SECONDS", 3.9)
    assert html.read_page_audio(Recording.open(beeps)).beside == "beeps.wav"
    assert html.read_page_audio(Recording.from_samples(samples, rate)).beside is None


def test_no_more_than_a_block_of_a_long_recording_is_held():
    minutes = 40
    second = np.ones((RATE, 1), dtype=np.float32)
    long = Recording(((second, RATE) for _ in range(60 * minutes)), "long", [])
    assert long.duration == 60 * minutes
    tracemalloc.start()
    try:
        one = html.read_page_audio(long)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert one.embedded is None
    assert len(one.envelope) == html.MAX_POINTS
    extremes = 2 * 60 * minutes * html.POINTS_PER_SECOND
    # Some copies of a block, and of the extremes of all stretches, in double precision.
    assert peak < 8 * (8 * BLOCK + 8 * extremes) < second.nbytes * 60 * minutes / 2


SAMPLES = st.lists(st.integers(-100, 100), min_size=1, max_size=200)


@settings(deadline=None)
@given(SAMPLES, st.integers(1, 40), st.integers(1, 300), st.integers(1, 250))
def test_the_envelope_does_not_depend_on_the_blocks(numbers, stretch, most, block):
    samples = np.array(numbers, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "STRETCH", stretch)
        patch.setattr(html, "MAX_POINTS", most)
        patch.setattr(html, "LOUD_QUANTILE", 1.0)
        patch.setattr(html, "MAX_EMBEDDED_SECONDS", 0.0)
        patch.setattr(recording, "BLOCK", block)
        expected = np.array([[min(part), max(part)] for part in split(numbers, stretch, most)], dtype=np.float32)
        loudest = np.abs(expected).max() or np.float32(1)
        one = html.read_page_audio(Recording.from_samples(samples, html.SAMPLE_RATE))
        assert np.array_equal(one.envelope, np.round(expected / loudest * html.MAX_LEVEL))


def split(numbers: list[int], stretch: int, most: int) -> list[list[int]]:
    """The samples of each point: of one stretch, or of neighbours where they are too many."""
    stretches = [numbers[at : at + stretch] for at in range(0, len(numbers), stretch)]
    points = min(most, len(stretches))
    bounds = [point * len(stretches) // points for point in range(points + 1)]
    return [list(chain(*stretches[first:last])) for first, last in pairwise(bounds)]
