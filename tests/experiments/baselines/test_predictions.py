"""A baseline under a fold: what it is scored on, and what it never reads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from moodline.config import Recipe, TextUtteranceConfig
from moodline.conversation import IEMOCAP4, Conversation, LabelSet, Utterance, create_identity_set
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold, build_folds
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import build_schema
from moodline.evaluation.scores import STAGES, score_predictions
from moodline.experiments.baselines import (
    BASELINE_NAMES,
    BASELINES,
    Baseline,
    compute_class_weights,
    predict_baseline,
    score_baselines,
)
from tests.rounding import rounding
from tests.tiny import tiny_bert

LABELS = sorted(IEMOCAP4.mapping)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return Recipe(text_utterance=TextUtteranceConfig(pretrained=str(tiny_bert(tmp_path_factory.mktemp("bert")))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def fold(corpus: Corpus) -> Fold:
    (fold,) = build_folds(corpus, "session5")
    return fold


def with_turns(conversations: tuple[Conversation, ...], change: Callable[[Utterance], Utterance]) -> tuple:
    return tuple(replace(one, utterances=tuple(map(change, one.utterances))) for one in conversations)


def other_label(turn: Utterance) -> Utterance:
    """Another class, where it has one; a turn that has none keeps none, so that what is scored is the same."""
    if turn.label not in LABELS:
        return turn
    return replace(turn, label=LABELS[(LABELS.index(turn.label) + 2) % len(LABELS)])


def predicted(baseline: Baseline, fold: Fold, labels: LabelSet, recipe: Recipe, folder: Path) -> pa.Table:
    return predict_baseline(baseline, baseline.reader(recipe, folder), fold, labels, recipe)


def answers(table: pa.Table) -> pa.Table:
    return table.drop_columns(["label"])


@pytest.mark.parametrize("key", BASELINES)
def test_it_is_scored_on_the_test_sets_utterances_beside_the_systems_stages(
    key: str, fold: Fold, recipe: Recipe, folder: Path
) -> None:
    table = predicted(BASELINES[key], fold, IEMOCAP4, recipe, folder)
    assert table.schema == build_schema(IEMOCAP4.classes)
    expected = [
        (conversation.id, turn.id, turn.speaker, IEMOCAP4.mapping[turn.label])
        for conversation in fold.test
        for turn in conversation.utterances
        if turn.label in IEMOCAP4.mapping
    ]
    named = ("conversation_id", "utterance_id", "speaker", "label")
    assert list(zip(*(table[name].to_pylist() for name in named), strict=True)) == expected
    assert set(table["stage"].to_pylist()) == {key}
    assert set(table["fold"].to_pylist()) == {fold.name}
    for row in table.to_pylist():
        chances = {name: row[f"p_{name}"] for name in IEMOCAP4.classes}
        assert sum(chances.values()) == pytest.approx(1, abs=rounding(2 * len(chances)))
        assert row["predicted"] == max(chances, key=lambda name: chances[name])
    (scores,) = score_predictions(table, IEMOCAP4.classes, stages={**STAGES, **BASELINE_NAMES}, resamples=10).scores
    assert scores.stage == key
    if key == "tf_idf":  # a label shows in the words of the tree
        assert scores.pooled.ua.value == 1


@pytest.mark.parametrize("key", BASELINES)
def test_labels_of_the_test_set_change_nothing_that_it_says(key: str, fold: Fold, recipe: Recipe, folder: Path) -> None:
    other = replace(fold, test=with_turns(fold.test, other_label))
    tables = [predicted(BASELINES[key], one, IEMOCAP4, recipe, folder) for one in (fold, other)]
    assert answers(tables[0]).equals(answers(tables[1]))
    assert not tables[0]["label"].equals(tables[1]["label"])


def test_a_speaker_who_is_tested_beside_one_who_validates_is_context_alone(
    corpus: Corpus, recipe: Recipe, folder: Path
) -> None:
    """In cv10 both sets hold the same conversations: one speaker's labels select, the other's are hidden."""
    for fold in build_folds(corpus, "cv10")[:2]:
        table = predicted(BASELINES["tf_idf"], fold, IEMOCAP4, recipe, folder)
        assert set(table["speaker"].to_pylist()) == {fold.test_speaker}

        def change(turn: Utterance, tested: str | None = fold.test_speaker) -> Utterance:
            return other_label(turn) if turn.speaker == tested else turn

        other = replace(fold, test=with_turns(fold.test, change), validation=with_turns(fold.validation, change))
        again = predicted(BASELINES["tf_idf"], other, IEMOCAP4, recipe, folder)
        assert answers(table).equals(answers(again))


@pytest.mark.parametrize("key", BASELINES)
def test_it_says_the_same_again_whether_or_not_its_features_were_kept(
    key: str, fold: Fold, recipe: Recipe, folder: Path, tmp_path: Path
) -> None:
    tables = [predicted(BASELINES[key], fold, IEMOCAP4, recipe, one) for one in (folder, folder, tmp_path)]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert {path.suffix for path in tmp_path.iterdir()} == (set() if key == "tf_idf" else {".parquet", ".lock"})


def test_classes_are_weighted_as_the_recipe_weights_them(fold: Fold, recipe: Recipe) -> None:
    counts = dict.fromkeys(IEMOCAP4.classes, 0)
    for conversation in fold.train:
        for turn in conversation.utterances:
            if turn.label in IEMOCAP4.mapping:
                counts[IEMOCAP4.mapping[turn.label]] += 1
    assert compute_class_weights(fold.train, IEMOCAP4, recipe) == pytest.approx(dict.fromkeys(IEMOCAP4.classes, 1.0))
    found = compute_class_weights(fold.train, IEMOCAP4, replace(recipe, class_weights="balanced"))
    masses = [found[name] * counts[name] for name in IEMOCAP4.classes]
    assert masses == pytest.approx([masses[0]] * len(masses), rel=rounding(2 * len(fold.train) * 100))


def test_a_class_without_training_utterances_is_named(
    corpus: Corpus, fold: Fold, recipe: Recipe, tmp_path: Path
) -> None:
    def change(turn: Utterance) -> Utterance:
        return replace(turn, label=None) if turn.label == "sad" else turn

    poorer = replace(fold, train=with_turns(fold.train, change))
    with pytest.raises(MoodlineError) as error:
        score_baselines(corpus, [BASELINES["tf_idf"]], recipe, "tiny", [poorer], 1, tmp_path, tmp_path / "out")
    assert error.value.code == "corpus.missing_class"
    assert all(one in str(error.value) for one in ("session5", "fold 5", "sad"))
    assert not (tmp_path / "out").exists()


def test_a_fold_without_a_test_set_is_refused(corpus: Corpus, recipe: Recipe, folder: Path) -> None:
    (fold,) = build_folds(corpus, "all")
    with pytest.raises(MoodlineError) as error:
        predicted(BASELINES["tf_idf"], fold, IEMOCAP4, recipe, folder)
    assert error.value.code == "evaluation.no_labels"


def test_two_classes_are_enough(fold: Fold, recipe: Recipe, folder: Path) -> None:
    labels = create_identity_set("two", "sad", "ang")
    for baseline in BASELINES.values():
        table = predicted(baseline, fold, labels, recipe, folder)
        assert set(table["label"].to_pylist()) == {"sad", "ang"}


def test_names_and_stages_of_the_system_are_not_taken() -> None:
    assert not set(BASELINES) & set(STAGES)
    assert all(baseline.key == key for key, baseline in BASELINES.items())
    names = [*STAGES.values(), *BASELINE_NAMES.values()]
    assert len(set(names)) == len(names)
