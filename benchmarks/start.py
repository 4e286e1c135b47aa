"""Measure the duration of a short `moodline predict`, of importing torch and BertModel, and of `moodline --help`.

    .venv/bin/python benchmarks/start.py MODEL

The recording is two seconds of noise with a transcript of one turn: the duration is that of imports and of loading the
model. The three commands alternate, each in a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from moodline.conversation import Segment
from moodline.transcripts.formats import write_transcript

RATE = 16_000
SECONDS = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--repeats", type=int, default=5, help="repetitions after one that is not counted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sound, transcript = Path(folder, "talk.wav"), Path(folder, "talk.srt")
        soundfile.write(sound, np.random.default_rng(0).uniform(-0.1, 0.1, round(SECONDS * RATE)), RATE)
        write_transcript(transcript, [Segment(start=0.0, end=SECONDS, words="well I never")])
        moodline = [sys.executable, "-m", "moodline.cli.main"]
        predict = [*moodline, "predict", str(sound), "--transcript", str(transcript), "--model", str(options.model)]
        commands = {
            "import torch, BertModel": [sys.executable, "-c", "import torch\nfrom transformers import BertModel"],
            "moodline predict": predict,
            "moodline --help": [*moodline, "--help"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.repeats + 1):
            for name, command in commands.items():
                seconds[name].append(time_command(command))
    for name, values in seconds.items():
        counted = sorted(values[1:])
        print(f"{name:26s}{statistics.median(counted):6.2f} s, {counted[0]:.2f} to {counted[-1]:.2f}")


def time_command(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
