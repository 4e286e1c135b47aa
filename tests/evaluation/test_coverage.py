import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from moodline.evaluation.predictions import build_schema, build_stage_columns
from moodline.evaluation.reliability import COVERAGES, add_reliability, compute_coverage
from tests.made_up import made_up

CLASSES = ("angry", "happy", "sad")


def predictions(seed: int, rows: int) -> pa.Table:
    """Three utterances a conversation; one that is surer is more often right."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(rows):
        label = int(generator.integers(3))
        row = generator.dirichlet(0.4 + 1.5 * np.eye(3)[label])
        facts = {"conversation_id": f"talk{number // 3}", "label": CLASSES[label]}
        made.append(facts | build_stage_columns("fusion", dict(zip(CLASSES, row.tolist(), strict=True))))
    return pa.Table.from_pylist(made, schema=build_schema(CLASSES))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 999), st.integers(1, 60))
def test_each_point_is_what_the_utterances_above_its_threshold_give(seed: int, rows: int) -> None:
    table = predictions(seed, rows)
    found = compute_coverage(table, CLASSES)
    assert found[0]["coverage"] == 1
    assert [point["threshold"] for point in found] == sorted({point["threshold"] for point in found})
    for point in found:
        answered = [one for one in table.to_pylist() if one[f"p_{one['predicted']}"] >= point["threshold"]]
        labels, said = [one["label"] for one in answered], [one["predicted"] for one in answered]
        assert point["utterances"] == len(answered)
        assert point["coverage"] == pytest.approx(len(answered) / rows)
        assert point["classes"] == len(set(labels))
        assert point["wa"]["value"] == pytest.approx(accuracy_score(labels, said))
        recalls = recall_score(labels, said, labels=sorted(set(labels)), average="macro", zero_division=0)
        assert point["ua"]["value"] == pytest.approx(recalls)


def test_each_share_has_the_largest_threshold_that_answers_it() -> None:
    table = predictions(1, 500)
    top = np.array([one[f"p_{one['predicted']}"] for one in table.to_pylist()])
    found = compute_coverage(table, CLASSES)
    for share in COVERAGES:
        threshold = max(point["threshold"] for point in found if point["coverage"] >= share - 1e-9)
        assert np.mean(top >= threshold + 0.001) < share


def test_intervals_hold_their_score_and_are_of_conversations() -> None:
    table = predictions(1, 120)
    for point in compute_coverage(table, CLASSES)[:10]:
        assert point["wa"]["interval"][0] <= point["wa"]["value"] <= point["wa"]["interval"][1]
    one = compute_coverage(table.slice(0, 3), CLASSES)
    assert all(point["wa"]["interval"] is point["ua"]["interval"] is None for point in one)


def test_where_a_resample_may_answer_nothing_there_is_no_interval() -> None:
    """Of two conversations one is sure of everything, the other of nothing."""
    sure, unsure = (
        build_stage_columns("fusion", {"angry": 1.0, "happy": 0.0}),
        build_stage_columns("fusion", {"angry": 0.6, "happy": 0.4}),
    )
    made = [
        {"conversation_id": name, "label": "angry"} | one for name, one in (("a", sure), ("b", unsure)) for _ in "123"
    ]
    whole, half = compute_coverage(pa.Table.from_pylist(made, schema=build_schema(CLASSES[:2])), CLASSES[:2])
    assert whole["wa"]["interval"] == (1, 1)
    assert (half["coverage"], half["wa"]["value"], half["wa"]["interval"]) == (0.5, 1, None)


def test_the_last_stage_speaks_for_the_system_and_a_baseline_alone_has_none() -> None:
    results, _, table, _ = made_up()
    expected = compute_coverage(table.filter(pc.field("stage") == "fusion"), results["label_set"]["classes"])
    assert results["coverage"]["stage"] == "fusion"
    assert [point["utterances"] for point in results["coverage"]["points"]] == [one["utterances"] for one in expected]
    alone, *_ = made_up(("majority",))
    assert add_reliability(alone, table)["coverage"] is None
