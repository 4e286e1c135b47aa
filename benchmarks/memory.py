"""Peak memory of one training step of an utterance encoder of recipe iemocap, in its largest batch, on a CPU.

    .venv/bin/python benchmarks/memory.py audio_utterance 34
    .venv/bin/python benchmarks/memory.py text_utterance 128

The number is the length of every utterance of the batch, in seconds or in tokens. BERT has bert-base-cased's size and
random weights, so that nothing is downloaded.
"""

import resource
import sys

import torch
from transformers import BertConfig, BertModel

from moodline.config import AUDIO_UTTERANCE, ENCODERS, TEXT_UTTERANCE
from moodline.model import build_stage
from moodline.recipe import read_recipe, recipe_from

VOCABULARY = 28_996
CLASSES = 4


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB


def main(stage: str, length: int) -> None:
    recipe = recipe_from(read_recipe("iemocap")[0], "iemocap")
    bert = BertModel(BertConfig(vocab_size=VOCABULARY), add_pooling_layer=False) if stage == TEXT_UTTERANCE else None
    part = build_stage(stage, recipe, CLASSES, bert).train()
    rows = recipe.training_of(stage).batch_size
    optimiser = torch.optim.AdamW(part.parameters())
    before = peak()
    if stage == AUDIO_UTTERANCE:
        inputs = torch.randn(rows, length * recipe.audio_utterance.sample_rate)  # (B, T)
    else:
        inputs = torch.randint(VOCABULARY, (rows, length))  # (B, T)
    logits = part(inputs, torch.full((rows,), inputs.shape[1])).logits
    torch.nn.functional.cross_entropy(logits, torch.arange(rows) % CLASSES).backward()
    optimiser.step()
    parameters = sum(parameter.numel() for parameter in part.parameters()) / 1e6
    print(
        f"{stage}, {rows} x {length}: {parameters:.1f} million parameters, {before:.1f} GiB before, {peak():.1f} after"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ENCODERS or not sys.argv[2].isdigit():
        raise SystemExit(__doc__)
    main(sys.argv[1], int(sys.argv[2]))
