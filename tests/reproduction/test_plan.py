"""The plan: which systems the tables take, and that nothing is trained twice."""

from pathlib import Path

import pytest

from moodline.config import STAGES, Recipe
from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from moodline.reproduction.plan import Plan, plan_of
from moodline.reproduction.systems import BASE, changed
from moodline.reproduction.tables import SIZES, Choices, Table, asked_for, tables_of
from tests.tiny import tiny_bert
from tests.trees import write_tree

PROTOCOLS = ("session5", "cv5")
CHOICES = Choices(sizes=SIZES, longest_seconds=8.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("tree")
    write_tree(root)
    return iemocap.read(root)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return changed(Recipe(), {"text_utterance.bert": str(tiny_bert(tmp_path_factory.mktemp("bert")))})


@pytest.fixture(scope="module")
def tables(base: Recipe) -> list[Table]:
    return tables_of(asked_for(("1", "2", "3"), PROTOCOLS), base, CHOICES)


@pytest.fixture(scope="module")
def plan(tables: list[Table], corpus: Corpus) -> Plan:
    return plan_of(tables, corpus, seeds=2)


def test_the_base_recipe_is_in_every_table(tables: list[Table], base: Recipe) -> None:
    assert [(table.key, table.protocol) for table in tables] == [
        ("1", "session5"),
        ("2", "session5"),
        ("3", "session5"),
        ("3", "cv5"),
    ]
    for table in tables:
        own = [row for row in table.rows if row.system.name == BASE]
        assert all(row.system.recipe == base for row in own)
        assert {row.cells for row in own} == {
            "1": {("speech, context", "100", "yes"), ("words, context", "100", "yes")},
            "2": {("3", "120", "12")},
            "3": {("speech, context",), ("words, context",), ("both, fused",)},
        }[table.key]


def test_systems_differ_in_what_their_rows_say_alone(tables: list[Table], base: Recipe) -> None:
    first = {row.cells: row.system.recipe for row in tables[0].rows}
    assert first["speech, context", "50", "no"] == changed(
        base, {"modalities": "audio", "audio_utterance.embedding": 50, "audio_context.self_attention": False}
    )
    second = {row.cells: row.system.recipe for row in tables[1].rows}
    assert second["4", "240", "12"] == changed(base, {"fusion.layers": 4, "fusion.hidden": 240})
    assert second["3", "120", "4"] == changed(base, {"fusion.heads": 4})


def test_one_name_is_one_recipe(tables: list[Table]) -> None:
    recipes = {(row.system.name, row.system.recipe) for table in tables for row in table.rows}
    assert len({name for name, _ in recipes}) == len(recipes)


def test_each_stage_is_trained_by_one_task_which_the_others_await(plan: Plan) -> None:
    trained = [plan.own_stages(task) for task in plan.tasks]
    assert sum(map(len, trained)) == len({origin for task in plan.tasks for origin in task.origins.values()})
    begun: set[str] = set()
    for task in plan.tasks:  # in their order nobody waits
        assert plan.awaits(task) <= begun
        begun.add(task.name)
    assert len(begun) == len(plan.tasks)


def test_encoders_are_shared_by_all_that_have_their_size(plan: Plan) -> None:
    own = {task.name: plan.own_stages(task) for task in plan.tasks}
    assert own["base/session5-seed0-fold5"] == list(STAGES)
    assert own["base/cv5-seed0-fold5"] == []  # session5 is cv5's fifth fold
    assert own["base/cv5-seed1-fold2"] == list(STAGES)
    assert own["audio-100-no-attention/session5-seed0-fold5"] == ["audio_context"]
    assert own["fusion-1x60-12-heads/session5-seed1-fold5"] == ["fusion"]
    both = [own[f"audio-50{name}/session5-seed0-fold5"] for name in ("", "-no-attention")]
    assert sorted(both, key=len) == [["audio_context"], ["audio_utterance", "audio_context"]]


def test_one_fold_of_each_protocol(tables: list[Table], corpus: Corpus) -> None:
    assert {task.fold.name for task in plan_of(tables, corpus, 1, "5").tasks} == {"5"}


def test_a_fold_that_no_protocol_has_is_refused(tables: list[Table], corpus: Corpus) -> None:
    with pytest.raises(MoodlineError, match="session5 has the folds 5: '9' is none of them"):
        plan_of(tables, corpus, 1, "9")


def test_what_the_tables_cannot_be_of_is_refused(base: Recipe, tmp_path: Path) -> None:
    with pytest.raises(MoodlineError, match=r"the tables are 1, 2, 3, 4, .*: 7 is none of them"):
        asked_for(("1", "7"), PROTOCOLS)
    with pytest.raises(MoodlineError, match="modalities is both, not text"):
        tables_of(asked_for(("3",), PROTOCOLS), changed(base, {"modalities": "text"}), CHOICES)
