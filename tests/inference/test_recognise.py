"""A recording becomes what its conversation would be: the same turns, words and emotions."""

import runpy
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from moodline.audio.recording import Recording
from moodline.conversation import AudioClip, Conversation, Segment, Utterance
from moodline.inference import transcribe
from moodline.inference.encode import ENCODER_BATCH
from moodline.inference.pipeline import Model, load
from moodline.inference.predictor import describe_model
from moodline.inference.recordings import RecognitionOptions, recognise
from moodline.speech import asr
from moodline.timeline import Timeline
from moodline.transcripts.formats import write_transcript
from tests.inference.tiny_models import write_model
from tests.refusals import refuses
from tests.system import SAME_PROBABILITY

EXAMPLE = Path(__file__).parents[2] / "examples" / "timeline.py"
RATE = 16_000
SECONDS = 9.0
TURNS = [
    Segment(start=0.25, end=1.5, speaker="ann", words="well hello there"),
    Segment(start=1.5, end=3.1, speaker="ben", words="i never said that"),
    Segment(start=2.75, end=4.0, speaker="ann", words="you did"),  # talks over the one before
    Segment(start=4.5, end=4.8, speaker="ben", words="no"),
    Segment(start=6.0, end=8.5, speaker="ann", words="would you please listen to me for once"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "both")


@pytest.fixture(scope="module")
def predictor(model: Path) -> Model:
    return load(model)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Two channels of noise (T, 2), float32."""
    generator = np.random.default_rng(0)
    return generator.uniform(-0.3, 0.3, (round(SECONDS * RATE), 2)).astype(np.float32)


@pytest.fixture
def talk(tmp_path: Path, sound: np.ndarray) -> Path:
    path = tmp_path / "talk.wav"
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    return path


def test_speakers_have_the_names_that_are_given(predictor: Model, talk: Path, tmp_path: Path) -> None:
    write_transcript(tmp_path / "talk.csv", TURNS)
    options: dict[str, Any] = {"transcript": tmp_path / "talk.csv"}
    plain, named = predictor.recognise(talk, **options), predictor.recognise(talk, names={"ben": "caller"}, **options)
    assert [turn.speaker for turn in plain.turns] == [turn.speaker for turn in TURNS]
    assert [turn.speaker for turn in named.turns] == [turn.speaker.replace("ben", "caller") for turn in TURNS]
    assert [turn.probabilities for turn in named.turns] == [turn.probabilities for turn in plain.turns]


def conversation_in(path: Path) -> Conversation:
    """The same turns as clips of a file, as a corpus would have them."""
    return Conversation(
        id="talk",
        utterances=tuple(
            Utterance(
                id=f"t{number}",
                speaker=turn.speaker,
                words=turn.words or "",
                audio=AudioClip(path=path, offset=turn.start, duration=turn.end - turn.start, sample_rate=RATE),
            )
            for number, turn in enumerate(TURNS)
        ),
    )


def probabilities(turns) -> np.ndarray:
    return np.array([list(turn.probabilities.values()) for turn in turns])


@pytest.mark.parametrize("ending", [".srt", ".json", ".TextGrid", ".csv"])
def test_a_recording_with_its_transcript_is_the_corpus_conversation(
    predictor: Model, talk: Path, tmp_path: Path, ending: str
) -> None:
    write_transcript(tmp_path / f"talk{ending}", TURNS)
    timeline = recognise(predictor, Recording.open(talk), RecognitionOptions(transcript=tmp_path / f"talk{ending}"))
    expected = predictor.predict(conversation_in(talk)).utterances
    assert [(turn.start, turn.end, turn.speaker, turn.words) for turn in timeline.turns] == [
        (turn.start, turn.end, turn.speaker, turn.words) for turn in TURNS
    ]
    assert probabilities(timeline.turns) == pytest.approx(probabilities(expected), abs=SAME_PROBABILITY)
    assert [turn.label for turn in timeline.turns] == [one.label for one in expected]
    assert timeline.duration == SECONDS
    assert timeline.turns_from.startswith(f"talk{ending} (")
    assert timeline.words_from == f"talk{ending}"


def test_an_array_is_the_file(predictor: Model, talk: Path, sound: np.ndarray, tmp_path: Path) -> None:
    write_transcript(tmp_path / "talk.srt", TURNS)
    options = RecognitionOptions(transcript=tmp_path / "talk.srt")
    of_array = recognise(predictor, Recording.from_samples(sound, RATE), options)
    of_file = recognise(predictor, Recording.open(talk), options)
    assert of_array.turns == of_file.turns


def test_below_the_threshold_a_turn_is_uncertain(predictor: Model, talk: Path, tmp_path: Path) -> None:
    write_transcript(tmp_path / "talk.srt", TURNS)
    timeline = recognise(
        predictor, Recording.open(talk), RecognitionOptions(transcript=tmp_path / "talk.srt", threshold=1.0)
    )
    assert {turn.label for turn in timeline.turns} == {"uncertain"}
    with refuses("option.out_of_range", 2.0):
        recognise(predictor, Recording.open(talk), RecognitionOptions(threshold=2.0))


def test_words_that_no_transcript_tells_are_heard_in_the_turns(
    predictor: Model, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting:
        name, version = "counting", "1"

        def recognise(self, samples: np.ndarray) -> str:
            return f"heard {len(samples)}"

    monkeypatch.setattr(asr, "choose_recogniser", lambda named: "counting")
    monkeypatch.setattr(asr, "load_recogniser", lambda *chosen: Counting())
    write_transcript(tmp_path / "talk.rttm", TURNS)
    timeline = recognise(predictor, Recording.open(talk), RecognitionOptions(transcript=tmp_path / "talk.rttm"))
    assert timeline.words_from == "counting 1"
    assert [turn.words for turn in timeline.turns] == [f"heard {round((t.end - t.start) * RATE)}" for t in TURNS]
    assert [turn.speaker for turn in timeline.turns] == [turn.speaker for turn in TURNS]


def test_where_nobody_said_a_word_a_model_of_words_says_so(
    predictor: Model, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf:
        name, version = "deaf", "1"

        def recognise(self, samples: np.ndarray) -> str:
            return ""

    monkeypatch.setattr(asr, "choose_recogniser", lambda named: "deaf")
    monkeypatch.setattr(asr, "load_recogniser", lambda *chosen: Deaf())
    write_transcript(tmp_path / "talk.rttm", TURNS)
    with refuses("model.no_words", "5 turns", talk, "deaf 1"):
        recognise(predictor, Recording.open(talk), RecognitionOptions(transcript=tmp_path / "talk.rttm"))


def test_silence_and_another_recordings_transcript_are_refused(predictor: Model, tmp_path: Path) -> None:
    quiet = Recording.from_samples(np.zeros(3 * RATE, dtype=np.float32), RATE)
    with refuses("audio.no_speech"):
        recognise(predictor, quiet, RecognitionOptions())
    write_transcript(tmp_path / "late.srt", [Segment(start=100, end=101, words="too late")])
    with refuses("transcript.other_recording"):
        recognise(predictor, quiet, RecognitionOptions(transcript=tmp_path / "late.srt"))
    with refuses("option.unfit_channels", "late.srt", "speakers"):
        recognise(predictor, quiet, RecognitionOptions(transcript=tmp_path / "late.srt", channels="speakers"))


def test_a_model_of_synthetic_voices_says_so(predictor: Model) -> None:
    model = predictor.model
    demo = replace(model, provenance=replace(model.provenance, corpus_reader="demo", notes=("a note",)))
    told, plain = describe_model(demo, "a/model"), describe_model(model, "")
    assert told.name == "a/model"
    assert "synthetic voices" in told.notes[0]
    assert told.notes[1:] == ("a note",)
    assert not any("synthetic" in note for note in plain.notes)


def test_in_python_it_is_one_call(predictor: Model, talk: Path, sound: np.ndarray, tmp_path: Path) -> None:
    transcript = tmp_path / "talk.srt"
    write_transcript(transcript, TURNS)
    given = {"transcript": str(transcript), "threshold": 0.5, "reasons": True}
    timeline = predictor.recognise(str(talk), **given)
    options = RecognitionOptions(transcript=transcript, threshold=0.5, reasons=True)
    assert timeline == recognise(predictor, Recording.open(talk), options)
    assert timeline.model.name == predictor.name != ""
    assert predictor.recognise(sound, sample_rate=RATE, **given).turns == timeline.turns
    with refuses("audio.no_rate"):
        predictor.recognise(sound)
    with refuses("audio.unfit_rate", talk, 8_000):
        predictor.recognise(talk, sample_rate=8_000)


def test_timelines_of_many_come_one_at_a_time(
    predictor: Model, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "detect_turns", lambda recording, channels: TURNS)
    timelines = predictor.recognise_all([talk, tmp_path / "gone.wav", talk])
    assert len(next(timelines).turns) == len(TURNS)
    with refuses("audio.missing_file", "gone.wav"):
        next(timelines)
    assert len(next(timelines).turns) == len(TURNS)
    with refuses("transcript.not_texts", "PosixPath"):
        predictor.recognise([talk])


def test_turns_past_the_end_of_what_is_there_are_left_out(predictor: Model, sound: np.ndarray, tmp_path: Path) -> None:
    """A file that breaks off, whose header still tells the whole length."""
    whole = tmp_path / "whole.flac"
    soundfile.write(whole, np.random.default_rng(0).uniform(-0.3, 0.3, 8 * RATE), RATE)
    (tmp_path / "cut.flac").write_bytes(whole.read_bytes()[: whole.stat().st_size * 5 // 8])
    turns = [Segment(start=float(at), end=at + 0.9, words="Yes.") for at in range(8)]
    write_transcript(tmp_path / "cut.srt", turns)
    timeline = predictor.recognise(tmp_path / "cut.flac", transcript=tmp_path / "cut.srt")
    assert timeline.duration == pytest.approx(5, abs=0.5)
    assert all(turn.end <= timeline.duration for turn in timeline.turns)
    assert any("left out" in warning for warning in timeline.warnings)
    assert [gap.end for gap in timeline.gaps] == [8.0]


def test_damage_after_the_last_turn_is_told(predictor: Model, talk: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(talk, dtype="float32")
    samples[-100:] = np.nan
    soundfile.write(tmp_path / "end.wav", samples, rate, subtype="FLOAT")
    write_transcript(tmp_path / "end.srt", TURNS[:1])
    for modalities in ("both", "text"):
        timeline = predictor.recognise(tmp_path / "end.wav", transcript=tmp_path / "end.srt", modalities=modalities)
        assert len(timeline.gaps) == 1


def test_turns_whose_sound_cannot_be_read_are_named(predictor: Model, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, 8 * RATE).astype("f4")
    samples[2 * RATE : 4 * RATE] = np.nan
    soundfile.write(tmp_path / "holed.wav", samples, RATE, subtype="FLOAT")
    turns = [Segment(start=at, end=at + 1, words="Yes.") for at in (0.0, 1.5, 2.0, 2.5, 3.0, 3.5, 5.0)]
    write_transcript(tmp_path / "holed.srt", turns)
    told = predictor.recognise(tmp_path / "holed.wav", transcript=tmp_path / "holed.srt").warnings
    (warning,) = [one for one in told if one.startswith("audio of 3 turns could not be decoded")]
    assert warning.endswith(": 2.0 s to 3.0 s, 2.5 s to 3.5 s, 3.0 s to 4.0 s")
    read = predictor.recognise(tmp_path / "holed.wav", transcript=tmp_path / "holed.srt", modalities="text")
    assert not [one for one in read.warnings if one.startswith("audio of")]


def test_the_example_prints_the_turns_and_writes_a_page_and_json(
    model: Path,
    talk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_transcript(tmp_path / "talk.srt", TURNS)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLE))["main"](str(model), str(talk), str(tmp_path / "talk.srt"))
    assert "i never said that" in capsys.readouterr().out
    timeline = Timeline.from_json((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert [turn.words for turn in timeline.turns] == [turn.words for turn in TURNS]
    assert (tmp_path / "talk.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "python examples/timeline.py MODEL RECORDING"),
        (("gone", "talk.wav"), "timeline.py: there is no folder gone"),
    ],
)
def test_the_example_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], told: str) -> None:
    monkeypatch.setattr(sys, "argv", ["timeline.py", *given])
    with pytest.raises(SystemExit, match=told):
        runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_each_turn_that_is_read_is_reported(predictor: Model, talk: Path, tmp_path: Path) -> None:
    write_transcript(tmp_path / "talk.srt", TURNS)
    reported: list[tuple[str, int, int]] = []
    predictor.recognise(talk, transcript=tmp_path / "talk.srt", progress=lambda *one: reported.append(one))
    assert reported == [("turns read", turns, len(TURNS)) for turns in range(1, len(TURNS) + 1)]


def test_the_sound_of_few_turns_is_in_memory_at_a_time(
    predictor: Model, sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waveforms that live when another is read are those of one batch of the encoder, however many turns."""
    write_transcript(tmp_path / "long.srt", [Segment(start=n / 20, end=n / 20 + 0.05, words="yes") for n in range(160)])
    alive: list[weakref.ref[np.ndarray]] = []
    most, clip = 0, Recording.clip

    def watched(*given: Any) -> np.ndarray:
        nonlocal most
        waveform = clip(*given)
        alive.append(weakref.ref(waveform))
        most = max(most, sum(one() is not None for one in alive))
        return waveform

    monkeypatch.setattr(Recording, "clip", watched)
    predictor.recognise(sound, sample_rate=RATE, transcript=tmp_path / "long.srt")
    assert len(alive) == 160
    assert most <= 2 * ENCODER_BATCH


class TestWhatIsNoValueOfAnArgument:
    @pytest.mark.parametrize("channels", ["mono", "two", None])
    def test_of_channels(self, predictor: Model, talk: Path, channels: str) -> None:
        with refuses("option.unknown_channels", repr(channels)):
            predictor.recognise(talk, channels=channels)

    @pytest.mark.parametrize("modalities", ["words", "speech"])
    def test_of_modalities(self, predictor: Model, talk: Path, tmp_path: Path, modalities: str) -> None:
        write_transcript(tmp_path / "talk.srt", TURNS)
        with refuses("option.unknown_modality", repr(modalities)):
            predictor.recognise(talk, transcript=tmp_path / "talk.srt", modalities=modalities)
        with refuses("option.unknown_modality", repr(modalities)):
            predictor.predict(conversation_in(talk), modalities)

    def test_of_jobs(self, predictor: Model, talk: Path, tmp_path: Path) -> None:
        write_transcript(tmp_path / "talk.rttm", TURNS)  # without words
        with refuses("option.out_of_range", 0):
            predictor.recognise(talk, transcript=tmp_path / "talk.rttm", jobs=0)
