"""Time and peak memory of prepare, embed and evaluate on corpora of more and more one-second utterances.

    .venv/bin/python benchmarks/corpus_scale.py -o corpus_scale.json
    .venv/bin/python benchmarks/corpus_scale.py 1000 10000

The corpora are made up: conversations of twenty turns by two speakers of their own, a recording a conversation, noise
for sound, words by template. The model has the sizes of recipe small and is not trained: its scores mean nothing, and
take as long. Every command runs in a process of its own. Corpora and what is made of them lie in a folder that is
removed at the end; 100,000 utterances take 4 GB of it.
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
    parser.add_argument("--threads", type=int, default=2, help="of every command")
    parser.add_argument("--folder", type=Path, help="where corpora are put; the system's temporary folder without it")
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all that was measured")
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
    """A table of so many turns, and its recordings; the same each time."""
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
