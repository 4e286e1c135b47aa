import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from moodline.evaluation.examples import GroupScores, score_groups, select_largest
from tests.made_up import CLASSES, made_up


@pytest.mark.parametrize("column", ["speaker", "session"])
def test_each_group_is_scored_as_if_alone(column):
    _, _, predictions, _ = made_up(("fusion",))
    rows = predictions.to_pylist()
    groups = score_groups(column, predictions, CLASSES)
    assert [group.name for group in groups] == sorted({row[column] for row in rows})
    for group in groups:
        own = [row for row in rows if row[column] == group.name]
        labels, predicted = [row["label"] for row in own], [row["predicted"] for row in own]
        assert group.utterances == len(own)
        assert group.conversations == len({row["conversation_id"] for row in own})
        assert group.wa == pytest.approx(accuracy_score(labels, predicted))
        assert group.ua == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_what_has_no_session_is_in_no_group():
    _, _, predictions, _ = made_up(("fusion",), sessions=False)
    assert score_groups("session", predictions, CLASSES) == ()


def test_the_largest_keep_their_order():
    sizes = {"a": 3, "b": 9, "c": 1, "d": 5}
    groups = [GroupScores(name=name, utterances=size, conversations=1, wa=0, ua=0) for name, size in sizes.items()]
    assert [group.name for group in select_largest(groups, 3)] == ["a", "b", "d"]
    assert [group.name for group in select_largest(groups, 9)] == list(sizes)
