"""Which recogniser is taken, and what the one with its model in its wheel hears."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from moodline.audio import io
from moodline.corpora import ravdess
from moodline.corpora.tts import VOICES, SyntheticSpeech
from moodline.metrics import count_word_errors
from moodline.speech import asr
from moodline.speech.asr import PocketSphinx, RecordedSpeech
from tests.refusals import refuses


@pytest.fixture(scope="module")
def sphinx() -> PocketSphinx:
    return PocketSphinx()


@pytest.mark.realdata
def test_calm_english_is_heard_nearly_without_error(sphinx: PocketSphinx, shared: Path) -> None:
    """Three actors, neutral and calm."""
    names = [f"03-01-0{emotion}-01-02-01-0{actor}" for actor in (1, 2, 3) for emotion in (1, 2)]
    clips = [io.inspect_file(shared / "corpora" / "ravdess" / f"{name}.flac") for name in names]
    said = [ravdess.STATEMENTS[name.split("-")[4]] for name in names]
    rate = count_word_errors(said, [sphinx.recognise(RecordedSpeech(clip).samples()) for clip in clips]).rate
    assert rate is not None
    assert rate < 0.2


def test_nothing_is_remembered_of_what_was_heard_before(sphinx: PocketSphinx) -> None:
    loud = np.random.default_rng(0).normal(0, 0.3, 16_000)
    speech = SyntheticSpeech("The form is on the table.", VOICES[0]).samples()
    first = sphinx.recognise(speech)
    sphinx.recognise(loud)
    assert sphinx.recognise(speech) == first == PocketSphinx().recognise(speech)
    assert first


@pytest.mark.parametrize("length", [0, 1, 200, 1_599])
def test_less_than_a_tenth_of_a_second_has_no_words(sphinx: PocketSphinx, length: int) -> None:
    assert sphinx.recognise(np.zeros(length, np.float32)) == ""


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A stand-in for faster-whisper, whose models only say their folder; returns where its models are cached."""

    def download_model(name: str, local_files_only: bool = False) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        if name not in ("tiny", "small"):
            raise ValueError(f"Invalid model size '{name}'")
        folder = tmp_path / f"models--Systran--faster-whisper-{name}" / "snapshots" / "0"
        if not folder.is_dir():
            raise LocalEntryNotFoundError("not cached")
        return str(folder)

    class WhisperModel:
        def __init__(self, folder: str, **options: object) -> None:
            self.folder = folder

        def transcribe(self, samples: np.ndarray, **options: object) -> tuple[list[SimpleNamespace], None]:
            assert samples.dtype == np.float32
            return [SimpleNamespace(text=" Heard by"), SimpleNamespace(text=f" {Path(self.folder).parts[-3]}.")], None

    module = ModuleType("faster_whisper")
    module.__dict__.update(
        download_model=download_model, WhisperModel=WhisperModel, available_models=lambda: ["tiny", "small"]
    )
    module.__spec__ = SimpleNamespace(name="faster_whisper")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    monkeypatch.setattr(asr, "find_in_wheel", lambda: None)
    return tmp_path


def cache(folder: Path, name: str, weights: bytes = b"weights") -> Path:
    model = folder / f"models--Systran--faster-whisper-{name}" / "snapshots" / "0"
    model.mkdir(parents=True)
    (model / "model.bin").write_bytes(weights)
    return model


def test_a_cached_model_of_whisper_is_taken_where_none_is_named(whisper: Path) -> None:
    assert asr.choose_recogniser(None) == "pocketsphinx"
    cache(whisper, "tiny")
    assert asr.choose_recogniser(None) == str(whisper / "models--Systran--faster-whisper-tiny/snapshots/0")
    assert asr.choose_recogniser("pocketsphinx") == "pocketsphinx"
    model = cache(whisper, "small")
    assert (
        asr.choose_recogniser(None) == asr.choose_recogniser("small") == asr.choose_recogniser(str(model)) == str(model)
    )


def test_a_wheels_model_is_taken_where_none_is_cached(whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr, "find_in_wheel", lambda: str(whisper))
    assert asr.choose_recogniser(None) == str(whisper)
    assert asr.load_recogniser(str(whisper)).name == "faster-whisper tiny.en"
    model = cache(whisper, "tiny")
    assert asr.choose_recogniser(None) == str(model)


def test_a_model_whose_fetching_was_cut_short_is_not_taken(whisper: Path) -> None:
    (cache(whisper, "tiny") / "model.bin").unlink()
    assert asr.choose_recogniser(None) == "pocketsphinx"


def test_whispers_words_are_joined_and_its_weights_known(whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodline.speech.asr.metadata.version", lambda name: "1.2")
    model = asr.load_recogniser(str(cache(whisper, "tiny")))
    assert model.recognise(np.zeros(100)) == "Heard by models--Systran--faster-whisper-tiny."
    assert model.name == "faster-whisper Systran/faster-whisper-tiny"
    other = asr.load_recogniser(str(cache(whisper, "small", b"others")))
    assert other.version != model.version


def test_what_is_no_model_is_told(whisper: Path) -> None:
    with refuses("asr.unknown_recogniser", "Invalid model size 'tinny'"):
        asr.choose_recogniser("tinny")


@pytest.mark.parametrize(
    ("package", "named", "extra", "code"),
    [
        ("pocketsphinx", "pocketsphinx", "speech", "asr.missing_extra"),
        ("faster_whisper", "tiny", "whisper", "asr.missing_extra"),
        ("jiwer", None, "speech", "evaluation.not_installed"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, named: str | None, extra: str, code: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with refuses(code, f"moodline[{extra}]"):
        asr.load_recogniser(asr.choose_recogniser(named)) if named else count_word_errors(["a"], ["b"])
