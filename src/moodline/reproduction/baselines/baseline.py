"""A classical system: what it reads of each utterance, and a linear classifier over that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from moodline.config import Recipe
from moodline.conversation import Utterance
from moodline.errors import MoodlineError, first_line
from moodline.metrics import confusion, unweighted_accuracy

# From strongly regularised to hardly: C of scikit-learn's classifiers.
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)

Features = Sequence[str] | NDArray[np.float32]
"""Of N utterances: their words (N,), or vectors (N, D)."""
Reader = Callable[[Sequence[Utterance]], Features]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One system. Nothing of it is random: it is the same for every seed.

    Attributes:
        key: its stage in a table of predictions
        name: as a table shows it
        modality: what it reads of an utterance
        reader: makes the function that reads utterances, which learns nothing of them, from the recipe and a folder
            that keeps what takes long; a MoodlineError where what it needs is not there
        classifier: makes the scikit-learn classifier, untrained, from its C and the weight of each class
    """

    key: str
    name: str
    modality: Literal["audio", "text"]
    reader: Callable[[Recipe, Path], Reader]
    classifier: Callable[[float, Mapping[str, float]], Any]

    def select(
        self,
        train: tuple[Features, Sequence[str]],
        validation: tuple[Features, Sequence[str]],
        class_weights: Mapping[str, float],
    ) -> Any:
        """The classifier trained with that C which has the highest UA on the validation set; of equals the smallest.

        Args:
            train, validation: features of utterances and their classes
            class_weights: of all classes

        Raises:
            MoodlineError: scikit-learn cannot train on these, as where no utterance has a word
        """
        names = list(class_weights)
        try:
            trained = [self.classifier(strength, class_weights).fit(*train) for strength in STRENGTHS]
        except ValueError as error:
            raise MoodlineError(
                f"{self.name} cannot be trained on this training set: {first_line(error)}; leave that baseline out"
            ) from error
        features, classes = validation
        matrices = np.stack([confusion(classes, one.predict(features).tolist(), names) for one in trained])
        return trained[int(unweighted_accuracy(matrices).argmax())]


def probabilities(trained: Any, features: Features, classes: Sequence[str]) -> NDArray[np.float64]:
    """The softmax of a classifier's decision values: (N, C), columns in the order of the classes.

    For logistic regression these are its probabilities. For a support vector machine they say the class that it says,
    and are not calibrated.
    """
    decisions = np.asarray(trained.decision_function(features))  # (N, C), of two classes (N,)
    if decisions.ndim == 1:
        decisions = np.stack([np.zeros_like(decisions), decisions], axis=1)
    columns = list(trained.classes_)
    return softmax(decisions, axis=1)[:, [columns.index(name) for name in classes]]
