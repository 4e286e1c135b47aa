from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

from moodline.errors import MoodlineError
from moodline.metrics import class_scores, confusion, unweighted_accuracy, weighted_accuracy, weighted_f1

CLASSES = ("angry", "happy", "sad", "neutral")
ANSWERS = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=60).map(
    lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
)


@given(ANSWERS)
def test_agrees_with_scikit_learn(answers):
    labels, predicted = answers
    matrix = confusion(labels, predicted, CLASSES)
    present = sorted(set(labels))
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, predicted, labels=CLASSES))
    assert weighted_accuracy(matrix) == pytest.approx(accuracy_score(labels, predicted))
    assert unweighted_accuracy(matrix) == pytest.approx(
        recall_score(labels, predicted, labels=present, average="macro")
    )
    assert weighted_f1(matrix) == pytest.approx(f1_score(labels, predicted, labels=present, average="weighted"))
    if len(present) > 1 and set(predicted) <= set(present):  # otherwise scikit-learn warns
        assert unweighted_accuracy(matrix) == pytest.approx(balanced_accuracy_score(labels, predicted))


@given(ANSWERS)
def test_scores_of_classes_agree_with_scikit_learn_where_they_are_defined(answers):
    labels, predicted = answers
    ours = class_scores(confusion(labels, predicted, CLASSES))
    undefined: dict[str, Any] = {"zero_division": np.nan}
    theirs = precision_recall_fscore_support(labels, predicted, labels=CLASSES, **undefined)
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, np.asarray(reference))


@given(arrays(np.int64, (3, 2, 4, 4), elements=st.integers(0, 9)))
def test_a_batch_of_matrices_scores_as_each_alone(matrices):
    for score in (weighted_accuracy, unweighted_accuracy, weighted_f1):
        alone = [[score(matrix) for matrix in row] for row in matrices]
        np.testing.assert_array_equal(score(matrices), alone)


def test_a_class_that_nobody_expressed_takes_no_part_in_ua():
    matrix = confusion(["sad", "sad", "happy", "happy"], ["sad", "angry", "happy", "happy"], CLASSES)
    assert unweighted_accuracy(matrix) == (1 / 2 + 1) / 2


def test_nothing_to_score_is_undefined_rather_than_zero():
    matrix = confusion([], [], CLASSES)
    assert np.isnan([weighted_accuracy(matrix), unweighted_accuracy(matrix), weighted_f1(matrix)]).all()


def test_a_stranger_among_the_labels_is_named():
    with pytest.raises(MoodlineError, match="angry, happy, sad, neutral: 'frustrated' is not"):
        confusion(["sad", "frustrated"], ["sad", "sad"], CLASSES)
