"""Differences between systems, against the equations written out utterance by utterance."""

from statistics import mean, stdev

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from moodline.errors import MoodlineError
from moodline.evaluation.scores import RESAMPLES
from moodline.experiments.comparisons import (
    MEASURES,
    PartPredictions,
    average_seeds,
    collect_predictions,
    compare_parts,
)

CLASSES = ("angry", "happy", "sad")


def answers(seed: int, accuracy: float, conversations: int = 24) -> pa.Table:
    """Made-up answers to the same questions, right with a probability."""
    truth, rng = np.random.default_rng(99), np.random.default_rng(seed)
    rows = []
    for talk in range(conversations):
        for turn in range(int(truth.integers(3, 12))):
            label = str(truth.choice(CLASSES))
            guess = label if rng.random() < accuracy else str(rng.choice(CLASSES))
            facts = {"conversation_id": f"talk{talk}", "utterance_id": f"talk{talk}_{turn}", "label": label}
            rows += [{**facts, "stage": stage, "predicted": guess} for stage in ("text_context", "fusion")]
    return pa.Table.from_pylist(rows)


def said(table: pa.Table, stage: str = "fusion") -> PartPredictions:
    return collect_predictions(table, stage, CLASSES)


def measures(rows: list[dict[str, str]]) -> np.ndarray:
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    hits = mean(label == answer for label, answer in zip(labels, predicted, strict=True))
    return np.array([hits, balanced_accuracy_score(labels, predicted), f1_score(labels, predicted, average="weighted")])


def fused(table: pa.Table) -> dict[str, list[dict[str, str]]]:
    """Rows by conversation."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in table.to_pylist():
        if row["stage"] == "fusion":
            found.setdefault(row["conversation_id"], []).append(row)
    return found


def test_a_difference_is_that_of_the_means_over_seeds() -> None:
    one, other = [answers(seed, 0.7) for seed in (1, 2, 3)], [answers(seed, 0.4) for seed in (4, 5)]
    expected = np.mean([measures(flat(table)) for table in one], axis=0) - np.mean(
        [measures(flat(table)) for table in other], axis=0
    )
    found = compare_parts([said(table) for table in one], [said(table) for table in other])
    assert [found.measures[name].value for name in MEASURES] == pytest.approx(expected)
    assert found.is_clear


def flat(table: pa.Table) -> list[dict[str, str]]:
    return [row for rows in fused(table).values() for row in rows]


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_intervals_draw_the_same_conversations_for_both() -> None:
    one, other = answers(1, 0.7), answers(2, 0.5)
    mine, yours = fused(one), fused(other)
    names = sorted(mine)
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    differences = [
        measures([row for at in draw for row in mine[names[at]]])
        - measures([row for at in draw for row in yours[names[at]]])
        for draw in drawn
    ]
    low, high = np.percentile(differences, [2.5, 97.5], axis=0)
    found = compare_parts([said(one)], [said(other)])
    intervals = np.array([found.measures[name].interval for name in MEASURES])
    np.testing.assert_allclose(intervals, np.stack([low, high], axis=1), atol=1e-12)


def test_the_effect_is_cohens_d_of_the_conversations_shares_of_right_answers() -> None:
    one, other = answers(1, 0.7), answers(2, 0.5)
    shares = [
        {name: mean(row["label"] == row["predicted"] for row in rows) for name, rows in fused(table).items()}
        for table in (one, other)
    ]
    differences = [shares[0][name] - shares[1][name] for name in shares[0]]
    found = compare_parts([said(one)], [said(other)])
    assert found.effect == pytest.approx(mean(differences) / stdev(differences))


def test_a_system_and_itself_are_not_apart() -> None:
    table = answers(1, 0.6)
    found = compare_parts([said(table)], [said(table, "text_context")])
    assert (found.measures["ua"].value, found.measures["ua"].interval) == (0.0, (0.0, 0.0))
    assert not found.is_clear
    assert found.effect is None


def test_one_conversation_has_no_interval() -> None:
    one, other = ([said(answers(seed, 0.6, conversations=1))] for seed in (1, 2))
    found = compare_parts(one, other)
    assert found.measures["wa"].interval is None
    assert not found.is_clear
    assert average_seeds(one)["ua"].interval is None


def test_others_utterances_are_refused() -> None:
    one, other = (said(answers(1, 0.6, conversations=count)) for count in (5, 6))
    for compare in (lambda: compare_parts([one], [other]), lambda: average_seeds([one, other])):
        with pytest.raises(MoodlineError) as error:
            compare()
        assert error.value.code == "experiment.different_utterances"
        assert "talk5" in str(error.value)
