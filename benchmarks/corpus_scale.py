"""Measure time and peak memory of prepare, embed and evaluate on corpora of increasing size.

    .venv/bin/python benchmarks/corpus_scale.py -o corpus_scale.json
    .venv/bin/python benchmarks/corpus_scale.py 1000 10000

The corpora are synthetic: conversations of twenty one-second turns by two speakers, one recording per conversation,
noise as audio, words by template. The model has the sizes of recipe small and random weights, which take as long as
trained ones. Every command runs in a process of its own. A temporary folder holds all files; 100,000 utterances take
4 GB.
"""

import argparse
import csv
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from commands import run, save_untrained

SIZES = (1_000, 10_000, 100_000)
TURNS = 20
SESSIONS = 5
SAMPLE_RATE = 16_000
LABELS = ("ang", "hap", "sad", "neu")
WORDS = ("well", "I", "never", "said", "that", "we", "would", "go", "there", "again", "today", "please", "really")
COLUMNS = ("conversation", "utterance", "speaker", "start", "end", "words", "audio", "label", "session")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="utterances of each corpus, fewest first")
    parser.add_argument("--threads", type=int, default=2, help="threads of every command")
    parser.add_argument("--folder", type=Path, help="folder for the corpora; default: the system's temporary folder")
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measured = measure(arguments.sizes, Path(folder), arguments.threads)
    if arguments.output:
        machine = platform.processor() or platform.machine()
        content = {"machine": machine, "cores": os.cpu_count(), "threads": arguments.threads, "commands": measured}
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")


def measure(sizes: Sequence[int], folder: Path, threads: int) -> list[dict]:
    model = folder / "model"
    save_untrained(model)
    least: dict[str, float] = {}
    measured = []
    print(f"{'utterances':>10s}  {'command':10s}{'s':>9s}{'s per 1,000':>13s}{'peak MiB':>10s}{'over least':>12s}")
    for size in sizes:
        corpus = folder / f"corpus-{size}"
        commands = {
            "prepare": ["table", make_corpus(folder / f"source-{size}", size), "-o", corpus],
            "embed": [corpus, "--model", model, "-o", folder / f"embeddings-{size}"],
            "evaluate": ["--model", model, "--corpus", corpus, "-o", folder / f"scores-{size}"],
        }
        for name, options in commands.items():
            seconds, peak = run(threads, name, *map(str, options))
            growth = peak - least.setdefault(name, peak)
            measured.append({"utterances": size, "command": name, "seconds": seconds, "peak_mib": peak})
            per_thousand = 1_000 * seconds / size
            print(f"{size:10,d}  {name:10s}{seconds:9.1f}{per_thousand:13.2f}{peak:10.0f}{growth:12.0f}", flush=True)
    return measured


def make_corpus(folder: Path, utterances: int) -> Path:
    """Write a table of this many turns and its recordings, the same on every call."""
    folder.mkdir()
    table = folder / "utterances.csv"
    generator = np.random.default_rng(0)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, first in enumerate(range(0, utterances, TURNS)):
            turns = min(TURNS, utterances - first)
            name, session = f"talk-{number}", number % SESSIONS + 1
            sound = generator.uniform(-0.1, 0.1, turns * SAMPLE_RATE)
            soundfile.write(folder / f"{name}.wav", sound, SAMPLE_RATE, subtype="PCM_16")
            for turn in range(turns):
                words = " ".join(generator.choice(WORDS, 6))
                label = LABELS[generator.integers(len(LABELS))]
                speaker = f"{name}-{'ab'[turn % 2]}"
                writer.writerow((name, f"{name}-{turn}", speaker, turn, turn + 1, words, f"{name}.wav", label, session))
    return table


if __name__ == "__main__":
    main()
