"""The plan: which systems the tables take, and that nothing is trained twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from moodline.config import STAGES, Recipe
from moodline.corpora import corpus as corpora
from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from moodline.experiments.paper_tables import (
    BASE_NAME,
    PaperTable,
    build_tables,
    change_config,
    select_tables,
)
from moodline.experiments.reproduce import refuse_unfit_plan
from moodline.experiments.tasks import ExperimentTask, build_plan
from moodline.modeling import pretrained_files
from tests.tiny import tiny_bert
from tests.trees import write_tree

PROTOCOLS = ("session5", "cv5")
SIZES = (50, 100, 200)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("tree")
    write_tree(root)
    return iemocap.read(root)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return change_config(Recipe(), {"text_utterance.pretrained": str(tiny_bert(tmp_path_factory.mktemp("bert")))})


@pytest.fixture(scope="module")
def tables(base: Recipe, corpus: Corpus) -> list[PaperTable]:
    return build_tables(select_tables(("1", "2", "3"), PROTOCOLS), base, SIZES, corpus)


@pytest.fixture(scope="module")
def plan(tables: list[PaperTable], corpus: Corpus) -> list[ExperimentTask]:
    return build_plan(tables, corpus, seeds=2)


def test_the_base_recipe_is_in_every_table(tables: list[PaperTable], base: Recipe) -> None:
    assert [(table.key, table.protocol) for table in tables] == [
        ("1", "session5"),
        ("2", "session5"),
        ("3", "session5"),
        ("3", "cv5"),
    ]
    for table in tables:
        own = [row for row in table.rows if row.system.name == BASE_NAME]
        assert all(row.system.recipe == base for row in own)
        assert {row.cells for row in own} == {
            "1": {("audio context", "100", "self-attention"), ("text context", "100", "self-attention")},
            "2": {("3", "120", "12")},
            "3": {("audio context",), ("text context",), ("fusion",)},
        }[table.key]


def test_systems_differ_in_what_their_rows_say_alone(tables: list[PaperTable], base: Recipe) -> None:
    first = {row.cells: row.system.recipe for row in tables[0].rows}
    assert first["audio context", "50", "no self-attention"] == change_config(
        base, {"modalities": "audio", "audio_utterance.embedding": 50, "audio_context.self_attention": False}
    )
    second = {row.cells: row.system.recipe for row in tables[1].rows}
    assert second["4", "240", "12"] == change_config(base, {"fusion.layers": 4, "fusion.hidden": 240})
    assert second["3", "120", "4"] == change_config(base, {"fusion.heads": 4})


def test_one_name_is_one_recipe(tables: list[PaperTable]) -> None:
    recipes = {(row.system.name, row.system.recipe) for table in tables for row in table.rows}
    assert len({name for name, _ in recipes}) == len(recipes)


def list_own_stages(plan: list[ExperimentTask]) -> dict[str, list[str]]:
    return {task.name: [stage for stage, owner in task.owners.items() if owner == task.name] for task in plan}


def test_each_stage_is_trained_by_one_task_which_the_others_await(plan: list[ExperimentTask]) -> None:
    trained = list_own_stages(plan).values()
    assert sum(map(len, trained)) == len({origin for task in plan for origin in task.origins.values()})
    begun: set[str] = set()
    for task in plan:  # in their order nobody waits
        begun.add(task.name)
        assert {*task.owners.values()} <= begun
    assert len(begun) == len(plan)


def test_encoders_are_shared_by_all_that_have_their_size(plan: list[ExperimentTask]) -> None:
    own = list_own_stages(plan)
    assert own["base/session5-seed0-fold5"] == list(STAGES)
    assert own["base/cv5-seed0-fold5"] == []  # session5 is cv5's fifth fold
    assert own["base/cv5-seed1-fold2"] == list(STAGES)
    assert own["audio-100-no-attention/session5-seed0-fold5"] == ["audio_context"]
    assert own["fusion-1x60-12-heads/session5-seed1-fold5"] == ["fusion"]
    both = [own[f"audio-50{name}/session5-seed0-fold5"] for name in ("", "-no-attention")]
    assert sorted(both, key=len) == [["audio_context"], ["audio_utterance", "audio_context"]]


def test_one_fold_of_each_protocol(tables: list[PaperTable], corpus: Corpus) -> None:
    assert {task.fold.name for task in build_plan(tables, corpus, 1, "5")} == {"5"}


def test_a_fold_that_no_protocol_has_is_refused(tables: list[PaperTable], corpus: Corpus) -> None:
    with pytest.raises(MoodlineError) as error:
        build_plan(tables, corpus, 1, "9")
    assert error.value.code == "corpus.unknown_fold"
    assert all(one in str(error.value) for one in ("session5", "'9'"))


def test_what_the_tables_cannot_be_of_is_refused(base: Recipe, corpus: Corpus) -> None:
    with pytest.raises(MoodlineError) as error:
        select_tables(("1", "7"), PROTOCOLS)
    assert error.value.code == "experiment.unknown_table"
    assert "'7'" in str(error.value)
    with pytest.raises(MoodlineError) as error:
        build_tables(select_tables(("3",), PROTOCOLS), change_config(base, {"modalities": "text"}), SIZES, corpus)
    assert error.value.code == "experiment.unfit_recipe"
    assert "modalities: text" in str(error.value)
    given = base.with_precomputed({"text_utterance": 12})
    with pytest.raises(MoodlineError) as error:
        build_tables(select_tables(("3",), PROTOCOLS), given, SIZES, corpus)
    assert error.value.code == "experiment.precomputed_embeddings"
    assert "text_utterance" in str(error.value)


def test_a_plan_hashes_the_corpus_and_bert_once(
    tables: list[PaperTable], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    class CountedHash(corpora.TableHasher):
        def __init__(self) -> None:
            super().__init__()
            hashed.append("corpus")

    def counted(name: str, key: str, revision: str | None) -> str:
        hashed.append(name)
        return "0123"

    monkeypatch.setattr(corpora, "TableHasher", CountedHash)
    monkeypatch.setattr(pretrained_files, "fingerprint_model", counted)
    unread = replace(corpus)
    plan = build_plan(tables, unread, seeds=2)
    refuse_unfit_plan(plan, unread, tmp_path)
    assert len(plan) > 20
    assert sorted(hashed) == sorted(["corpus", plan[0].system.recipe.text_utterance.pretrained])
