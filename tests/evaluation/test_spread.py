import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from moodline.evaluation.report import score_groups, select_largest
from tests.made_up import CLASSES, made_up


@pytest.mark.parametrize("column", ["speaker", "session"])
def test_each_group_is_scored_as_if_alone(column):
    _, _, predictions, _ = made_up(("fusion",))
    rows = predictions.to_pylist()
    groups = score_groups(column, predictions, CLASSES)
    assert list(groups) == sorted({row[column] for row in rows})
    for name, group in groups.items():
        own = [row for row in rows if row[column] == name]
        labels, predicted = [row["label"] for row in own], [row["predicted"] for row in own]
        assert group["utterances"] == len(own)
        assert group["conversations"] == len({row["conversation_id"] for row in own})
        assert group["wa"]["value"] == pytest.approx(accuracy_score(labels, predicted))
        assert group["ua"]["value"] == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_what_has_no_session_is_in_no_group():
    _, _, predictions, _ = made_up(("fusion",), sessions=False)
    assert score_groups("session", predictions, CLASSES) == {}


def test_the_largest_keep_their_order():
    sizes = {"a": 3, "b": 9, "c": 1, "d": 5}
    groups = {name: {"utterances": size} for name, size in sizes.items()}
    assert list(select_largest(groups, 3)) == ["a", "b", "d"]
    assert list(select_largest(groups, 9)) == list(sizes)
