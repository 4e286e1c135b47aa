"""Measure peak memory and seconds of one training step of a recipe's utterance encoder, in its largest batch, on a CPU.

    .venv/bin/python benchmarks/memory.py iemocap audio_utterance 34
    .venv/bin/python benchmarks/memory.py iemocap-10ms audio_utterance 34
    .venv/bin/python benchmarks/memory.py iemocap text_utterance 128

The number is the length of every utterance of the batch, in seconds or in tokens. BERT has bert-base-cased's size and
random weights, without a download.
"""

import resource
import sys
import time

import torch
from transformers import BertConfig, BertModel

from moodline.config import AUDIO_UTTERANCE, ENCODERS, TEXT_UTTERANCE
from moodline.modeling.model import build_stage
from moodline.recipe import parse_recipe, read_recipe

VOCABULARY = 28_996
CLASSES = 4


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB


def main(name: str, stage: str, length: int) -> None:
    recipe = parse_recipe(read_recipe(name)[0], name)
    bert = BertModel(BertConfig(vocab_size=VOCABULARY), add_pooling_layer=False) if stage == TEXT_UTTERANCE else None
    part = build_stage(stage, recipe, CLASSES, bert).train()
    rows = recipe.get_training_config(stage).batch_size
    optimiser = torch.optim.AdamW(part.parameters())
    before = peak()
    if stage == AUDIO_UTTERANCE:
        inputs = torch.randn(rows, length * recipe.audio_utterance.sample_rate)  # (B, T)
    else:
        inputs = torch.randint(VOCABULARY, (rows, length))  # (B, T)
    started = time.perf_counter()
    logits = part(inputs, torch.full((rows,), inputs.shape[1])).logits
    torch.nn.functional.cross_entropy(logits, torch.arange(rows) % CLASSES).backward()
    optimiser.step()
    seconds = time.perf_counter() - started
    parameters = sum(parameter.numel() for parameter in part.parameters()) / 1e6
    print(
        f"{name}, {stage}, {rows} x {length}: {parameters:.1f} million parameters, {seconds:.0f} s, "
        f"{before:.2f} GiB before, {peak():.2f} at its peak"
    )


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] not in ENCODERS or not sys.argv[3].isdigit():
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
