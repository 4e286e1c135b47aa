"""Many utterances at a time: in order, as one process hears them, and ended with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moodline.asr import RecordedSpeech, load_recogniser, open_recognition
from moodline.conversation import AudioClip
from moodline.corpora.tts import VOICES, SyntheticSpeech
from moodline.errors import MoodlineError

CHOSEN = "pocketsphinx"
SAID = ("The form is on the table.", "What a lovely day.", "...", "I miss her so much.")


def test_two_processes_hear_what_one_hears_and_tell_what_they_cannot_read(tmp_path: Path) -> None:
    sounds = [SyntheticSpeech(words, VOICES[0]) for words in SAID]
    recogniser = load_recogniser(CHOSEN)
    with open_recognition(recogniser, CHOSEN, 1) as recognise:
        alone = list(recognise(sounds))
    assert alone[2] == ""
    assert all(alone[:2])
    missing = RecordedSpeech(AudioClip(path=tmp_path / "none.wav", duration=1, sample_rate=16_000))
    with open_recognition(recogniser, CHOSEN, 2) as recognise:
        assert list(recognise(sounds)) == alone
        with pytest.raises(MoodlineError, match=r"there is no file .*none\.wav"):
            list(recognise([missing]))


PARENT = """
import os
from moodline.corpora.tts import VOICES, SyntheticSpeech
from moodline.asr import open_recognition
from moodline.asr import load_recogniser
if __name__ == "__main__":
    with open_recognition(load_recogniser("pocketsphinx"), "pocketsphinx", 2) as recognise:
        list(recognise([SyntheticSpeech("Oh.", VOICES[0])] * 2))
        children = open(f"/proc/self/task/{os.getpid()}/children").read()
        print(children, flush=True)
        input()
"""


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
