from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

from moodline.metrics import (
    CALIBRATION_BINS,
    compute_brier_score,
    compute_calibration_error,
    compute_class_scores,
    compute_confusion,
    compute_reliability,
    compute_unweighted_accuracy,
    compute_weighted_accuracy,
    compute_weighted_f1,
)
from tests.refusals import refuses
from tests.rounding import rounding

CLASSES = ("angry", "happy", "sad", "neutral")
ANSWERS = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=60).map(
    lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
)


@st.composite
def forecasts(draw):
    """Probabilities (N, C), in single precision as models give them, and labels (N,)."""
    utterances, classes = draw(st.integers(1, 40)), draw(st.integers(2, 8))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.05, 0.5, 5.0]))  # from nearly certain to nearly even
    probabilities = generator.dirichlet([spread] * classes, size=utterances)
    return probabilities.astype(np.float32), generator.integers(classes, size=utterances)


@given(ANSWERS)
def test_agrees_with_scikit_learn(answers):
    labels, predicted = answers
    matrix = compute_confusion(labels, predicted, CLASSES)
    present = sorted(set(labels))
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, predicted, labels=CLASSES))
    assert compute_weighted_accuracy(matrix) == pytest.approx(accuracy_score(labels, predicted))
    assert compute_unweighted_accuracy(matrix) == pytest.approx(
        recall_score(labels, predicted, labels=present, average="macro")
    )
    assert compute_weighted_f1(matrix) == pytest.approx(f1_score(labels, predicted, labels=present, average="weighted"))
    if len(present) > 1 and set(predicted) <= set(present):  # otherwise scikit-learn warns
        assert compute_unweighted_accuracy(matrix) == pytest.approx(balanced_accuracy_score(labels, predicted))


@given(ANSWERS)
def test_scores_of_classes_agree_with_scikit_learn_where_they_are_defined(answers):
    labels, predicted = answers
    ours = compute_class_scores(compute_confusion(labels, predicted, CLASSES))
    undefined: dict[str, Any] = {"zero_division": np.nan}
    theirs = precision_recall_fscore_support(labels, predicted, labels=CLASSES, **undefined)
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, np.asarray(reference))


@given(arrays(np.int64, (3, 2, 4, 4), elements=st.integers(0, 9)))
def test_a_batch_of_matrices_scores_as_each_alone(matrices):
    for score in (compute_weighted_accuracy, compute_unweighted_accuracy, compute_weighted_f1):
        alone = [[score(matrix) for matrix in row] for row in matrices]
        np.testing.assert_array_equal(score(matrices), alone)


def test_a_class_that_nobody_expressed_takes_no_part_in_ua():
    matrix = compute_confusion(["sad", "sad", "happy", "happy"], ["sad", "angry", "happy", "happy"], CLASSES)
    assert compute_unweighted_accuracy(matrix) == (1 / 2 + 1) / 2


def test_nothing_to_score_is_undefined_rather_than_zero():
    matrix = compute_confusion([], [], CLASSES)
    assert np.isnan(
        [compute_weighted_accuracy(matrix), compute_unweighted_accuracy(matrix), compute_weighted_f1(matrix)]
    ).all()


def test_a_stranger_among_the_labels_is_named():
    with refuses("label.unknown_class", "'frustrated'", "angry, happy, sad, neutral"):
        compute_confusion(["sad", "frustrated"], ["sad", "sad"], CLASSES)


@given(forecasts())
def test_brier_score_agrees_with_scikit_learn(forecast):
    probabilities, labels = forecast
    exact = probabilities.astype(float)
    exact /= exact.sum(axis=1, keepdims=True)
    theirs = brier_score_loss(labels, exact, labels=np.arange(exact.shape[1]), scale_by_half=False)
    assert compute_brier_score(exact, labels) == pytest.approx(theirs)


@given(forecasts(), st.integers(1, 20))
def test_expected_calibration_error_is_its_equation(forecast, bins):
    probabilities, labels = forecast
    members = {number: [] for number in range(1, bins + 1)}
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        (number,) = (m for m in members if (m - 1) / bins < min(max(row), 1.0) <= m / bins)
        members[number].append((max(row), row.index(max(row)) == label))
    expected = sum(
        len(bin_) / len(labels) * abs(np.mean([right for _, right in bin_]) - np.mean([top for top, _ in bin_]))
        for bin_ in members.values()
        if bin_
    )
    assert compute_calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-9)
    assert compute_reliability(probabilities, labels, bins).utterances.tolist() == [
        len(bin_) for bin_ in members.values()
    ]


@given(forecasts(), st.randoms())
def test_calibration_stays_in_its_range_and_knows_no_order(forecast, random):
    probabilities, labels = forecast
    order = list(range(len(labels)))
    random.shuffle(order)
    for measure, worst in ((compute_calibration_error, 1), (compute_brier_score, 2)):
        value = measure(probabilities, labels)
        assert 0 <= value <= worst + 1e-6
        allowed = rounding(2 * probabilities.size)
        assert measure(probabilities[order], labels[order]) == pytest.approx(value, abs=allowed)


@given(st.integers(1, 30), st.integers(2, 8))
def test_certain_and_right_is_without_error_and_certain_and_wrong_the_worst(utterances, classes):
    labels = np.arange(utterances) % classes
    certain = np.eye(classes)[labels]
    assert compute_calibration_error(certain, labels) == compute_brier_score(certain, labels) == 0
    wrong = (labels + 1) % classes
    assert compute_calibration_error(certain, wrong) == 1
    assert compute_brier_score(certain, wrong) == 2


@given(st.integers(1, 9), st.integers(1, 20))
def test_right_as_often_as_probable_is_no_calibration_error(right, times):
    """Of ten utterances at probability right/10 (of two classes, the top one), so many are right."""
    probability = max(right, 10 - right) / 10
    labels = np.array([0] * max(right, 10 - right) + [1] * min(right, 10 - right))
    probabilities = np.tile([probability, 1 - probability], (10 * times, 1))
    assert compute_calibration_error(probabilities, np.tile(labels, times)) == pytest.approx(0)
    assert compute_brier_score(probabilities, np.tile(labels, times)) == pytest.approx(
        2 * probability * (1 - probability)
    )


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    filled = compute_reliability(np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]), np.array([0, 1, 0]), bins=4)
    assert filled.utterances.tolist() == [0, 1, 1, 1]
    assert filled.accuracy.tolist()[1:] == [1, 0, 1]
    assert np.isnan(filled.confidence[0])
    assert np.isnan(filled.accuracy[0])


def test_calibration_has_fifteen_bins_unless_told_otherwise():
    assert CALIBRATION_BINS == 15
    assert len(compute_reliability(np.array([[1.0, 0.0]]), np.array([0])).utterances) == 15


def test_calibration_of_nothing_is_undefined():
    nothing = np.empty((0, 4)), np.empty(0, dtype=int)
    assert np.isnan([compute_calibration_error(*nothing), compute_brier_score(*nothing)]).all()
