"""The names that ``import moodline`` gives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import moodline
from moodline.errors import MoodlineError
from moodline.inference.pipeline import find_texts
from tests.inference.tiny_models import conversation_of, write_model
from tests.refusals import refuses

TEXTS = ["I am fine.", "You never call."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> moodline.Model:
    return moodline.from_pretrained(write_model(tmp_path_factory.mktemp("model"), "text"), device="cpu")


def test_every_name_exists_and_import_loads_no_torch() -> None:
    assert all(getattr(moodline, name) is not None for name in moodline.__all__)
    code = "import sys, moodline; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_texts_are_turns_of_two_speakers(model: moodline.Model) -> None:
    timeline = model.predict(TEXTS)
    assert [turn.words for turn in timeline.turns] == TEXTS
    assert len(timeline.speakers) == 2
    assert not timeline.timed
    same = moodline.Conversation(
        id="same",
        utterances=tuple(
            moodline.Utterance(id=str(number), speaker=turn.speaker, words=turn.words or "")
            for number, turn in enumerate(timeline.turns)
        ),
    )
    expected = model.predict(same, "text").utterances
    assert [turn.probabilities for turn in timeline.turns] == [one.probabilities for one in expected]
    assert [turn.words for turn in model.predict(TEXTS[0]).turns] == TEXTS[:1]


@pytest.mark.parametrize(("source", "is_text"), [("talk.wav", False), ("my talk.mp3", False), ("I am fine.", True)])
def test_a_string_is_a_file_by_its_suffix(source: str, is_text: bool) -> None:
    assert find_texts(source) == ([source] if is_text else None)


@pytest.mark.parametrize(
    ("source", "options", "code"),
    [
        ([np.zeros(3)], {}, "transcript.not_texts"),
        ([], {}, "transcript.not_texts"),
        (b"I am fine.", {}, "transcript.not_texts"),
        ([" "], {}, "transcript.no_words"),
        (TEXTS, {"modalities": "audio"}, "option.not_a_recording"),
        (conversation_of(2), {"jobs": 2}, "option.not_a_recording"),
        (TEXTS, {"modalities": "txt"}, "option.unknown_modality"),
        (TEXTS, {"threshold": "high"}, "option.out_of_range"),
        (TEXTS, {"thresold": 0.5}, "option.unknown"),
        (np.zeros(9), {"sample_rate": "16k"}, "audio.bad_rate"),
    ],
)
def test_misfits_are_refused(model: moodline.Model, source: object, options: dict[str, object], code: str) -> None:
    with pytest.raises(MoodlineError) as error:
        model.predict(source, **options)  # type: ignore[call-overload]
    assert error.value.code == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("corpus",), "option.missing"),
        ((None, "scores"), "option.missing"),
        (("corpus", "scores"), "option.unfit"),
    ],
)
def test_a_causal_evaluation_takes_a_run_alone(arguments: tuple[str | None, ...], code: str) -> None:
    with pytest.raises(MoodlineError) as error:
        moodline.evaluate("model", *arguments, causal=True)
    assert error.value.code == code


def test_a_timeline_saves_what_its_methods_return(model: moodline.Model, tmp_path: Path) -> None:
    timeline = model.predict(TEXTS)
    for ending, text in {".json": timeline.to_json(), ".csv": timeline.to_csv(), ".html": timeline.to_html()}.items():
        timeline.save(tmp_path / f"talk{ending}")
        with (tmp_path / f"talk{ending}").open(encoding="utf-8", newline="") as file:
            assert file.read() == text
    assert moodline.Timeline.from_json(timeline.to_json()) == timeline
    with pytest.raises(MoodlineError) as error:
        timeline.save(tmp_path / "talk.docx")
    assert error.value.code == "timeline.unknown_format"
    for write in (timeline.to_srt, timeline.to_textgrid):
        with pytest.raises(MoodlineError):
            write()
    if "pandas" in sys.modules or __import__("importlib.util").util.find_spec("pandas"):
        assert list(timeline.to_pandas()["words"]) == TEXTS


def test_arguments_of_other_types_are_refused(model: moodline.Model) -> None:
    for call in (moodline.load, moodline.read_corpus, moodline.evaluate):
        with refuses("file.not_a_path", None):
            call(None)  # type: ignore[arg-type]
    for empty in ("", " \n"):
        with refuses("transcript.no_words"):
            model.predict(empty)
    with refuses("stream.not_an_utterance", "'hello'"):
        model.stream().predict("hello")  # type: ignore[arg-type]
    for samples in ([0.0, "a"], "hello", None):
        with refuses("stream.bad_samples"):
            model.stream().predict_samples(samples, 16_000, "hello")  # type: ignore[arg-type]


def test_errors_name_the_options_of_the_command_line_and_of_python(model: moodline.Model) -> None:
    for option, parameter, given in (
        ("--transcript", "transcript", {"transcript": "a.srt"}),
        ("--channels", "channels", {"channels": "speakers"}),
        ("--modalities audio", "modalities='audio'", {"modalities": "audio"}),
    ):
        with refuses("option.not_a_recording", option, f"in Python {parameter}"):
            model.predict(TEXTS, **given)
