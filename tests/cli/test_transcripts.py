"""moodline transcribe over recordings: where transcripts go, what is refused, and what goes on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.audio import vad
from moodline.cli.data import FORMAT_SUFFIXES
from moodline.conversation import Segment
from moodline.speech.asr import PocketSphinx
from moodline.transcripts.formats import WORDLESS_SUFFIXES, WRITERS, read_transcript, write_transcript
from tests.system import moodline, refused

RATE = 16_000
FOUND = [Segment(start=0.5, end=1.5, speaker="ann"), Segment(start=1.75, end=2.75, speaker="\x1b[31mben")]
NAMED = ("--recogniser", "pocketsphinx", "--jobs", 1)


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vad, "_build_turns", lambda sound, recording, channel: FOUND if "talk" in recording.name else []
    )
    monkeypatch.setattr(PocketSphinx, "recognise", lambda self, samples: f"all  {len(samples)}")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "talk.wav", np.random.default_rng(0).uniform(-0.3, 0.3, 3 * RATE), RATE)
    return tmp_path / "talk.wav"


def test_without_a_file_a_line_a_turn_is_printed_and_by_whom_it_was_heard_beside_it(
    talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moodline("transcribe", talk, *NAMED)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["00:00:00.500  ann      all 16000", "00:00:01.750  [31mben  all 16000"]
    assert "turns from voice activity, words from pocketsphinx" in printed.err


def test_a_format_is_printed_as_its_file_would_be(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moodline("transcribe", talk, *NAMED, "-o", tmp_path / "talk.vtt")
    assert "words from pocketsphinx" in capsys.readouterr().out
    moodline("transcribe", talk, *NAMED, "--format", "vtt")
    assert capsys.readouterr().out == (tmp_path / "talk.vtt").read_text(encoding="utf-8")


def test_a_format_is_there_for_each_that_holds_words() -> None:
    assert {ending.lower() for ending in FORMAT_SUFFIXES.values()} == WRITERS.keys() - WORDLESS_SUFFIXES


def test_several_go_into_a_folder_and_one_that_fails_does_not_stop_the_rest(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    told = ("transcribe", tmp_path / "gone.wav", silent, talk, *NAMED, "-o", tmp_path / "out", "--format", "textgrid")
    with pytest.raises(SystemExit) as end:
        moodline(*told)
    assert end.value.code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk.TextGrid"]
    assert len(read_transcript(tmp_path / "out" / "talk.TextGrid").turns) == len(FOUND)
    first, second, poor, last = capsys.readouterr().err.strip().splitlines()
    assert "pocketsphinx" in poor
    assert "there is no file" in first
    assert "no speech was found" in second
    assert "2 of 3 files failed, the others are done" in last


def test_a_file_that_exists_is_replaced_by_force_alone(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "talk.srt"
    out.write_text("mine")
    given = ("transcribe", talk, *NAMED, "-o", out)
    assert refused(capsys, *given).code == "file.exists"
    assert out.read_text() == "mine"
    moodline(*given, "--force")
    assert len(read_transcript(out).turns) == len(FOUND)


def test_an_interruption_leaves_what_was_done_and_nothing_half_written(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def interrupted(self: PocketSphinx, samples: np.ndarray) -> str:
        heard.append(len(samples))
        if len(heard) > len(FOUND):
            raise KeyboardInterrupt
        return "words"

    monkeypatch.setattr(PocketSphinx, "recognise", interrupted)
    again = tmp_path / "talk again.wav"
    again.write_bytes(talk.read_bytes())
    with pytest.raises(SystemExit) as end:
        moodline("transcribe", talk, again, *NAMED, "-o", tmp_path / "out")
    assert end.value.code == 130
    assert "Interrupted. 1 of 2 are done." in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk.srt"]


@pytest.mark.parametrize(
    ("options", "code", "values"),
    [
        (("-o", "talk.rttm"), "transcript.wordless_format", ("talk.rttm", ".srt")),
        (("-o", "talk.doc"), "transcript.unknown_ending", ("talk.doc", ".srt")),
        (("-o", "talk.srt", "--format", "vtt"), "option.contradiction", ("talk.srt", ".vtt")),
        (("--import-words", "words.csv"), "option.unfit", ("--import-words", "talk.wav")),
        (("--tts",), "option.unfit", ("--tts", "talk.wav")),
        (("--channels", "speakers"), None, ("talk.wav",)),
        (("--jobs", "0"), "option.out_of_range", ("--jobs", "0")),
    ],
)
def test_what_is_asked_wrongly_is_told_before_anything_is_heard(
    talk: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: str | None,
    values: tuple[str, ...],
) -> None:
    def hear(self: PocketSphinx, samples: np.ndarray) -> str:
        raise AssertionError("heard before it was refused")

    monkeypatch.chdir(talk.parent)
    monkeypatch.setattr(PocketSphinx, "recognise", hear)
    error = refused(capsys, "transcribe", talk.name, *options)
    assert error.code == (code or error.code)
    assert [value for value in values if value not in str(error)] == []
    assert [path.name for path in talk.parent.iterdir()] == ["talk.wav"]


@pytest.mark.parametrize("option", [("--transcript", "a.srt"), ("--channels", "mixed"), ("-o", "a.srt"), ("--force",)])
def test_what_recordings_need_does_not_fit_a_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    assert refused(capsys, "transcribe", tmp_path).code == "corpus.not_a_corpus"
    (tmp_path / "corpus.json").touch()
    error = refused(capsys, "transcribe", tmp_path, *option)
    assert (error.code, option[0] in str(error)) == ("option.unfit", True)


def test_a_transcript_is_of_one_recording(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_transcript(talk.with_suffix(".srt"), [Segment(start=0, end=1, words="a")])
    error = refused(capsys, "transcribe", talk, talk, "--transcript", talk.with_suffix(".srt"))
    assert error.code == "option.several_sources"
