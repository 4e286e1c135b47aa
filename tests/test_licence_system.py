"""A run's models have one licence, that changes without training; and they know the conditions of their training."""

import json
import shutil
from pathlib import Path

import pytest

from moodline.corpora.corpus import read_corpus
from moodline.corpora.protocols import build_folds
from moodline.inference.domain_shift import compute_training_statistics
from moodline.inference.predictor import describe_model
from moodline.modeling.checkpoint import load_model
from moodline.modeling.description import MEASURES, UNSTATED_LICENCE, load_description
from moodline.modeling.text_encoder import Tokenizer
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

FIRST, SECOND = "CC BY-NC 4.0, for research alone", "Apache-2.0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and a run of its fold 2 under a licence: corpus/, run/."""
    place = tmp_path_factory.mktemp("licensed")
    write_tree(place / "tree", seed=3)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    train(place, place / "run", "2", "--licence", FIRST)
    return place


def train(place: Path, run: Path, fold: str, *options: object) -> None:
    recipe = ("--recipe", place / "tiny.yaml", "--protocol", "cv5", "--fold", fold)
    moodline("train", place / "corpus", *recipe, "-o", run, *options)


def copied(place: Path, to: Path) -> Path:
    shutil.copytree(place / "run", to / "run")
    return to / "run"


def made(run: Path) -> dict[Path, int]:
    """When the files that training writes were written."""
    files = [*run.rglob("*.safetensors"), *run.rglob("stages/*.json"), *run.rglob("embeddings/*")]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_licence_is_told_wherever_the_model_is(place: Path) -> None:
    model = load_model(place / "run/fold-2/model")
    assert model.provenance.licence == FIRST
    assert describe_model(model, "m").licence == FIRST
    assert f"- Licence: {FIRST}\n" in (place / "run/fold-2/model/README.md").read_text()


def test_a_command_without_a_licence_keeps_it_for_all_folds(place: Path, tmp_path: Path) -> None:
    run = copied(place, tmp_path)
    before = made(run)
    train(place, run, "2")
    assert made(run) == before
    train(place, run, "3")
    for fold in (2, 3):
        assert load_description(run / f"fold-{fold}/model").provenance.licence == FIRST


def test_another_licence_changes_all_models_and_trains_none(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(place, tmp_path)
    before, described = made(run), load_description(run / "fold-2/model")
    train(place, run, "2", "--licence", SECOND)
    told = capsys.readouterr().out
    assert f"fold-2/model: its licence was {FIRST}, and is {SECOND}" in told
    assert made(run) == before
    found = load_description(run / "fold-2/model")
    assert found.provenance.licence == SECOND
    assert (found.temperatures, found.conditions) == (described.temperatures, described.conditions)
    assert f"- Licence: {SECOND}\n" in (run / "fold-2/model/README.md").read_text()
    train(place, run, "2")
    assert "its licence" not in capsys.readouterr().out
    assert load_description(run / "fold-2/model") == found


@pytest.mark.parametrize("licence", ["", " ", "one\ntwo"])
def test_a_licence_is_one_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], licence: str) -> None:
    with pytest.raises(SystemExit):
        train(place, tmp_path / "run", "2", "--licence", licence)
    assert "a licence must be one line of text" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def older(run: Path) -> None:
    """Make a run one of the schema before licences and conditions."""
    config = run / "fold-2/model/config.json"
    content = json.loads(config.read_text())
    del content["conditions"], content["provenance"]["licence"]
    config.write_text(json.dumps(content | {"schema": 2}))
    of_run = json.loads((run / "run.json").read_text())
    del of_run["licence"]
    (run / "run.json").write_text(json.dumps(of_run))


def test_an_older_model_loads_and_the_same_command_tells_it_what_it_lacks(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(place, tmp_path)
    older(run)
    model = load_model(run / "fold-2/model")
    assert describe_model(model, "m").licence == UNSTATED_LICENCE
    assert model.conditions is None
    before = made(run)
    train(place, run, "2", "--licence", FIRST)
    told = capsys.readouterr().out
    assert f"its licence was {UNSTATED_LICENCE}, and is {FIRST}" in told
    assert "statistics of the training data added; weights unchanged" in told
    assert made(run) == before
    assert load_description(run / "fold-2/model") == load_description(place / "run/fold-2/model")


def test_an_older_moodline_does_not_take_a_licensed_model_for_a_broken_one(place: Path) -> None:
    """Its provenance has a key that a reader of schema 2 knows nothing of."""
    assert json.loads((place / "run/fold-2/model/config.json").read_text())["schema"] > 2


def test_a_model_knows_the_conditions_of_its_training_set_alone(place: Path) -> None:
    model = load_description(place / "run/fold-2/model")
    corpus = read_corpus(place / "corpus")
    (fold,) = [one for one in build_folds(corpus, "cv5") if one.name == "2"]
    sets = fold.get_training_sets(model.label_set, model.recipe.context)
    tokenizer = Tokenizer.from_file(place / "run/fold-2/model/bert/tokenizer.json", 128)
    expected = compute_training_statistics(sets.train, model.recipe, tokenizer)
    assert model.conditions == expected
    assert set(expected.ranges) == set(MEASURES)
    assert compute_training_statistics((*sets.train, *sets.validation), model.recipe, tokenizer) != expected
