"""RAVDESS's file names against its published coding."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from moodline.corpora import ravdess
from moodline.corpora.corpus import read_corpus
from moodline.corpora.inspection import print_inspection
from tests.corpora.outcome import outcome
from tests.refusals import refuses
from tests.system import moodline


def record(path: Path, seconds: float = 0.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(16_000 * seconds)), 16_000)
    return path


@pytest.mark.parametrize("place", ["", "Actor_12/", "Audio_Speech_Actors_01-24/Actor_12/"])
@pytest.mark.parametrize("ending", ["wav", "flac", "WAV"])
def test_a_name_tells_what_a_recording_holds(tmp_path: Path, place: str, ending: str) -> None:
    record(tmp_path / f"{place}03-01-06-02-02-01-12.{ending}")
    (conversation,) = ravdess.read(tmp_path).conversations
    (turn,) = conversation.utterances
    assert (conversation.id, conversation.session, conversation.part) == ("03-01-06-02-02-01-12", "12", "strong")
    assert (turn.speaker, turn.label, turn.words) == ("Actor_12", "fearful", "Dogs are sitting by the door.")
    assert turn.audio is not None
    assert turn.audio.duration == pytest.approx(0.2)
    assert (turn.start, turn.end) == (None, None)


def test_the_eight_emotions_have_their_names(tmp_path: Path) -> None:
    for code in range(1, 9):
        record(tmp_path / f"03-01-{code:02d}-01-01-01-01.wav")
    assert [turn.label for turn in ravdess.read(tmp_path).utterances] == [
        "neutral",
        "calm",
        "happy",
        "sad",
        "angry",
        "fearful",
        "disgust",
        "surprised",
    ]


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    for name in ("03-01-01-01-01-01-01.wav", "03-02-01-01-01-01-01.wav", "kids.wav", "copy/03-01-01-01-01-01-01.wav"):
        record(tmp_path / name)
    (tmp_path / "01-01-01-01-01-01-01.mp4").write_bytes(b"film")
    (tmp_path / "._03-01-02-01-01-01-01.wav").write_bytes(b"\0")
    (tmp_path / "README.txt").write_text("read me")
    corpus = ravdess.read(tmp_path)
    assert [one.id for one in corpus.conversations] == ["03-01-01-01-01-01-01"]
    assert corpus.left_out == {
        ravdess.OTHER_MODALITY: ("01-01-01-01-01-01-01", "03-02-01-01-01-01-01"),
        ravdess.DUPLICATE: ("copy/03-01-01-01-01-01-01.wav",),
        ravdess.UNKNOWN_NAME: ("kids.wav",),
    }


def test_a_broken_recording_is_left_out_and_told_by_its_path(tmp_path: Path) -> None:
    record(tmp_path / "03-01-01-01-01-01-01.wav")
    (tmp_path / "03-01-02-01-01-01-01.wav").write_bytes(b"RIFF")
    corpus = ravdess.read(tmp_path)
    assert [one.id for one in corpus.conversations] == ["03-01-01-01-01-01-01"]
    (fault,) = corpus.faults
    assert fault.identity == "03-01-02-01-01-01-01"
    assert f"{fault.identity}.wav" in fault.sentence


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with refuses("corpus.no_source", "none"):
        ravdess.read(tmp_path / "none")
    record(tmp_path / "kids.wav")
    with refuses("corpus.wrong_source", "Actor_01"):
        ravdess.read(tmp_path)


@given(name=st.from_regex(r"\A[0-9-]{1,24}\Z") | st.from_regex(ravdess.NAME, fullmatch=True))
def test_any_name_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("names")
    record(folder / f"{name}.wav", 0.01)
    corpus = outcome(ravdess.read, folder)
    fields = name.split("-")
    speech = len(fields) == 7 and fields[:2] == ["03", "01"]
    assert corpus is None or (speech and [turn.id for turn in corpus.utterances] == [name])


@pytest.mark.realdata
def test_the_four_actors_at_hand_are_read_whole(shared: Path, tmp_path: Path) -> None:
    moodline("prepare", "ravdess", shared / "corpora" / "ravdess", "-o", tmp_path / "out")
    corpus = read_corpus(tmp_path / "out")
    turns = list(corpus.utterances)
    assert len(turns) == len(corpus.conversations) == 240
    assert Counter(turn.speaker for turn in turns) == {f"Actor_0{number}": 60 for number in range(1, 5)}
    # Neutral has no strong intensity: two statements, two repetitions, four actors.
    assert Counter(turn.label for turn in turns) == dict.fromkeys(ravdess.EMOTIONS.values(), 32) | {"neutral": 16}
    assert len({one.fingerprint for one in corpus.conversations}) == 240
    assert not corpus.left_out
    print_inspection(corpus)
