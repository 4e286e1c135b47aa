import json
import math
from dataclasses import asdict
from io import StringIO
from statistics import mean, stdev

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from moodline.evaluation import scores as scoring
from moodline.evaluation.score_table import print_table
from moodline.evaluation.scores import (
    STAGES,
    compute_resampled_measures,
    find_final_stage,
    note_few_conversations,
    score_predictions,
)
from tests.refusals import refuses

CLASSES = ("angry", "happy", "sad", "neutral")
ACCURACY = {"text_utterance": 0.4, "text_context": 0.6, "fusion": 0.8, "majority": 0.0}


def predictions(conversations=12, folds=2, stages=ACCURACY, parts=("improvised", "scripted"), seed=0):
    """Made-up answers, right with the stage's probability; the majority is always neutral."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(conversations):
        for turn in range(int(rng.integers(5, 15))):
            label = str(rng.choice(CLASSES))
            for stage, accuracy in stages.items():
                guess = "neutral" if stage == "majority" else str(rng.choice(CLASSES))
                rows.append(
                    {
                        "utterance_id": f"turn{turn}",
                        "conversation_id": f"talk{number}",
                        "fold": f"fold{number % folds}",
                        "part": parts[number % len(parts)],
                        "stage": stage,
                        "label": label,
                        "predicted": label if rng.random() < accuracy else guess,
                    }
                )
    return pa.Table.from_pylist(rows)


def of_stage(table, stage):
    return [row for row in table.to_pylist() if row["stage"] == stage]


def three_measures(rows):
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    hits = [label == answer for label, answer in zip(labels, predicted, strict=True)]
    return mean(hits), balanced_accuracy_score(labels, predicted), f1_score(labels, predicted, average="weighted")


def assert_scores(scores, rows):
    measured = (scores.wa.value, scores.ua.value, scores.weighted_f1.value)
    assert measured == pytest.approx(three_measures(rows))
    assert scores.utterances == len(rows)
    assert scores.conversations == len({row["conversation_id"] for row in rows})


def test_every_subset_scores_as_scikit_learn_scores_its_rows():
    table = predictions()
    for stage in score_predictions(table, CLASSES, resamples=10).scores:
        rows = of_stage(table, stage.stage)
        assert_scores(stage.pooled, rows)
        assert set(stage.folds) == {"fold0", "fold1"}
        for fold, scores in stage.folds.items():
            assert_scores(scores, [row for row in rows if row["fold"] == fold])
        assert set(stage.parts) == {"improvised", "scripted"}
        for part, scores in stage.parts.items():
            assert_scores(scores, [row for row in rows if row["part"] == part])
        matrix = confusion_matrix([r["label"] for r in rows], [r["predicted"] for r in rows], labels=CLASSES)
        np.testing.assert_array_equal(stage.confusion, matrix)
        assert [one["support"] for one in stage.classes.values()] == matrix.sum(axis=1).tolist()


def test_spread_over_folds():
    for stage in score_predictions(predictions(folds=4), CLASSES, resamples=10).scores:
        values = [fold.ua.value for fold in stage.folds.values()]
        assert stage.over_folds["ua"]["mean"] == pytest.approx(mean(values))
        assert stage.over_folds["ua"]["deviation"] == pytest.approx(stdev(values))


def test_folds_keep_the_order_of_the_protocol():
    rows = predictions(conversations=12, folds=12)
    assert list(score_predictions(rows, CLASSES, resamples=10).scores[0].folds) == [
        f"fold{number}" for number in range(12)
    ]


def test_one_fold_has_no_deviation_and_one_part_no_comparison():
    stage = score_predictions(predictions(folds=1, parts=(None,)), CLASSES, resamples=10).scores[0]
    assert stage.over_folds["wa"]["deviation"] is None
    assert stage.parts == {}


def test_measures_of_resamples_are_those_of_the_repeated_rows():
    """Against a plain loop over the same draws, with scikit-learn on rows written out as often as they were drawn."""
    table = predictions(conversations=5)
    talks = [[row for row in table.to_pylist() if row["conversation_id"] == f"talk{number}"] for number in range(5)]
    drawn = np.random.default_rng(1).integers(0, 5, (20, 5))
    confusions = np.array(
        [
            [
                confusion_matrix(
                    [row["label"] for row in talk if row["stage"] == stage],
                    [row["predicted"] for row in talk if row["stage"] == stage],
                    labels=CLASSES,
                )
                for talk in talks
            ]
            for stage in ("text_context", "fusion")
        ]
    )
    measured = compute_resampled_measures(confusions, drawn)
    for resample, draw in enumerate(drawn):
        for position, stage in enumerate(("text_context", "fusion")):
            rows = [row for number in draw for row in talks[number] if row["stage"] == stage]
            assert measured[:, position, resample] == pytest.approx(three_measures(rows))


def test_intervals_are_the_percentiles_of_a_bootstrap_over_conversations():
    """Against an independent loop with other draws: ends agree to what 4,000 resamples leave open."""
    table = predictions(conversations=20, stages={"text_context": 0.5, "fusion": 0.6})
    evaluation = score_predictions(table, CLASSES, resamples=4000, seed=3)
    right = {
        stage: np.array(
            [
                [sum(hits), len(hits)]
                for number in range(20)
                for hits in [
                    [
                        row["label"] == row["predicted"]
                        for row in of_stage(table, stage)
                        if row["conversation_id"] == f"talk{number}"
                    ]
                ]
            ]
        )
        for stage in ("text_context", "fusion")
    }
    rng = np.random.default_rng(4)
    draws = [rng.integers(0, 20, 20) for _ in range(4000)]
    shares = {
        stage: np.array([hits[draw, 0].sum() / hits[draw, 1].sum() for draw in draws]) for stage, hits in right.items()
    }
    for stage in evaluation.scores:
        assert stage.pooled.wa.interval == pytest.approx(np.percentile(shares[stage.stage], (2.5, 97.5)), abs=0.01)
    [gain] = evaluation.differences
    paired = np.percentile(shares["fusion"] - shares["text_context"], (2.5, 97.5))
    assert gain.wa.interval == pytest.approx(paired, abs=0.01)


def test_intervals_hold_the_estimate_and_are_the_same_for_one_seed():
    table = predictions()
    evaluation = score_predictions(table, CLASSES)
    for stage in evaluation.scores:
        for estimate in (stage.pooled.wa, stage.pooled.ua, stage.pooled.weighted_f1):
            assert estimate.interval is not None
            assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
    assert score_predictions(table, CLASSES) == evaluation
    assert score_predictions(table, CLASSES, seed=1) != evaluation


def test_order_of_rows_does_not_matter():
    table = predictions(folds=1)
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    assert score_predictions(shuffled, CLASSES) == score_predictions(table, CLASSES)


def test_identical_conversations_leave_nothing_open():
    one = [row | {"fold": "fold0"} for row in predictions(conversations=1).to_pylist()]
    table = pa.Table.from_pylist([row | {"conversation_id": f"copy{copy}"} for copy in range(6) for row in one])
    for stage in score_predictions(table, CLASSES).scores:
        assert stage.pooled.ua.interval == pytest.approx((stage.pooled.ua.value,) * 2)


def test_one_conversation_gives_no_interval():
    evaluation = score_predictions(predictions(conversations=1), CLASSES)
    assert all(stage.pooled.wa.interval is None for stage in evaluation.scores)
    assert all(gain.ua.interval is None for gain in evaluation.differences)


@pytest.mark.parametrize(
    ("conversations", "parts", "told"),
    [
        (1, ("improvised",), []),  # there is no interval
        (12, ("improvised",), ["12 conversations"]),
        (20, ("improvised",), []),
        (24, ("improvised", "scripted"), ["12 improvised conversations", "12 scripted conversations"]),
        (40, ("improvised", "scripted"), []),
    ],
)
def test_intervals_over_few_conversations_are_called_rough(conversations, parts, told):
    notes = note_few_conversations(score_predictions(predictions(conversations, parts=parts), CLASSES).scores)
    assert [which in note for which, note in zip(told, notes, strict=True)] == [True] * len(told)


def test_differences_compare_what_is_there():
    pairs = [(gain.stage, gain.minus) for gain in score_predictions(predictions(), CLASSES, resamples=10).differences]
    assert pairs == [("text_context", "text_utterance"), ("fusion", "text_context"), ("fusion", "majority")]
    alone = predictions(stages={"audio_utterance": 0.5, "audio_context": 0.5, "majority": 0.0})
    pairs = [(gain.stage, gain.minus) for gain in score_predictions(alone, CLASSES, resamples=10).differences]
    assert pairs == [("audio_context", "audio_utterance"), ("audio_context", "majority")]


def test_differences_are_of_the_pooled_scores():
    evaluation = score_predictions(predictions(), CLASSES, resamples=10)
    pooled = {stage.stage: stage.pooled for stage in evaluation.scores}
    for gain in evaluation.differences:
        assert gain.wa.value == pytest.approx(pooled[gain.stage].wa.value - pooled[gain.minus].wa.value)
        assert gain.ua.value == pytest.approx(pooled[gain.stage].ua.value - pooled[gain.minus].ua.value)


def test_a_stage_minus_its_twin_is_zero_whatever_is_drawn():
    table = predictions(stages={"text_context": 0.5})
    twin = table.set_column(table.column_names.index("stage"), "stage", pa.array(["fusion"] * table.num_rows))
    [gain] = score_predictions(pa.concat_tables([table, twin]), CLASSES).differences
    assert (gain.ua.value, gain.ua.interval) == (0.0, (0.0, 0.0))


def test_the_baseline_speaks_only_where_nothing_else_does():
    assert find_final_stage(list(STAGES)) == "fusion"
    assert find_final_stage(["audio_utterance", "majority", "audio_context"]) == "audio_context"
    assert find_final_stage(["majority"]) == "majority"


def test_further_systems_stand_beside_the_usual_ones_and_speak_for_nothing():
    table = predictions(stages={**ACCURACY, "tf_idf": 0.9})
    with refuses("evaluation.unknown_stage", "'tf_idf'"):
        score_predictions(table, CLASSES, resamples=10)
    evaluation = score_predictions(table, CLASSES, stages={**STAGES, "tf_idf": "words, TF-IDF"}, resamples=10)
    assert [one.stage for one in evaluation.scores] == [*ACCURACY, "tf_idf"]
    assert_scores(evaluation.scores[-1].pooled, of_stage(table, "tf_idf"))
    usual = table.filter(pa.compute.field("stage") != "tf_idf")
    assert evaluation.differences == score_predictions(usual, CLASSES, resamples=10).differences
    assert find_final_stage(["tf_idf", "text_context", "majority"]) == "text_context"
    assert find_final_stage(["tf_idf", "majority"]) == "majority"


def test_goes_through_json_unchanged_and_without_nan():
    evaluation = asdict(score_predictions(predictions(conversations=1), CLASSES))
    text = json.dumps(evaluation, allow_nan=False)
    majority = json.loads(text)["scores"][-1]
    assert majority["classes"]["angry"]["precision"] is None  # never predicted
    assert majority["pooled"]["wa"]["value"] == evaluation["scores"][-1]["pooled"]["wa"]["value"]


@pytest.mark.parametrize(
    ("change", "code", "values"),
    [
        (lambda rows: [], "evaluation.no_utterance", ["label set"]),
        (
            lambda rows: [*rows, rows[0]],
            "evaluation.duplicate_utterance",
            ["'turn0'", "'talk0'", " 2 ", "'text_utterance'"],
        ),
        (lambda rows: rows[1:], "evaluation.other_utterances", ["'text_context'", "'text_utterance'"]),
        (lambda rows: [rows[0] | {"label": "bored"}, *rows[1:]], "evaluation.other_utterances", ["'text_context'"]),
        (lambda rows: [row | {"stage": "guess"} for row in rows], "evaluation.unknown_stage", ["'guess'"]),
        (lambda rows: [row | {"label": "bored"} for row in rows], "label.unknown_class", ["'bored'"]),
    ],
)
def test_says_what_is_wrong_with_predictions(change, code, values):
    table = predictions()
    faulty = pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema)
    with refuses(code, *values):
        score_predictions(faulty, CLASSES)


@pytest.mark.parametrize("folds", [1, 3])
def test_table_shows_every_number_within_80_columns(folds):
    evaluation = score_predictions(predictions(folds=folds), CLASSES)
    written = StringIO()
    notes = ["not speaker-disjoint: 7 speakers are in two sets"]
    print_table(evaluation.scores, protocol="cv5", notes=notes, console=Console(file=written, width=80))
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "cv5" in lines[0]
    assert f"{evaluation.scores[0].pooled.utterances:,} utterances" in lines[0]
    assert "Note: not speaker-disjoint: 7 speakers are in two sets." in lines
    for stage in evaluation.scores:
        pooled, *parts = [line for line in lines if line.startswith(STAGES[stage.stage])]
        for scores, line in zip((stage.pooled, *stage.parts.values()), (pooled, *parts), strict=True):
            for estimate in (scores.wa, scores.ua, scores.weighted_f1):
                low, high = estimate.interval or (math.nan, math.nan)
                assert f"{estimate.value:.3f} [{low:.3f}, {high:.3f}]" in line
    for part, scores in evaluation.scores[0].parts.items():
        size = f"{scores.utterances:,} utterances, {scores.conversations:,} conversations"
        assert lines.count(f"{part}: n = {size}") == 1
    over_folds = [line for line in lines if "±" in line]
    assert len(over_folds) == (len(evaluation.scores) if folds > 1 else 0)


def test_one_conversation_is_told_as_one():
    written = StringIO()
    print_table(
        score_predictions(predictions(conversations=1), CLASSES).scores, protocol="cv5", console=Console(file=written)
    )
    assert " utterances, 1 conversation\n" in written.getvalue()


def test_one_part_is_not_told_apart():
    written = StringIO()
    print_table(
        score_predictions(predictions(parts=(None,)), CLASSES).scores, protocol="cv5", console=Console(file=written)
    )
    assert "improvised" not in written.getvalue()
    assert len([line for line in written.getvalue().splitlines() if line.startswith("text context")]) == 1


def test_intervals_do_not_depend_on_how_many_resamples_are_drawn_at_once(monkeypatch):
    table = predictions()
    whole = score_predictions(table, CLASSES, resamples=200)
    monkeypatch.setattr(scoring, "MAX_DRAWS_PER_BATCH", 100)
    assert score_predictions(table, CLASSES, resamples=200) == whole
