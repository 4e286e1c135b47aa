"""A model to read what was broken."""

from pathlib import Path

import numpy as np

import moodline as package
from moodline.conversation import Conversation
from moodline.inference.predictor import Predictor
from tests.rounding import rounding
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


def trained(place: Path, *, tree: Path | None = None, options: tuple[object, ...] = ()) -> Predictor:
    """A tiny model, trained in a few seconds, on a tree of its own where none is given."""
    tree = tree or write_tree(place / "tree", conversations=1)
    recipe = write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", tree, "-o", place / "corpus")
    command = ("train", place / "corpus", "--recipe", recipe, "--protocol", "session5", "-o", place / "run")
    moodline(*command, *options)
    return package.load(place / "run/fold-5/model")


def predicted(model: Predictor, conversation: Conversation) -> None:
    """Every turn gets probabilities of every stage: finite, not negative, and one in sum."""
    prediction = model.predict(conversation)
    assert [one.id for one in prediction.utterances] == [utterance.id for utterance in conversation.utterances]
    for one in prediction.utterances:
        values = np.array([[row[name] for name in model.classes] for row in one.by_stage.values()])
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=rounding(2 * len(model.classes)))
        assert one.label == max(model.classes, key=lambda name: one.probabilities[name])
