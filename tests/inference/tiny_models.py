"""Models with random weights that read embeddings in the place of their encoders: contexts and fusion alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from moodline.audio.io import inspect_file
from moodline.config import (
    AUDIO_UTTERANCE,
    ENCODERS,
    TEXT_UTTERANCE,
    AudioUtteranceConfig,
    ContextConfig,
    FusionConfig,
    Recipe,
    TextUtteranceConfig,
)
from moodline.conversation import IEMOCAP4, Conversation, Utterance
from moodline.inference.pipeline import Model
from moodline.modeling.checkpoint import TrainedModel, save_description, save_stage, save_text_assets
from moodline.modeling.context import BiGruAttention
from moodline.modeling.description import Provenance
from moodline.modeling.fusion import Fusion
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel, build_stage
from moodline.modeling.text_encoder import load_text_backbone
from moodline.recipe import parse_recipe, read_recipe
from tests.system import write_recipe
from tests.tiny import tiny_bert

RATE = 16_000
SIZES = {AUDIO_UTTERANCE: 5, TEXT_UTTERANCE: 6}
CONTEXT = ContextConfig(hidden=7)
PROVENANCE = Provenance(
    protocol="session5",
    fold="5",
    fold_hash="",
    corpus_reader="play",
    corpus_hash="",
    trained_on=(),
    selected_on=(),
    class_counts=dict.fromkeys(IEMOCAP4.classes, 1),
    moodline_version="0",
    torch_version="0",
)


def recipe_of(context: ContextConfig = CONTEXT, modalities: str = "both", *, speaker_crf: bool = False) -> Recipe:
    return Recipe(
        modalities=modalities,
        audio_utterance=AudioUtteranceConfig(given=True, embedding=SIZES[AUDIO_UTTERANCE]),
        text_utterance=TextUtteranceConfig(given=True, embedding=SIZES[TEXT_UTTERANCE]),
        audio_context=context,
        text_context=context,
        fusion=FusionConfig(hidden=12, heads=3, layers=2, feed_forward=16, speaker_crf=speaker_crf),
    )


def network_of(recipe: Recipe) -> ConversationModel:
    torch.manual_seed(0)
    parts = {stage: build_stage(stage, recipe, len(IEMOCAP4.classes)) for stage in recipe.stages}
    with torch.no_grad():  # so that attention is far from uniform, and a speaker's turns from independent
        for part in parts.values():
            if isinstance(part, Fusion) and part.speaker_crf is not None:
                part.speaker_crf.transitions.normal_(std=2.0)
            if isinstance(part, BiGruAttention):
                for name, weight in part.attention.named_parameters():
                    if name.endswith(("map.weight", "attend.in_proj_weight")):
                        weight.mul_(6)
    return ConversationModel(parts).eval()


def predictor_of(recipe: Recipe, conversation: Conversation) -> Model:
    """A predictor with random embeddings of this conversation's utterances."""
    model = TrainedModel(
        recipe=recipe, label_set=IEMOCAP4, provenance=PROVENANCE, network=network_of(recipe), tokenizer=None
    )
    generator = torch.Generator().manual_seed(1)
    given = {
        encoder: {turn.id: torch.randn(SIZES[encoder], generator=generator) for turn in conversation.utterances}
        for encoder in ENCODERS
        if encoder in recipe.given
    }
    return Model(model, given)


def conversation_of(turns: int, speakers: Sequence[str] = ("F", "M", "M")) -> Conversation:
    return Conversation(
        id="talk",
        utterances=tuple(
            Utterance(id=f"turn{turn}", speaker=speakers[turn % len(speakers)], words=f"Word {turn}.")
            for turn in range(turns)
        ),
    )


def write_model(
    place: Path,
    modalities: str,
    modality_dropout: float = 0.0,
    *,
    speaker_gru: bool = False,
    speaker_crf: bool = False,
) -> Path:
    """A model folder with encoders of its own, its weights random."""
    name = str(write_recipe(place / "tiny.yaml", tiny_bert(place / "bert")))
    recipe = parse_recipe({**read_recipe(name)[0], "modalities": modalities}, name)
    fusion = replace(recipe.fusion, modality_dropout=modality_dropout, speaker_crf=speaker_crf)
    recipe = replace(recipe, fusion=fusion)
    contexts = {stage: replace(getattr(recipe, stage), speaker_gru=speaker_gru) for stage in ENCODER_BY_STAGE}
    recipe = replace(recipe, **contexts)
    bert, tokenizer = load_text_backbone(recipe.text_utterance.pretrained, recipe.text_utterance.maximum_tokens)
    torch.manual_seed(0)
    for stage in recipe.stages:
        save_stage(place / "model", stage, build_stage(stage, recipe, len(IEMOCAP4.classes), bert))
    save_text_assets(place / "model", bert, tokenizer)
    save_description(place / "model", recipe, IEMOCAP4, PROVENANCE)
    return place / "model"


def write_talk(place: Path) -> Conversation:
    """A conversation of five turns of unlike length, with noise for speech."""
    generator, turns = np.random.default_rng(0), []
    for number, words in enumerate(["i am so happy", "no", "yes !", "i am not angry , no", "sad ?"]):
        file = place / f"{number}.wav"
        soundfile.write(file, generator.normal(0, 0.1, RATE // 2 + 3_000 * number), RATE)
        turns.append(Utterance(id=str(number), speaker="FM"[number % 2], words=words, audio=inspect_file(file)))
    return Conversation(id="talk", utterances=tuple(turns))
