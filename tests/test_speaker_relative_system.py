"""Stages that read turns beside their speaker's others: what trains is what is scored and shipped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import moodline as package
from moodline.config import FUSION
from moodline.conversation import Conversation
from moodline.corpora.corpus import read_corpus
from moodline.corpora.protocols import build_folds
from moodline.embeddings import read_embeddings, stack_embeddings
from moodline.modeling.fusion import Fusion, LateFusion
from moodline.training.lightning_module import fit_temperature
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
    options = ("--audio_context.speaker_relative", "true", "--text_context.speaker_relative", "true")
    options += ("--fusion.speaker_crf", "true", "--fusion.late_fusion", "true", "--fusion.modality_dropout", "0.3")
    moodline("train", place / "corpus", "--recipe", recipe, "--protocol", "session5", "-o", place / "run", *options)
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
    for stage in ("audio_context", "text_context", "fusion"):
        told, untold = (model.encode(one)[stage].logits for one in (conversation, alike))
        assert not torch.allclose(told, untold, atol=1e-5)


def test_the_random_field_is_trained_and_the_fusion_calibrated(place: Path) -> None:
    model = package.load(place / "run/fold-5/model")
    fusion, labels = model.model.network.parts[FUSION], model.model.label_set
    assert isinstance(fusion, Fusion)
    assert fusion.speaker_crf is not None
    assert fusion.speaker_crf.transitions.any()
    fold = build_folds(read_corpus(place / "corpus"), "session5")[0]
    conversations = [one.prepare_for_context(labels, model.model.recipe.context) for one in fold.validation]
    logits = torch.cat([model.encode(one)[FUSION].logits for one in conversations])
    classes = np.array([labels.index(turn.label) for one in conversations for turn in one.utterances])
    fitted = fit_temperature(logits.numpy(), classes).temperature
    # The search stops at a relative distance of the square root of double precision's unit, and logits are rounded.
    assert fitted == pytest.approx(model.model.get_temperature(FUSION), rel=1e-2)


def test_late_fusion_has_the_contexts_classifiers_and_the_classes_shares(place: Path) -> None:
    model = package.load(place / "run/fold-5/model").model
    late = model.network.parts[FUSION].late_fusion
    assert isinstance(late, LateFusion)
    for stage, classifier in (("audio_context", late.audio), ("text_context", late.text)):
        expected = model.network.parts[stage].classify.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in classifier.state_dict().items())
    counts = torch.tensor([model.provenance.class_counts[name] for name in model.label_set.classes]).double()
    assert_rounded_alike(late.log_shares.exp(), counts / counts.sum(), 2)  # recipe tiny has no class weights
