"""Measure who is found to speak when, on dialogues of known speakers, and how fast.

    MOODLINE_SHARED=../shared .venv/bin/python benchmarks/diarisation.py
    MOODLINE_SHARED=../shared .venv/bin/python benchmarks/diarisation.py --speakers 2 3 --turns 150 --first-seed 1000

Each dialogue has actors of one corpus (RAVDESS, nEMO or EmoDB), so that no microphone gives a voice away, whose takes
follow each other at the distances of two turns of MELD's scenes; "overlapping" ones are as negative as there. Needs the
extra ``speakers`` and pyannote.metrics, whose diarisation error rate has a collar of 0.25 s here. Errors are shares of
the reference's speech. "one speaker" is voice activity alone; "reference turns" assigns the found speakers to turns
with the true times, as a transcript gives them.
"""

import argparse
import csv
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate

from moodline.audio.recording import open_recording
from moodline.inference.transcribe import Speakers, find_turns, no_progress
from moodline.tabular import parse_seconds

RATE = 16_000
LEVEL = 0.05  # root mean square of a take
MAX_OVERLAP = 0.8  # of a turn
BABBLE_DECIBELS = 10.0
Turn = tuple[float, float, str]


class Dialogue(NamedTuple):
    corpus: str
    speakers: int
    samples: np.ndarray
    turns: list[Turn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print("| sound | speakers | method | number right | DER | confusion | missed | false alarm | times real time |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (change, overlaps) in CONDITIONS.items():
        for count in options.speakers:
            dialogues = [
                compose(corpus, count, options.turns, seed, overlaps=overlaps)
                for corpus in ("ravdess", "nemo", "emodb")
                for seed in seeds
            ]
            for method in ("one speaker", "auto", "their number", "reference turns"):
                print_row(name, count, method, [measure(one, change, method) for one in dialogues])


def print_row(name: str, count: int, method: str, rows: Sequence[Mapping[str, float]]) -> None:
    means = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
    cells = [f"{means['right']:.2f}", *(f"{means[key]:.3f}" for key in ("der", "confusion", "missed", "false"))]
    print("|", " | ".join([name, str(count), method, *cells, f"{means['speed']:.0f}"]), "|", flush=True)


def measure(dialogue: Dialogue, change: Callable[[np.ndarray], np.ndarray], method: str) -> dict[str, float]:
    samples = change(dialogue.samples)
    speakers: Speakers = (
        dialogue.speakers if method == "their number" else "none" if method == "one speaker" else "auto"
    )
    with tempfile.TemporaryDirectory() as folder:
        transcript = None
        if method == "reference turns":
            transcript = Path(folder) / "turns.rttm"
            lines = (f"SPEAKER x 1 {s:.3f} {e - s:.3f} <NA> <NA> <NA> <NA> <NA>\n" for s, e, _ in dialogue.turns)
            transcript.write_text("".join(lines))
        started = time.perf_counter()
        found = find_turns(open_recording(samples, RATE), transcript, "mixed", None, no_progress, speakers)
        seconds = time.perf_counter() - started
    spoken = [(turn.start, turn.end, turn.speaker) for turn in found.turns]
    rate = DiarizationErrorRate(collar=0.25)
    errors: Any = rate(annotate(dialogue.turns), annotate(spoken), uem=Segment(0, len(samples) / RATE), detailed=True)
    total = errors["total"]
    return {
        "right": float(len({name for *_, name in spoken}) == dialogue.speakers),
        "der": errors["diarization error rate"],
        "confusion": errors["confusion"] / total,
        "missed": errors["missed detection"] / total,
        "false": errors["false alarm"] / total,
        "speed": len(samples) / RATE / seconds,
    }


def annotate(turns: Sequence[Turn]) -> Annotation:
    annotation = Annotation()
    for number, (start, end, speaker) in enumerate(turns):
        annotation[Segment(start, end), number] = speaker
    return annotation


def compose(corpus: str, count: int, turns: int, seed: int, *, overlaps: bool) -> Dialogue:
    """Compose a dialogue whose speakers never follow themselves."""
    draw = random.Random(f"{corpus} {count} {turns} {seed}")
    voices = draw.sample(sorted(find_takes()[corpus]), count)
    spoken: list[Turn] = []
    pieces: list[tuple[int, np.ndarray]] = []
    end, last = 0.5, ""
    for number in range(turns):
        voice = voices[number] if number < count else draw.choice([one for one in voices if one != last])
        take = read_take(draw.choice(find_takes()[corpus][voice]))
        gap, length = draw.choice(find_gaps()), len(take) / RATE
        start = max(0.0, end + (max(gap, -MAX_OVERLAP * length) if overlaps else abs(gap)))
        pieces.append((round(start * RATE), take))
        spoken.append((start, start + length, voice))
        end, last = start + length, voice
    samples = np.zeros(round((max(end for _, end, _ in spoken) + 0.5) * RATE), dtype=np.float32)
    for place, take in pieces:
        samples[place : place + len(take)] += take
    return Dialogue(corpus, count, samples, spoken)


@cache
def find_takes() -> dict[str, dict[str, list[Path]]]:
    """Find the takes of each voice of each corpus."""
    folder = Path(os.environ.get("MOODLINE_SHARED", "../shared")) / "corpora"
    takes: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for corpus, folders, find_voice in (
        ("ravdess", ("ravdess", "ravdess_more"), lambda name: name.split("-")[6]),
        ("nemo", ("nemo",), lambda name: name.split("_")[0]),
        ("emodb", ("emodb",), lambda name: name[:2]),
    ):
        for path in sorted(path for one in folders for path in (folder / one).rglob("*.flac")):
            takes[corpus][find_voice(path.stem)].append(path)
    return takes


@cache
def read_take(path: Path) -> np.ndarray:
    """Read a take without the silence around it, at the usual level."""
    samples, _ = soundfile.read(path, dtype="float32")
    power = np.convolve(samples**2, np.full(400, 1 / 400), "same")
    loud = np.flatnonzero(power > 1e-3 * power.max())
    samples = samples[loud[0] : loud[-1] + 1]
    return samples * (LEVEL / np.sqrt(np.mean(samples**2)))


@cache
def find_gaps() -> list[float]:
    """Find the seconds between two turns of different speakers in MELD's scenes; longer breaks are cuts."""
    path = Path(os.environ.get("MOODLINE_SHARED", "../shared")) / "corpora" / "meld" / "dev_sent_emo.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [gap for gap in iter_gaps(rows) if -2 < gap < 4]


def iter_gaps(rows: Sequence[Mapping[str, str]]) -> Iterator[float]:
    for before, after in pairwise(rows):
        end, start = parse_seconds(before["EndTime"]), parse_seconds(after["StartTime"])
        if before["Dialogue_ID"] == after["Dialogue_ID"] and before["Speaker"] != after["Speaker"] and end and start:
            yield start - end


def pass_telephone(samples: np.ndarray) -> np.ndarray:
    """Keep what a call keeps: 8 kHz, and 8 bits by A-law."""
    narrow = soxr.resample(samples, RATE, 8_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.wav"
        soundfile.write(path, narrow, 8_000, subtype="ALAW")
        narrow, _ = soundfile.read(path, dtype="float32")
    return soxr.resample(narrow, 8_000, RATE)


def add_babble(samples: np.ndarray) -> np.ndarray:
    """Add six other voices at once, BABBLE_DECIBELS below the speech."""
    draw = random.Random("babble")
    takes = [path for voices in find_takes().values() for paths in voices.values() for path in paths]
    babble = np.zeros_like(samples)
    for _ in range(6):
        stream = np.concatenate([read_take(path) for path in draw.choices(takes, k=len(samples) // RATE + 2)])
        babble += np.resize(stream, len(samples))
    scale = LEVEL * 10 ** (-BABBLE_DECIBELS / 20) / np.sqrt(np.mean(babble**2))
    return (samples + scale * babble).astype(np.float32)


CONDITIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "clean": (lambda samples: samples, False),
    "clean, overlapping": (lambda samples: samples, True),
    "telephone band": (pass_telephone, False),
    "babble, 10 dB": (add_babble, False),
}

if __name__ == "__main__":
    main()
