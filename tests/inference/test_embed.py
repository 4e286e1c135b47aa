"""What moodline embed writes."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import moodline as package
from moodline.conversation import Conversation
from moodline.corpora.corpus import Corpus, read_corpus
from moodline.corpora.protocols import build_folds
from moodline.embeddings import TrainingRecord, read_embeddings
from moodline.inference.embed import write_model_embeddings
from moodline.inference.predictor import Predictor
from moodline.training.provenance import build_provenance
from tests.refusals import refuses
from tests.system import SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and a model of words: corpus/, run/."""
    place = tmp_path_factory.mktemp("embed")
    write_tree(place / "tree")
    recipe = write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    options = ("--recipe", recipe, "--protocol", "session5", "--modalities", "text")
    moodline("train", place / "corpus", *options, "-o", place / "run")
    return place


@pytest.fixture(scope="module")
def model(place: Path) -> Predictor:
    return package.load(place / "run/fold-5/model")


@pytest.fixture(scope="module")
def words(place: Path) -> Corpus:
    return read_corpus(place / "corpus")


@pytest.mark.parametrize(("stage", "name"), [("utterance", "text_utterance"), ("context", "text_context")])
def test_every_utterance_has_its_stages_embedding(
    place: Path, tmp_path: Path, model: Predictor, words: Corpus, stage: str, name: str
) -> None:
    moodline("embed", place / "corpus", "--model", place / "run/fold-5/model", "--stage", stage, "-o", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["text.parquet"]
    found = read_embeddings(tmp_path / "out" / "text.parquet")
    assert list(found.vectors) == [utterance.id for utterance in words.utterances]
    classify = model.model.network.parts[name].classify
    for conversation in words.conversations:
        vectors = torch.stack([found.vectors[utterance.id] for utterance in conversation.utterances])
        with torch.no_grad():
            probabilities = (classify(vectors) / model.model.get_temperature(name)).softmax(dim=-1).tolist()
        for row, one in zip(probabilities, model.predict(conversation).utterances, strict=True):
            assert row == pytest.approx(list(one.by_stage[name].values()), abs=SAME_PROBABILITY)


def test_the_file_tells_what_its_model_has_seen(tmp_path: Path, model: Predictor, words: Corpus) -> None:
    (path,) = write_model_embeddings(model, words.conversations[:1], "utterance", tmp_path)
    seen, provenance = read_embeddings(path).training_record, model.model.provenance
    assert list(seen.trained_on) == list(provenance.trained_on)
    assert list(seen.selected_on) == list(provenance.selected_on)
    assert seen.trained_on
    assert seen.selected_on


def test_what_stands_beside_the_models_scores_stands_beside_those_of_its_readers(
    tmp_path: Path, model: Predictor, words: Corpus
) -> None:
    provenance = replace(model.model.provenance, notes=("selected on its training set",))
    noted = Predictor(replace(model.model, provenance=provenance))
    before = TrainingRecord(notes=("of recognised words",))
    (path,) = write_model_embeddings(noted, words.conversations[:1], "utterance", tmp_path, records=[before])
    file = read_embeddings(path)
    assert file.training_record.notes == ("selected on its training set", "of recognised words")
    (fold,) = build_folds(words, "session5")
    recipe = model.model.recipe
    made = build_provenance(recipe, model.model.label_set, words, fold, {"text_utterance": file})
    assert set(file.training_record.notes) <= set(made.notes)


def test_progress_is_told_and_empty_conversations_are_no_matter(
    tmp_path: Path, model: Predictor, words: Corpus
) -> None:
    done: list[int] = []
    conversations = [words.conversations[0], Conversation(id="empty", utterances=())]
    (path,) = write_model_embeddings(model, conversations, "context", tmp_path, done.append)
    assert done == [1, 2]
    assert len(read_embeddings(path).vectors) == len(words.conversations[0].utterances)


def test_what_cannot_be_embedded_is_refused(tmp_path: Path, model: Predictor, words: Corpus) -> None:
    first = words.conversations[0]
    with refuses("embeddings.no_stage", "text_context", "utterance or context"):
        write_model_embeddings(model, [first], "fusion", tmp_path / "out")
    with refuses("embeddings.ambiguous_id", first.id, "copy"):
        write_model_embeddings(model, [first, replace(first, id="copy")], "utterance", tmp_path / "out")
    with refuses("embeddings.no_utterance"):
        write_model_embeddings(model, [], "utterance", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_embeddings_of_another_model_or_stage_are_not_replaced_nor_joined(
    tmp_path: Path, model: Predictor, words: Corpus
) -> None:
    talks = words.conversations[:2]
    (path,) = write_model_embeddings(model, talks[:1], "utterance", tmp_path)
    write_model_embeddings(model, talks, "utterance", tmp_path)  # the same model's and stage's are made anew
    before = path.read_bytes()
    assert len(read_embeddings(path).vectors) == sum(len(talk.utterances) for talk in talks)
    network = deepcopy(model.model.network)
    with torch.no_grad():
        next(network.parameters()).add_(1e-3)
    trained_further = Predictor(replace(model.model, network=network))
    for other, stage in ((trained_further, "utterance"), (model, "context")):
        with refuses("embeddings.other_maker", path):
            write_model_embeddings(other, talks, stage, tmp_path)
    assert path.read_bytes() == before
    path.rename(tmp_path / "audio.parquet")  # which this model's would stand beside
    with refuses("embeddings.other_maker", "audio.parquet"):
        write_model_embeddings(trained_further, talks, "utterance", tmp_path)


def test_a_file_that_says_nothing_of_its_model_is_not_replaced(tmp_path: Path, model: Predictor, words: Corpus) -> None:
    (tmp_path / "text.parquet").write_text("mine")
    with refuses("embeddings.other_maker", "text.parquet"):
        write_model_embeddings(model, words.conversations[:1], "utterance", tmp_path)
    assert (tmp_path / "text.parquet").read_text() == "mine"
