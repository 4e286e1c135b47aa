"""moodline predict over recordings: where timelines go, what is refused, and what goes on."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.cli.options import MODEL_VARIABLE
from moodline.cli.predict import DEMO_MODELS, find_model
from moodline.conversation import Segment
from moodline.corpora import corpus
from moodline.errors import MoodlineError
from moodline.timeline import html
from moodline.transcripts import transcript
from moodline.transcripts.formats import read_transcript, write_transcript
from tests.inference.tiny_models import write_model
from tests.system import moodline, refused

RATE = 16_000
GOES_ON = "Interrupted. Rerun the same command to resume."
TURNS = [
    Segment(start=0.5, end=1.5, speaker="ann", words="well hello"),
    Segment(start=1.75, end=2.75, speaker="ben", words="good bye"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "both")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """talk.wav, and talk.srt beside it."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 3 * RATE)
    soundfile.write(tmp_path / "talk.wav", noise, RATE)
    write_transcript(tmp_path / "talk.srt", TURNS)
    return tmp_path / "talk.wav"


def test_the_terminal_names_the_model_and_a_line_a_turn(
    model: Path, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moodline("predict", talk, "--model", model, "--transcript", talk.with_suffix(".srt"))
    shown = capsys.readouterr().out
    assert "Model: " in shown
    assert "licence" in shown
    assert "turns from talk.srt (SRT)" in " ".join(shown.split())
    assert "well hello" in shown
    assert "good bye" in shown


def test_every_format_goes_into_a_folder(model: Path, talk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("predict", talk, "--model", model, "--transcript", talk.with_suffix(".srt"), "-o", out)
    moodline(*given, "--explain", "--format", "json,csv,srt,textgrid,html")
    assert {path.name for path in out.iterdir()} == {
        f"talk{end}" for end in (".json", ".csv", ".srt", ".TextGrid", ".html")
    }
    told = json.loads((out / "talk.json").read_text(encoding="utf-8"))
    assert told["recording"] == "talk.wav"
    assert [turn["words"] for turn in told["turns"]] == ["well hello", "good bye"]
    assert all(turn["reasons"] for turn in told["turns"])
    with (out / "talk.csv").open(encoding="utf-8", newline="") as file:
        assert [row["speaker"] for row in csv.DictReader(file)] == ["ann", "ben"]


def test_a_page_whose_recording_is_too_long_for_it_says_where_that_must_lie(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("predict", talk, "--model", model, "--transcript", talk.with_suffix(".srt"), "-o")
    moodline(*given, tmp_path / "short.html")
    assert "plays talk.wav" not in capsys.readouterr().err
    monkeypatch.setattr(html, "MAX_EMBEDDED_SECONDS", 2.0)
    moodline(*given, tmp_path / "long.html")
    assert "long.html plays talk.wav from a file: keep it in the same folder" in capsys.readouterr().err
    assert "data:audio" not in (tmp_path / "long.html").read_text(encoding="utf-8")


def test_a_file_that_exists_is_replaced_by_force_alone(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "talk.json"
    out.write_text("mine")
    given = ("predict", talk, "--model", model, "--transcript", talk.with_suffix(".srt"), "-o", out)
    error = refused(capsys, *given)
    assert (error.code, str(out) in str(error)) == ("file.exists", True)
    assert out.read_text() == "mine"
    moodline(*given, "--force")
    assert json.loads(out.read_text(encoding="utf-8"))["turns"]


def test_one_that_fails_does_not_stop_the_rest(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from moodline.audio import vad
    from moodline.speech.asr import PocketSphinx

    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    monkeypatch.setattr(
        vad, "_build_turns", lambda heard, recording, channel: TURNS if "talk" in recording.name else []
    )
    monkeypatch.setattr(PocketSphinx, "recognise", lambda self, samples: "some words")
    with pytest.raises(SystemExit) as end:
        moodline("predict", broken, silent, talk, "--model", model, "-o", tmp_path / "out", "--jobs", 1)
    assert end.value.code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk.json"]
    first, second, last = capsys.readouterr().err.strip().splitlines()
    assert "broken.wav" in first
    assert "no speech was found" in second
    assert "2 of 3 files failed, the others are done" in last


def test_a_name_that_no_file_can_have_does_not_stop_the_rest(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from moodline.audio import vad

    monkeypatch.setattr(vad, "_build_turns", lambda heard, recording, channel: TURNS)
    for name in ("x" * 300 + ".wav", "x" * 300 + ".csv"):
        with pytest.raises(SystemExit) as end:
            moodline("predict", name, talk, "--model", model, "-o", tmp_path / name[-3:], "--modalities", "audio")
        assert end.value.code == 2
        assert [path.name for path in (tmp_path / name[-3:]).iterdir()] == ["talk.json"]
        assert f"1 of 2 files failed, the others are done: {name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "values"),
    [
        (("--format", "pdf"), "timeline.unknown_format", "'pdf' json, csv, srt, textgrid, html, table"),
        (("--format", "json,csv"), "option.no_out_folder", "json csv"),
        (("-o", "talk.pdf"), "timeline.unknown_format", "talk.pdf"),
        (("--jobs", "0"), "option.out_of_range", "--jobs 0"),
        (("--threshold", "2"), None, "2"),
        (("--channels", "speakers"), None, "talk.wav"),
        (("--audio-embeddings", "none.parquet"), "option.unfit", "--audio-embeddings talk.wav"),
    ],
)
def test_what_is_asked_wrongly_is_told(
    model: Path, talk: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: str | None, values: str
) -> None:
    error = refused(capsys, "predict", talk, "--model", model, *options)
    assert error.code == (code or error.code)
    assert [value for value in values.split() if value not in str(error)] == []


def test_a_transcript_that_is_read_is_not_written_over(
    model: Path, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transcript = talk.with_suffix(".srt")
    before = transcript.read_bytes()
    given = ("predict", talk, "--model", model, "--transcript", transcript, "-o", talk.parent, "--format", "srt")
    error = refused(capsys, *given, "--force")
    assert (error.code, str(transcript) in str(error)) == ("file.is_input", True)
    assert transcript.read_bytes() == before


def test_a_name_that_is_no_utf_8_is_told(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "predict", "t\udce9lk.wav", "--model", model)
    assert (error.code, "t?lk.wav" in str(error)) == ("file.name_not_utf8", True)


def test_a_transcript_is_of_one_recording(model: Path, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "predict", talk, talk, "--model", model, "--transcript", talk.with_suffix(".srt"))
    assert error.code == "option.several_sources"


def test_recordings_of_one_name_do_not_share_a_file(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    again = tmp_path / "other" / "talk.wav"
    again.write_bytes(talk.read_bytes())
    error = refused(capsys, "predict", talk, again, "--model", model, "-o", tmp_path / "out")
    assert error.code == "file.name_clash"
    assert all(str(one) in str(error) for one in (talk, again, "talk.json"))


def test_a_model_that_is_not_named_is_the_environments_or_the_newest_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    monkeypatch.setattr("moodline.cli.predict.find_starter", lambda: None)
    with pytest.raises(MoodlineError) as error:
        find_model()
    assert (error.value.code, MODEL_VARIABLE in str(error.value)) == ("model.not_named", True)
    made = tmp_path / DEMO_MODELS.replace("*", "5")
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    assert Path(find_model()).resolve() == made
    monkeypatch.setenv(MODEL_VARIABLE, "mine")
    assert find_model() == "mine"


def test_rows_of_several_have_one_header_and_tell_their_recording(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("sender,message\nann,well hello\nben,good bye\n", encoding="utf-8")
    moodline("predict", talk.with_suffix(".srt"), other, "--model", model, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["recording"] for row in rows] == ["talk.srt"] * 2 + ["other.csv"] * 2
    assert [row["words"] for row in rows] == ["well hello", "good bye"] * 2


@pytest.mark.parametrize("form", ["json", "srt", "html"])
def test_several_that_would_run_into_each_other_on_the_terminal_are_refused(
    model: Path, talk: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    error = refused(capsys, "predict", talk, talk, "--model", model, "--format", form)
    assert (error.code, form in str(error)) == ("option.no_out_folder", True)


@pytest.mark.parametrize("given", [("talk.wav", "other.wav"), ("talk.wav", "--format", "csv,html")])
def test_several_files_do_not_have_one_name(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...]
) -> None:
    sources = [tmp_path / one if one.endswith(".wav") else one for one in given]
    error = refused(capsys, "predict", *sources, "--model", model, "-o", tmp_path / "two.csv")
    assert (error.code, "two.csv" in str(error)) == ("option.no_out_folder", True)
    assert not (tmp_path / "two.csv").exists()


def test_a_files_ending_and_its_format_agree(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, "predict", talk, "--model", model, "-o", tmp_path / "a.csv", "--format", "json")
    assert (error.code, "a.csv" in str(error)) == ("option.contradiction", True)


@pytest.mark.parametrize("command", ["predict", "transcribe"])
def test_a_folder_of_recordings_is_no_corpus(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    error = refused(capsys, command, tmp_path)
    assert error.code == "corpus.not_a_corpus"
    assert f"{tmp_path}/*.wav" in str(error)


@pytest.mark.parametrize(
    ("place", "given", "told"),
    [
        ("predict.find_model", ("predict", "talk.wav"), "Interrupted."),
        ("data.transcribe_recordings", ("transcribe", "talk.wav"), "Interrupted."),
        ("options.show_progress", ("transcribe", "corpus"), GOES_ON),
        ("train.choose_hardware", ("train", "corpus", "--recipe", "demo", "--protocol", "cv5", "-o", "run"), GOES_ON),
    ],
)
def test_what_is_interrupted_is_said_to_go_on_where_it_does_alone(
    talk: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    given: tuple[str, ...],
    told: str,
) -> None:
    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpus, "read_corpus", interrupt)
    monkeypatch.setattr(f"moodline.cli.{place}", interrupt)
    with pytest.raises(SystemExit) as end:
        moodline(*given)
    assert end.value.code == 130
    assert capsys.readouterr().err == f"moodline: {told}\n"


def test_a_table_on_the_terminal_goes_with_files(
    model: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("predict", talk, "--model", model, "--transcript", talk.with_suffix(".srt"), "--format")
    moodline(*given, "table,json", "-o", tmp_path / "one.json")
    shown = capsys.readouterr()
    assert "well hello" in shown.out
    assert "Note" not in shown.err
    assert json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))["recording"] == "talk.wav"
    moodline(*given, "json,table,csv", "-o", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"talk.json", "talk.csv"}
    assert "well hello" in capsys.readouterr().out
    error = refused(capsys, *given, "table", "-o", tmp_path / "table.txt")
    assert error.code == "option.contradiction"
    assert str(tmp_path / "table.txt") in str(error)


@pytest.mark.parametrize("command", ["predict", "transcribe"])
def test_a_file_that_another_command_writes_in_the_meantime_is_kept(
    model: Path,
    talk: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    out = tmp_path / "out.srt"

    def read(path: Path) -> transcript.Transcript:
        out.write_text("from the other command")
        return read_transcript(path)

    monkeypatch.setattr("moodline.inference.transcribe.read_transcript", read)
    chosen = ("--model", model) if command == "predict" else ()
    given = (command, talk, *chosen, "--transcript", talk.with_suffix(".srt"), "-o", out)
    error = refused(capsys, *given)
    assert error.code == "file.exists"
    assert str(out) in str(error)
    assert out.read_text() == "from the other command"
    moodline(*given, "--force")
    assert "well hello" in out.read_text()
