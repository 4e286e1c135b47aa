"""A baseline under one fold: trained, its C chosen on the validation set, and asked for the test set's utterances."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from moodline.config import CLASS_WEIGHTS, Recipe
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.fold import Fold
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import facts_of, opinion, table_of
from moodline.reproduction.baselines.baseline import Baseline, Features, Reader, probabilities
from moodline.training.data import scored_utterances
from moodline.training.losses import rarity_weights


def baseline_predictions(baseline: Baseline, fold: Fold, labels: LabelSet, recipe: Recipe, folder: Path) -> pa.Table:
    """Predictions of a fold's test utterances that have a class: the columns of ``evaluation.predictions``.

    The labels of the test set, and in cv10 those of the test speaker, are read for the column label alone. Classes are
    weighted as the recipe weights them.

    Args:
        recipe: context, class weights, BERT and sample rate are read of it
        folder: keeps features that take long

    Raises:
        MoodlineError: the fold has no test set or a class without training utterances, an utterance lacks audio, or
            what the baseline needs is not installed
    """
    read = baseline.reader(recipe, folder)
    sets = fold.training_sets(labels, recipe.context)
    weights = class_weights(sets.train, labels, recipe)
    if missing := [name for name, weight in weights.items() if not weight]:
        raise MoodlineError(
            f"every class needs training utterances: {fold.protocol}, fold {fold.name} has none of "
            f"{', '.join(missing)}; choose another label set or protocol"
        )
    trained = baseline.select(
        examples(read, sets.train, labels), examples(read, sets.validation, labels), class_weights=weights
    )
    tested = [
        (facts_of(conversation, utterance) | {"fold": fold.name, "label": labels.classes[index]}, utterance)
        for conversation in fold.scored["test"]
        for utterance in conversation.utterances
        if (index := labels.index(utterance.label)) is not None
    ]
    found = probabilities(trained, read([utterance for _, utterance in tested]), labels.classes) if tested else []
    rows = [
        facts | opinion(baseline.key, dict(zip(labels.classes, row.tolist(), strict=True)))
        for (facts, _), row in zip(tested, found, strict=True)
    ]
    return table_of(rows, labels, len(fold.test), fold.test_speaker)


def class_weights(train: Sequence[Conversation], labels: LabelSet, recipe: Recipe) -> dict[str, float]:
    """The recipe's weight of each class; 0 for a class that the training set lacks."""
    _, classes = scored_utterances(train, labels)
    weights = rarity_weights(classes, len(labels.classes), CLASS_WEIGHTS[recipe.class_weights])
    return dict(zip(labels.classes, weights.tolist(), strict=True))


def examples(read: Reader, conversations: Sequence[Conversation], labels: LabelSet) -> tuple[Features, list[str]]:
    """The utterances that have a class, as the baseline reads them, and their classes."""
    utterances, classes = scored_utterances(conversations, labels)
    return read(utterances), [labels.classes[index] for index in classes.tolist()]
