"""Measure the cost of context on a CPU: a turn of a stream beyond the encoders, and memory of long conversations.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/stream.py turn
    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/stream.py memory 20000
    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/stream.py memory 2000 whole

The contexts and the fusion have the paper's sizes (recipes/iemocap.yaml) and random weights. ``turn`` times a turn
after histories of several lengths; ``memory`` reads a conversation of this many turns in windows or, with ``whole``, at
once. Process time sums all threads; a value far below wall-clock time means that the machine was busy.
"""

import resource
import sys
import time
from pathlib import Path

import torch

from moodline.config import Recipe
from moodline.conversation import AudioClip, Utterance
from moodline.inference.streaming import MAX_HISTORY, ConversationHistory, encode_newest
from moodline.inference.windows import OVERLAP, WINDOW, encode_in_windows
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel, build_stage
from moodline.recipe import parse_recipe, read_recipe

CLASSES = 4
HISTORIES = (32, 64, 96, 128, 192, 256, 384, 512)
TIMES = 20
CLIP = AudioClip(path=Path("never-read.wav"), offset=0.0, duration=1.0, sample_rate=16_000)


def build_network() -> tuple[Recipe, ConversationModel]:
    recipe = parse_recipe(read_recipe("iemocap")[0], "iemocap")
    torch.manual_seed(0)
    later = [stage for stage in recipe.stages if stage not in ENCODER_BY_STAGE.values()]
    return recipe, ConversationModel({stage: build_stage(stage, recipe, CLASSES) for stage in later}).eval()


def draw_embeddings(recipe: Recipe, turns: int) -> dict[str, torch.Tensor]:
    return {encoder: torch.randn(turns, getattr(recipe, encoder).embedding) for encoder in ENCODER_BY_STAGE.values()}


def time_turns(recipe: Recipe, network: ConversationModel) -> None:
    for turns in HISTORIES:
        history, given = ConversationHistory(recipe, turns), draw_embeddings(recipe, turns + TIMES)
        clock, process = [], []
        for turn in range(turns + TIMES):
            one = {encoder: values[turn] for encoder, values in given.items()}
            began = time.perf_counter(), time.process_time()
            read = history.add(one, Utterance(id=str(turn), speaker="FM"[turn % 2], words="Yes.", audio=CLIP))
            if turn < turns:
                continue
            encode_newest(network, [read])
            clock.append(1000 * (time.perf_counter() - began[0]))
            process.append(1000 * (time.process_time() - began[1]))
        clock, process = sorted(clock), sorted(process)
        mark = " (that of a stream)" if turns == MAX_HISTORY else ""
        print(
            f"{turns:4} turns of history{mark}: {clock[0]:.0f} ms a turn at best, median {clock[TIMES // 2]:.0f}, "
            f"worst {clock[-1]:.0f}; of the process {process[TIMES // 2]:.0f} ms"
        )


def measure_memory(recipe: Recipe, network: ConversationModel, turns: int, size: int, overlap: int) -> None:
    read = draw_embeddings(recipe, turns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    encode_in_windows(network, read, size, overlap)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10  # MiB
    print(
        f"{turns} turns in windows of {size}: peak {grown:.0f} MiB above the {before / 2**10:.0f} before, "
        f"{time.process_time() - began:.1f} s of the process"
    )


def main(what: str, turns: int, whole: bool) -> None:
    recipe, network = build_network()
    if what == "turn":
        time_turns(recipe, network)
    elif whole:
        measure_memory(recipe, network, turns, turns, 0)
    else:
        measure_memory(recipe, network, turns, WINDOW, OVERLAP)


if __name__ == "__main__":
    given = sys.argv[1:]
    if given != ["turn"] and not (len(given) in (2, 3) and given[0] == "memory" and given[1].isdigit()):
        raise SystemExit(__doc__)
    main(given[0], int(given[1]) if len(given) > 1 else 0, given[2:] == ["whole"])
