"""How a baseline's classifier is chosen, and what its decisions become."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from moodline.errors import MoodlineError
from moodline.experiments.baselines import BASELINES, REGULARISATION_STRENGTHS, Baseline, compute_probabilities
from tests.rounding import rounding

CLASSES = ("sad", "angry", "neutral", "happy")  # not in the order of the alphabet
EVEN = dict.fromkeys(CLASSES, 1.0)


def examples(classes: tuple[str, ...], count: int = 60) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(0)
    labels = [classes[number % len(classes)] for number in range(count)]
    features = generator.normal(0, 1, (count, 5)) + [[classes.index(label) * 0.5] for label in labels]
    return features.astype(np.float32), labels


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:2]])
def test_of_logistic_regression_they_are_its_probabilities(classes: tuple[str, ...]) -> None:
    features, labels = examples(classes)
    trained = LogisticRegression().fit(features, labels)
    found = compute_probabilities(trained, features, classes)
    # A decision's error is a relative one of its exponential.
    allowed = 2 * rounding(features.shape[1] + 4) * (1 + np.abs(trained.decision_function(features)).max())
    for column, name in enumerate(classes):
        expected = trained.predict_proba(features)[:, list(trained.classes_).index(name)]
        np.testing.assert_allclose(found[:, column], expected, rtol=allowed)


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:2]])
def test_of_a_support_vector_machine_the_likeliest_class_is_what_it_says(classes: tuple[str, ...]) -> None:
    features, labels = examples(classes)
    trained = LinearSVC(random_state=0).fit(features, labels)
    found = compute_probabilities(trained, features, classes)
    assert [classes[place] for place in found.argmax(axis=1)] == trained.predict(features).tolist()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=rounding(2 * len(classes)))
    assert found.min() > 0


def saying(answers: Mapping[float, str]) -> Baseline:
    """A baseline whose classifier says one class whatever it reads, by its C."""

    def classifier(strength: float, class_weights: Mapping[str, float]) -> Any:
        return DummyClassifier(strategy="constant", constant=answers[strength])

    return replace(BASELINES["tf_idf"], classifier=classifier)


def test_the_c_with_the_highest_ua_on_the_validation_set_is_chosen_and_of_equals_the_smallest() -> None:
    train = examples(CLASSES)
    answers = dict.fromkeys(REGULARISATION_STRENGTHS, "angry") | {
        REGULARISATION_STRENGTHS[2]: "sad",
        REGULARISATION_STRENGTHS[4]: "sad",
    }
    for validation, expected in ((["sad"] * 5, "sad"), (["sad"] * 9 + ["angry"], "angry")):  # the last: UA .5 for all
        chosen = saying(answers).select(train, (np.zeros((len(validation), 5)), validation), EVEN)
        assert chosen.predict(train[0][:1]) == [expected]
    assert list(REGULARISATION_STRENGTHS) == sorted(REGULARISATION_STRENGTHS)


@pytest.mark.parametrize("name", BASELINES)
def test_class_weights_reach_the_classifier(name: str) -> None:
    """A class that weighs next to nothing is never said where it is hard to tell."""
    baseline = BASELINES[name]
    generator = np.random.default_rng(0)
    labels = ["sad", "angry"] * 50
    features: Any = generator.normal(0, 1, (100, 4))
    if name == "tf_idf":
        features = [" ".join(generator.choice(["yes", "no", "well"], 3)) for _ in labels]
    said = baseline.classifier(1.0, {"sad": 1e-3, "angry": 1.0}).fit(features, labels).predict(features)
    assert set(said) == {"angry"}
    even = baseline.classifier(1.0, {"sad": 1.0, "angry": 1.0}).fit(features, labels).predict(features)
    assert set(even) == {"angry", "sad"}


def test_what_cannot_be_trained_on_is_told_in_a_sentence() -> None:
    with pytest.raises(MoodlineError) as error:
        BASELINES["tf_idf"].select((["", "..."], ["sad", "angry"]), ([""], ["sad"]), {"sad": 1.0, "angry": 1.0})
    assert error.value.code == "experiment.baseline_training"
    assert "tf_idf" in str(error.value)
