"""Words alone have the labels that a model gives the same conversation when it reads no speech."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.conversation import Conversation, Segment, Utterance
from moodline.inference.pipeline import Model, load
from moodline.modeling.description import UNKNOWN_PIECES, TrainingStatistics
from moodline.timeline import Timeline
from moodline.transcripts.formats import write_transcript
from tests.inference.tiny_models import conversation_of, predictor_of, recipe_of, write_model
from tests.refusals import refuses
from tests.system import moodline, refused

SAID = [("ann", "well hello there"), ("ben", "i never said that"), ("ann", "you did"), ("ben", "no")]
CONVERSATION = Conversation(
    id="chat",
    utterances=tuple(Utterance(id=f"t{number}", speaker=who, words=words) for number, (who, words) in enumerate(SAID)),
)


@pytest.fixture(scope="module", params=["both", "text"])
def predictor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model"), request.param))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "both")


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    rows = "".join(f"{words},{who}\n" for who, words in SAID)
    (tmp_path / "chat.csv").write_text(f"text,speaker\n{rows}", encoding="utf-8")
    return tmp_path / "chat.csv"


def test_a_table_has_the_labels_of_its_conversation(predictor: Model, chat: Path) -> None:
    timeline = predictor.recognise(chat, threshold=0.26, reasons=True)
    expected = predictor.predict(CONVERSATION, "text", threshold=0.26, reasons=True).utterances
    assert [(turn.speaker, turn.words) for turn in timeline.turns] == SAID
    assert [turn.label for turn in timeline.turns] == [one.label for one in expected]
    assert [turn.probabilities for turn in timeline.turns] == [one.probabilities for one in expected]
    assert [turn.reasons for turn in timeline.turns] == [one.reasons for one in expected]
    assert not timeline.timed
    assert (timeline.duration, timeline.modalities, timeline.words_from) == (None, ("text",), "chat.csv")
    assert timeline.turns_from == "chat.csv (CSV)"
    assert Timeline.from_json(timeline.to_json()) == timeline


def test_words_of_a_script_that_the_model_does_not_know_are_warned_of(predictor: Model, tmp_path: Path) -> None:
    conditions = TrainingStatistics(conversations=9, ranges={UNKNOWN_PIECES: (0.0, 0.01)})
    strict = Model(replace(predictor.model, conditions=conditions))
    for words, warned in (("i am so happy yes no", False), ("ದಯವಿಟ್ಟು ನಾನು ಹೋಗುತ್ತೇನೆ", True)):
        path = tmp_path / "chat.csv"
        path.write_text("text\n" + f"{words}\n" * 6, encoding="utf-8")
        assert any("unknown to the text encoder" in one for one in strict.recognise(path).warnings) == warned


@pytest.mark.parametrize("option", ["speaker_gru", "speaker_crf"])
def test_unknown_speakers_are_told_where_the_model_reads_a_speakers_turns_apart(
    model: Path, tmp_path: Path, option: str
) -> None:
    apart = load(write_model(tmp_path, "both", 0.5, **{option: True}))
    rows = {
        "named": "text,speaker\nhello,ann\nno,ben\n",
        "partly": "text,speaker\nhello,ann\nno,\n",
        "unnamed": "text\nhello\nno\n",
    }
    for name, text in rows.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    told = {
        name: [one for one in apart.recognise(tmp_path / f"{name}.csv").warnings if "speaker" in one] for name in rows
    }
    assert [len(told[name]) for name in rows] == [0, 1, 1]
    assert told["partly"][0].startswith("1 turn of 2 has")
    assert told["unnamed"][0].startswith("2 turns of 2 have")
    assert not any("speaker" in one for one in load(model).recognise(tmp_path / "unnamed.csv").warnings)


def test_a_transcript_in_its_recordings_place_is_read_as_its_words(predictor: Model, tmp_path: Path) -> None:
    turns = [
        Segment(start=number, end=number + 0.5, speaker=who, words=words) for number, (who, words) in enumerate(SAID)
    ]
    write_transcript(tmp_path / "talk.srt", turns)
    timeline = predictor.recognise(tmp_path / "talk.srt")
    expected = predictor.predict(CONVERSATION, "text").utterances
    assert [turn.probabilities for turn in timeline.turns] == [one.probabilities for one in expected]
    assert [(turn.start, turn.end) for turn in timeline.turns] == [(turn.start, turn.end) for turn in turns]
    assert timeline.timed
    assert timeline.duration is None


def test_models_that_read_no_words_say_so(chat: Path, tmp_path: Path) -> None:
    with refuses("model.other_modality"):
        load(write_model(tmp_path, "audio")).recognise(chat)
    with refuses("model.reads_embeddings", "chat.csv"):
        predictor_of(recipe_of(), conversation_of(2)).recognise(chat)


def test_outputs_without_times_and_what_needs_them(
    model: Path, chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("predict", chat, "--model", model)
    moodline(*given, "-o", tmp_path / "out", "--format", "json,csv,html")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"chat.json", "chat.csv", "chat.html"}
    assert json.loads((tmp_path / "out" / "chat.json").read_text(encoding="utf-8"))["duration"] is None
    assert "<audio" not in (tmp_path / "out" / "chat.html").read_text(encoding="utf-8")
    capsys.readouterr()
    moodline(*given)
    shown = capsys.readouterr().out
    assert "Words: chat.csv" in shown
    assert "you did" in shown
    for name in ("chat.srt", "chat.TextGrid"):
        error = refused(capsys, *given, "-o", tmp_path / name)
        assert error.code == "timeline.no_times"
        assert "chat.csv" in str(error)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    "option",
    ["--modalities audio", "--transcript a.srt", "--channels speakers", "--recogniser pocketsphinx"],
)
def test_what_recordings_need_is_refused(chat: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    error = refused(capsys, "predict", chat, "--model", "none is read", *option.split())
    assert error.code == "option.not_a_recording"
    assert option.split()[0] in str(error)


def test_a_conversation_is_one_of_a_table_and_not_of_a_recording(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "several.csv").write_text("conversation,text\na,well hello\nb,no\n")
    moodline("predict", tmp_path / "several.csv", "--model", model, "--conversation", "b", "--format", "csv")
    assert ",no," in capsys.readouterr().out
    soundfile.write(tmp_path / "talk.wav", np.zeros(16_000), 16_000)
    error = refused(capsys, "predict", tmp_path / "talk.wav", "--model", model, "--conversation", "b")
    assert error.code == "option.not_a_table"
    assert "--conversation" in str(error)
