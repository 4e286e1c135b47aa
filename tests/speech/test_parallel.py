"""Many utterances at a time: in order, as one process hears them, and ended with their parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile

from moodline.audio import vad
from moodline.conversation import AudioClip
from moodline.corpora.tts import VOICES, SyntheticSpeech
from moodline.inference.pipeline import load
from moodline.speech import asr
from moodline.speech.asr import RecordedSpeech, SpeechRecogniser, count_cores
from tests.inference.tiny_models import write_model
from tests.refusals import refuses
from tests.system import moodline

CHOSEN = "pocketsphinx"
SAID = ("The form is on the table.", "What a lovely day.", "...", "I miss her so much.")


@pytest.mark.slow
def test_two_processes_hear_what_one_hears_and_tell_what_they_cannot_read(tmp_path: Path) -> None:
    sounds = [SyntheticSpeech(words, VOICES[0]) for words in SAID]
    alone = list(SpeechRecogniser(CHOSEN, 1).recognise(sounds))
    assert alone[2] == ""
    assert all(alone[:2])
    missing = RecordedSpeech(AudioClip(path=tmp_path / "none.wav", duration=1, sample_rate=16_000))
    with SpeechRecogniser(CHOSEN, 2) as both:
        assert list(both.recognise(sounds)) == alone
        with refuses("audio.missing_file", "none.wav"):
            list(both.recognise([missing]))


class Counting:
    """A recogniser whose loads, and questions for its weights' hash, are counted."""

    name = "counting"
    loads: ClassVar[list[int]] = []
    hashed = 0

    def __init__(self, chosen: str, threads: int, device: str) -> None:
        self.loads.append(threads)

    @property
    def version(self) -> str:
        Counting.hashed += 1
        return "1"

    def recognise(self, samples: np.ndarray) -> str:
        return f"{len(samples)} samples"


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    Counting.loads, Counting.hashed = [], 0
    monkeypatch.setattr(asr, "choose_recogniser", lambda named: named or "counting")
    monkeypatch.setattr(asr, "load_recogniser", Counting)
    return Counting


@pytest.fixture
def talks(tmp_path: Path) -> list[Path]:
    """Three recordings."""
    for number in range(3):
        noise = np.random.default_rng(number).uniform(-0.3, 0.3, 3 * 16_000)
        soundfile.write(tmp_path / f"{number}.wav", noise, 16_000)
    return sorted(tmp_path.glob("*.wav"))


LOADS = "__import__('sys').modules['moodline.speech.asr']._load_here.cache_info().misses"


class TestOneLoad:
    @pytest.mark.parametrize("command", ["predict", "transcribe"])
    def test_for_the_recordings_of_a_command(
        self,
        counting: type[Counting],
        talks: list[Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        command: str,
    ) -> None:
        monkeypatch.setattr(vad, "segment_speech", lambda probabilities: [(0, 40), (40, 80)])
        model = ("--model", write_model(tmp_path, "text")) if command == "predict" else ()
        moodline(command, *talks, *model, "-o", tmp_path / "out")
        assert len(list((tmp_path / "out").iterdir())) == len(talks)
        assert (len(counting.loads), counting.hashed) == (1, 1)

    def test_for_the_recordings_of_a_model(
        self, counting: type[Counting], talks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(vad, "segment_speech", lambda probabilities: [(0, 40), (40, 80)])
        model = load(write_model(tmp_path, "text"))
        assert not counting.loads
        assert len(list(model.recognise_all(talks))) == len(talks)
        assert model.recognise(talks[0]).words_from == "counting 1"
        assert (len(counting.loads), counting.hashed) == (1, 1)
        model.recognise(talks[0], recogniser="another")
        assert len(counting.loads) == 2

    @pytest.mark.slow
    def test_in_each_process_however_often_it_is_asked(self) -> None:
        with SpeechRecogniser(CHOSEN, 2) as loaded:
            for _ in range(3):
                assert list(loaded.recognise([SyntheticSpeech("Oh.", VOICES[0])] * 5))
            processes = loaded._processes
            assert loaded.name == f"{CHOSEN} en-us"
            assert loaded._processes is processes
            found = {processes.submit(eval, LOADS).result() for _ in range(20)}
        assert found == {1}
        assert "_loaded" not in loaded.__dict__  # the parent has none of its own


def test_the_number_of_processes_suits_the_recogniser(counting: type[Counting]) -> None:
    """PocketSphinx has one thread; Whisper takes all count_cores, or a GPU, in one process."""
    assert SpeechRecogniser("pocketsphinx", None).jobs == count_cores()
    whisper = SpeechRecogniser("folder/of/whisper", None)
    assert whisper.jobs == 1
    assert list(whisper.recognise([np.zeros(5)])) == ["5 samples"]
    assert counting.loads == [count_cores()]
    assert SpeechRecogniser("folder/of/whisper", 3).jobs == 3
    with refuses("option.out_of_range", 0):
        SpeechRecogniser(None, 0)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_few_sounds_are_in_memory_at_a_time(jobs: int) -> None:
    taken = 0

    def sounds() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(30):
            taken += 1
            yield np.zeros(100)

    with SpeechRecogniser(CHOSEN, jobs) as loaded:
        for done, words in enumerate(loaded.recognise(sounds())):
            assert words == ""
            assert taken - done <= asr.AHEAD * jobs + 1
    assert taken == 30


PARENT = """
import os
from moodline.corpora.tts import VOICES, SyntheticSpeech
from moodline.speech.asr import SpeechRecogniser
if __name__ == "__main__":
    with SpeechRecogniser("pocketsphinx", 2) as recogniser:
        list(recogniser.recognise([SyntheticSpeech("Oh.", VOICES[0])] * 2))
        children = open(f"/proc/self/task/{os.getpid()}/children").read()
        print(children, flush=True)
        input()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of children")
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(one) for one in parent.stdout.readline().split()]
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 30
    while any(is_running(one) for one in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(is_running(one) for one in children)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # dead, but nobody asked
