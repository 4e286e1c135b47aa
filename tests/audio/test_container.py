"""The sound of videos, against the sound that was put into them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from moodline.audio import io
from moodline.conversation import AudioClip
from moodline.errors import MoodlineError
from tests.films import RATE, tone, write_film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "dia0_utt0.mp4", tone())


def test_the_sound_is_the_one_of_the_film(film: Path) -> None:
    clip = io.inspect_file(film)
    assert clip.sample_rate == RATE
    assert clip.duration == pytest.approx(0.5, abs=2 * 1024 / RATE)  # AAC pads to whole frames
    samples, expected = io.read_clip(clip, RATE), tone()
    middle = slice(4096, len(expected) - 4096)
    correlations = [np.corrcoef(samples[middle], np.roll(expected, shift)[middle])[0, 1] for shift in (0, 12)]
    assert correlations[0] > 0.99 > correlations[1]


def test_a_stretch_of_a_film_is_that_stretch(film: Path) -> None:
    whole = io.read_clip(io.inspect_file(film), RATE)
    part = io.read_clip(AudioClip(path=film, offset=0.1, duration=0.2, sample_rate=RATE), RATE)
    assert np.array_equal(part, whole[round(0.1 * RATE) : round(0.3 * RATE)])


def test_what_is_no_film_is_refused_in_a_sentence(tmp_path: Path, film: Path) -> None:
    silent = write_film(tmp_path / "silent.mp4", None)
    (tmp_path / "letter.mp4").write_bytes(b"Dear Sir, " * 100)
    (tmp_path / "half.mp4").write_bytes(film.read_bytes()[:2000])
    (tmp_path / "empty.mp4").write_bytes(b"")
    for path, words in ((silent, "has none"), *((tmp_path / f"{name}.mp4", "readable") for name in ("letter", "half"))):
        with pytest.raises(MoodlineError, match=words) as error:
            io.inspect_file(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(MoodlineError, match=r"empty\.mp4 is empty"):
        io.inspect_file(tmp_path / "empty.mp4")


def test_a_film_without_pyav_names_the_extra(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MoodlineError, match=r"dia0_utt0\.mp4 needs it; pip install 'moodline\[video\]'"):
        io.inspect_file(film)
