"""moodline predict decodes a recording once, and opens a text once, whatever it writes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.audio import vad
from moodline.conversation import Segment
from moodline.speech.asr import PocketSphinx
from moodline.transcripts.formats import write_transcript
from tests.decoder import Decoder
from tests.inference.tiny_models import write_model
from tests.system import moodline

RATE = 22_050  # which no part of the path reads at
SECONDS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "both")


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """talk.wav in stereo, and talk.srt beside it; voice activity finds one turn, which has some words."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (SECONDS * RATE, 2))
    soundfile.write(tmp_path / "talk.wav", noise, RATE)
    write_transcript(tmp_path / "talk.srt", [Segment(start=0.5, end=1.5, speaker="ann", words="well hello")])
    monkeypatch.setattr(vad, "segment_speech", lambda probabilities: [(10, 60)])
    monkeypatch.setattr(PocketSphinx, "recognise", lambda self, samples: "some words")
    return tmp_path / "talk.wav"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened by their paths."""
    names: list[str] = []
    really = Path.open

    def watched(path: Path, *given: object, **named: object) -> object:
        names.append(path.name)
        return really(path, *given, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", watched)
    return names


@pytest.mark.parametrize("form", ["table", "json", "csv", "srt", "textgrid", "html", "json,csv,srt,textgrid,html"])
@pytest.mark.parametrize("way", ["transcript", "voice activity", "channels"])
def test_a_recording_is_decoded_once(
    model: Path, talk: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str], form: str, way: str
) -> None:
    options: dict[str, tuple[object, ...]] = {
        "transcript": ("--transcript", talk.with_suffix(".srt")),
        "voice activity": ("--recogniser", "pocketsphinx", "--jobs", 1),
        "channels": ("--channels", "speakers", "--recogniser", "pocketsphinx", "--jobs", 1),
    }
    out = () if form == "table" else ("-o", talk.parent / "out")
    decoder = Decoder(monkeypatch)
    moodline("predict", talk, "--model", model, *options[way], "--format", form, *out)
    assert decoder.opened == ["talk.wav"]
    assert decoder.frames == SECONDS * RATE
    assert opened.count("talk.srt") == (way == "transcript")


@pytest.mark.parametrize("name", ["chat.csv", "talk.srt"])
def test_a_text_is_opened_once(model: Path, talk: Path, opened: list[str], name: str) -> None:
    (talk.parent / "chat.csv").write_text("sender,message\nann,well hello\n", encoding="utf-8")
    opened.clear()
    moodline("predict", talk.parent / name, "--model", model, "--format", "html", "-o", talk.parent / "out")
    assert opened.count(name) == 1
