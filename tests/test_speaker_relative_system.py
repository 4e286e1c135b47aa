"""Context stages that read turns beside their speaker's others: what trains is what is scored and shipped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import moodline as package
from moodline.conversation import Conversation
from moodline.corpora.corpus import read_corpus
from moodline.corpora.protocols import build_folds
from moodline.embeddings import read_embeddings, stack_embeddings
from tests.rounding import assert_rounded_alike
from tests.system import OPERATIONS, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("speaker-relative")
    write_tree(place / "tree")
    recipe = write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    relative = ("--audio_context.speaker_relative", "true", "--text_context.speaker_relative", "true")
    moodline("train", place / "corpus", "--recipe", recipe, "--protocol", "session5", "-o", place / "run", *relative)
    return place


def validation_conversation(place: Path) -> Conversation:
    model = package.load(place / "run/fold-5/model").model
    return (
        build_folds(read_corpus(place / "corpus"), "session5")[0]
        .validation[0]
        .prepare_for_context(model.label_set, model.recipe.context)
    )


@pytest.mark.parametrize("stage", ["audio_context", "text_context"])
def test_the_loaded_model_gives_what_the_fusion_was_trained_on(place: Path, stage: str) -> None:
    conversation = validation_conversation(place)
    found = package.load(place / "run/fold-5/model").encode(conversation)[stage].embeddings
    kept = read_embeddings(place / "run/fold-5/embeddings" / f"{stage}.parquet").vectors
    ids = [utterance.id for utterance in conversation.utterances]
    assert_rounded_alike(found, stack_embeddings(kept, ids), OPERATIONS)


def test_who_speaks_matters(place: Path) -> None:
    model, conversation = package.load(place / "run/fold-5/model"), validation_conversation(place)
    assert len({utterance.speaker for utterance in conversation.utterances}) > 1
    alike = replace(
        conversation, utterances=tuple(replace(utterance, speaker="one") for utterance in conversation.utterances)
    )
    for stage in ("audio_context", "text_context"):
        told, untold = (model.encode(one)[stage].logits for one in (conversation, alike))
        assert not torch.allclose(told, untold, atol=1e-5)
