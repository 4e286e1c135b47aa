"""Measure time and peak memory of moodline predict on recordings of ten minutes and of four hours.

    .venv/bin/python benchmarks/long_recording.py
    .venv/bin/python benchmarks/long_recording.py 10 60 --heard

Two synthetic voices alternate with a sentence every three seconds; the model has recipe small's sizes and random
weights. Each command runs in a process of its own: with a transcript to JSON and to a page, and with turns from voice
activity detection, as speech alone; with --heard also with pocketsphinx's words, which takes far longer.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from commands import run, save_untrained

from moodline.conversation import Segment
from moodline.corpora.synthetic import CAST
from moodline.corpora.tts import SAMPLE_RATE, Delivery, Synthesizer
from moodline.transcripts.formats import write_transcript

MINUTES = (10, 240)
EVERY = 3.0  # seconds between the starts of turns
SENTENCES = ("I never said that.", "Well, we would go there again.", "Really? Please, not today.", "Yes, and so am I.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="*", type=int, default=MINUTES, help="of each recording, shortest first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--heard", action="store_true", help="also with words from pocketsphinx")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.minutes, arguments.threads, heard=arguments.heard)


def measure(folder: Path, minutes: Sequence[int], threads: int, *, heard: bool) -> None:
    model = folder / "model"
    save_untrained(model)
    sentences = synthesise_sentences()
    least: dict[str, float] = {}
    print(f"{'minutes':>8s}  {'command':32s}{'s':>8s}{'times real time':>17s}{'peak MiB':>10s}{'over least':>12s}")
    for length in minutes:
        talk, transcript = write_recording(folder, length, sentences)
        commands = {
            "transcript, JSON": ["--transcript", transcript, "-o", talk.with_suffix(".json")],
            "transcript, page": ["--transcript", transcript, "-o", talk.with_suffix(".html")],
            "voice activity, speech alone": ["--audio-only", "-o", talk.with_suffix(".csv")],
        }
        if heard:
            commands["voice activity, words heard"] = ["-o", talk.with_suffix(".TextGrid")]
        for name, options in commands.items():
            seconds, peak = run(threads, "predict", str(talk), "--model", str(model), *map(str, options))
            growth = peak - least.setdefault(name, peak)
            times = 60 * length / seconds
            print(f"{length:8d}  {name:32s}{seconds:8.1f}{times:17.0f}{peak:10.0f}{growth:12.0f}", flush=True)


def synthesise_sentences() -> list[np.ndarray]:
    """Synthesise the sentences with alternating voices: (T,) each."""
    speakers = [CAST[0][sex] for sex in ("F", "M") * (len(SENTENCES) // 2)]
    with Synthesizer() as synthesizer:
        return [synthesizer.speak(words, one, Delivery()) for words, one in zip(SENTENCES, speakers, strict=True)]


def write_recording(folder: Path, minutes: int, sentences: Sequence[np.ndarray]) -> tuple[Path, Path]:
    """Write a recording and its transcript."""
    talk, frames = folder / f"talk-{minutes}.wav", round(EVERY * SAMPLE_RATE)
    turns: list[Segment] = []
    with soundfile.SoundFile(talk, "w", SAMPLE_RATE, 1, subtype="PCM_16") as file:
        for number in range(round(minutes * 60 / EVERY)):
            sentence = sentences[number % len(sentences)][:frames]
            file.write(np.pad(sentence, (0, frames - len(sentence))))
            start, words = number * EVERY, SENTENCES[number % len(SENTENCES)]
            turns.append(
                Segment(start=start, end=start + len(sentence) / SAMPLE_RATE, words=words, speaker="AB"[number % 2])
            )
    write_transcript(talk.with_suffix(".srt"), turns)
    return talk, talk.with_suffix(".srt")


if __name__ == "__main__":
    main()
