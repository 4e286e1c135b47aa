"""A model whose encoder of words reads the turns before a turn: in a conversation, in training and in a stream."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moodline.config import TEXT_UTTERANCE, Recipe, TextUtteranceConfig
from moodline.conversation import IEMOCAP4, Conversation, Utterance
from moodline.inference.encode import Turn, UtteranceEncoder, list_turns
from moodline.inference.pipeline import load
from moodline.modeling.checkpoint import save_description, save_stage, save_text_assets
from moodline.modeling.model import build_stage
from moodline.modeling.text_encoder import load_text_backbone
from moodline.training.dataset import build_token_items, collate_items
from tests.inference.tiny_models import CONTEXT, PROVENANCE
from tests.system import SAME_PROBABILITY
from tests.tiny import tiny_bert

WORDS = ("yes i am so happy", "no", "", "i am not sad", "angry", "yes")
LABELS = ("hap", "neu", "xxx", "sad", "ang", "neu")
TURNS = tuple(
    Utterance(id=f"turn{number}", speaker="AB"[number % 2], words=words, label=label)
    for number, (words, label) in enumerate(zip(WORDS, LABELS, strict=True))
)
TALK = Conversation(id="talk", utterances=TURNS)


@pytest.fixture(scope="module", params=["gru", "mean"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of words alone."""
    place = tmp_path_factory.mktemp("context")
    text = TextUtteranceConfig(
        pretrained=str(tiny_bert(place / "bert")), context_words=2, pooling=request.param, hidden=7, embedding=10
    )
    recipe = Recipe(modalities="text", text_utterance=text, text_context=CONTEXT)
    backbone, tokenizer = load_text_backbone(text.pretrained, text.maximum_tokens)
    torch.manual_seed(0)
    for stage in recipe.stages:
        save_stage(place / "model", stage, build_stage(stage, recipe, len(IEMOCAP4.classes), backbone))
    save_text_assets(place / "model", backbone, tokenizer)
    save_description(place / "model", recipe, IEMOCAP4, PROVENANCE)
    return place / "model"


def test_each_turn_has_the_words_of_those_before_it() -> None:
    recipe = Recipe(text_utterance=TextUtteranceConfig(context_words=2))
    found = list_turns(TURNS[2:], recipe, before=TURNS[:2])
    assert found == list_turns(TURNS, recipe)[2:]
    assert found[0] == Turn(TURNS[2], (WORDS[0], WORDS[1]))
    assert found[2].previous == (WORDS[2], WORDS[3])
    assert list_turns(TURNS, recipe)[0].previous == ()
    assert all(turn.previous == () for turn in list_turns(TURNS, Recipe()))


def test_a_streams_turn_is_labelled_as_the_last_of_the_conversation_so_far(folder: Path) -> None:
    model = load(folder)
    stream = model.stream()
    for number, turn in enumerate(TURNS, start=1):
        expected = model.predict(replace(TALK, utterances=TURNS[:number])).utterances[-1]
        found = stream.predict(turn)
        for stage, probabilities in expected.by_stage.items():
            assert found.by_stage[stage] == pytest.approx(probabilities, abs=SAME_PROBABILITY)


def test_the_words_before_a_turn_change_its_embedding(folder: Path) -> None:
    model = load(folder)
    before = model.encode(TALK)[TEXT_UTTERANCE].embeddings
    changed = (replace(TURNS[0], words="sad"), *TURNS[1:])
    difference = (model.encode(replace(TALK, utterances=changed))[TEXT_UTTERANCE].embeddings - before).abs().amax(dim=1)
    assert (difference[:3] > 1e-4).all()  # the turn itself and the two that read it
    assert (difference[3:] <= SAME_PROBABILITY * before.abs().max()).all()


def test_training_reads_what_prediction_reads(folder: Path) -> None:
    model = load(folder).model
    part, tokenizer, recipe = model.network.parts[TEXT_UTTERANCE], model.tokenizer, model.recipe
    assert tokenizer is not None
    items = build_token_items([TALK], tokenizer, IEMOCAP4, recipe)
    batch = collate_items([items[index] for index in range(len(items))])
    scored = [turn for turn in list_turns(TURNS, recipe) if IEMOCAP4.index(turn.utterance.label) is not None]
    assert len(scored) == len(items) == 5
    expected = UtteranceEncoder(TEXT_UTTERANCE, part, recipe, tokenizer).encode(scored)
    with torch.no_grad():
        found = part(*batch.inputs)
    scale = expected.embeddings.abs().max().item()
    torch.testing.assert_close(found.embeddings, expected.embeddings, rtol=0, atol=SAME_PROBABILITY * scale)
