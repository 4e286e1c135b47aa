"""What a page shows and plays of a recording."""

import base64
import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.errors import MoodlineError
from moodline.inference.timeline import sound
from moodline.inference.timeline.sound import Envelope

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
    assert rate == sound.SAMPLE_RATE
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
    assert loud(heard(sound.read(other).embedded), sound.SAMPLE_RATE) == BEEPS


def test_the_envelope_shows_where_it_is_loud(beeps):
    one = sound.read(beeps)
    assert one.duration == 4
    assert one.envelope.shape == (4 * sound.POINTS_PER_SECOND, 2)
    points = np.abs(one.envelope.astype(float)).max(axis=1) / sound.LOUDEST
    assert loud(points.repeat(RATE // sound.POINTS_PER_SECOND), RATE) == BEEPS


def test_a_long_recording_is_not_put_into_a_page(beeps, monkeypatch):
    short = sound.read(beeps)
    monkeypatch.setattr(sound, "LONGEST_EMBEDDED", 3.9)
    long = sound.read(beeps)
    assert long.embedded is None
    assert np.array_equal(long.envelope, short.envelope)


@settings(deadline=None)
@given(st.lists(st.integers(-100, 100), min_size=1, max_size=200), st.integers(1, 40), st.data())
def test_the_envelope_does_not_depend_on_the_blocks(numbers, points, data):
    samples = np.array(numbers, dtype=np.float32)
    points = min(points, len(samples))
    whole, pieces = Envelope(len(samples), points), Envelope(len(samples), points)
    whole.add(samples)
    for piece in np.split(samples, sorted(data.draw(st.lists(st.integers(0, len(samples)), max_size=5)))):
        pieces.add(piece)
    assert np.array_equal(whole.points(), pieces.points())
    assert np.array_equal(whole.high, [max(0, *part) for part in split(samples, points)])
    assert np.array_equal(whole.low, [min(0, *part) for part in split(samples, points)])


def split(samples: np.ndarray, points: int) -> list[list[float]]:
    """The samples of each of so many stretches, each at least one."""
    of = [position * points // len(samples) for position in range(len(samples))]
    return [[0, *(s for s, mine in zip(samples, of, strict=True) if mine == point)] for point in range(points)]


def test_a_recording_that_is_none_is_told(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(MoodlineError, match=r"a\.wav is not"):
        sound.read(tmp_path / "a.wav")
    with pytest.raises(MoodlineError, match=r"no file .*b\.wav"):
        sound.read(tmp_path / "b.wav")
