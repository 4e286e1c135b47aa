"""Train and score classical baselines on the same folds, labels and scores as the paper's system."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from moodline.config import CLASS_WEIGHTS, Recipe
from moodline.conversation import Conversation, LabelSet, find_label_set
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold
from moodline.corpora.storage import REFERENCE
from moodline.device import AUTO, choose_device
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import build_stage_columns, build_table, get_facts
from moodline.evaluation.results import Evaluation, collect_notes, count_fold, describe_evaluation
from moodline.evaluation.scores import STAGES, note_few_conversations, score_predictions
from moodline.experiments.baseline_features import (
    EGEMAPS,
    SENTENCE_EMBEDDINGS,
    TF_IDF,
    Baseline,
    FeatureReader,
    Features,
    compute_probabilities,
)
from moodline.io import open_atomic_file, write_json
from moodline.training.dataset import refuse_unlabelled, select_scored
from moodline.training.lightning_module import compute_rarity_weights
from moodline.training.provenance import build_provenance
from moodline.training.run import PREDICTIONS_FILE, RESULTS_FILE


def predict_baseline(baseline: Baseline, read: FeatureReader, fold: Fold, labels: LabelSet, recipe: Recipe) -> pa.Table:
    """Predict a fold's test utterances that have a class, with the columns of ``evaluation.predictions``.

    Labels of the test set, in cv10 those of the test speaker, only fill the column label. Class weights are the
    recipe's.

    Args:
        read: the baseline's feature reader, created once for all folds
        recipe: gives context and class weights

    Raises:
        MoodlineError: the fold has no test set or a class without training utterances, or an utterance lacks audio
    """
    sets = fold.get_training_sets(labels, recipe.context)
    weights = compute_class_weights(sets.train, labels, recipe)
    if missing := [name for name, weight in weights.items() if not weight]:
        raise MoodlineError(
            f"{fold.protocol}, fold {fold.name} has no training utterances of {', '.join(missing)}; choose another "
            "label set or protocol",
            code="experiment.missing_class",
        )
    trained = baseline.select(
        collect_examples(read, sets.train, labels),
        collect_examples(read, sets.validation, labels),
        class_weights=weights,
    )
    tested = [
        (get_facts(conversation, utterance) | {"fold": fold.name, "label": labels.classes[index]}, utterance)
        for conversation in fold.scored["test"]
        for utterance in conversation.utterances
        if (index := labels.index(utterance.label)) is not None
    ]
    found = (
        compute_probabilities(trained, read([utterance for _, utterance in tested]), labels.classes) if tested else []
    )
    rows = [
        facts | build_stage_columns(baseline.key, dict(zip(labels.classes, row.tolist(), strict=True)))
        for (facts, _), row in zip(tested, found, strict=True)
    ]
    return build_table(rows, labels, len(fold.test), fold.test_speaker)


def compute_class_weights(train: Sequence[Conversation], labels: LabelSet, recipe: Recipe) -> dict[str, float]:
    """Compute the recipe's weight of each class; 0 for a class that the training set lacks."""
    _, classes = select_scored(train, labels)
    weights = compute_rarity_weights(classes, len(labels.classes), CLASS_WEIGHTS[recipe.class_weights])
    return dict(zip(labels.classes, weights.tolist(), strict=True))


def collect_examples(
    read: FeatureReader, conversations: Sequence[Conversation], labels: LabelSet
) -> tuple[Features, list[str]]:
    """Collect the features of the utterances that have a class, and their classes."""
    utterances, classes = select_scored(conversations, labels)
    return read(utterances), [labels.classes[index] for index in classes.tolist()]


BASELINES: Mapping[str, Baseline] = {one.key: one for one in (EGEMAPS, TF_IDF, SENTENCE_EMBEDDINGS)}
# Names in tables; together with STAGES, the stages of score_predictions.
BASELINE_NAMES: Mapping[str, str] = {key: baseline.name for key, baseline in BASELINES.items()}


def select_baselines(named: str | None) -> Sequence[Baseline]:
    """Select baselines by a comma-separated list of keys; None selects all.

    Raises:
        MoodlineError: a key is unknown
    """
    keys = list(BASELINES) if named is None else [key.strip() for key in named.split(",")]
    for key in keys:
        if key not in BASELINES:
            raise MoodlineError(
                f"unknown baseline {key!r}: choose from {', '.join(BASELINES)}", code="experiment.unknown_baseline"
            )
    return [BASELINES[key] for key in dict.fromkeys(keys)]


def score_baselines(
    corpus: Corpus,
    baselines: Sequence[Baseline],
    recipe: Recipe,
    recipe_name: str,
    folds: Sequence[Fold],
    of: int,
    features: Path,
    out: Path,
    device: str | torch.device = AUTO,
) -> tuple[Evaluation, list[str]]:
    """Train and score baselines on some folds; write predictions.parquet and results.json.

    Args:
        recipe: gives label set, context, class weights, BERT and sample rate
        of: number of folds of the protocol
        features: folder that caches features
        device: device of BERT, as in ``moodline.load``

    Returns:
        The scores, and the notes on them.

    Raises:
        MoodlineError: as ``predict_baseline``; the protocol has no test sets; a baseline's package is not installed
    """
    refuse_unlabelled(corpus)
    labels = find_label_set(recipe.label_set)
    for fold in folds:
        if not fold.test:
            raise MoodlineError(
                f"protocol {fold.protocol} has no test set, on which baselines are scored; choose another --protocol",
                code="experiment.no_test_set",
            )
        build_provenance(recipe, labels, corpus, fold, {})  # checks all folds before the first one trains
    # Once for all folds: a reader may load BERT and hash its files.
    chosen = choose_device(device)
    read = [(baseline, baseline.reader(recipe, features, chosen)) for baseline in baselines]
    predictions = pa.concat_tables(
        predict_baseline(baseline, reader, fold, labels, recipe) for fold in folds for baseline, reader in read
    )
    evaluation = score_predictions(predictions, labels.classes, stages={**STAGES, **BASELINE_NAMES})
    notes = [*collect_notes(folds, of), *note_few_conversations(evaluation.scores)]
    results = {
        **describe_evaluation(labels, recipe.context, corpus, REFERENCE),
        "protocol": folds[0].protocol,
        "recipe": recipe_name,
        "seed": recipe.seed,
        "notes": notes,
        "folds": [count_fold(fold, labels) for fold in folds],
        **dataclasses.asdict(evaluation),
    }
    with open_atomic_file(out / PREDICTIONS_FILE) as temporary:
        pq.write_table(predictions, temporary)
    write_json(out / RESULTS_FILE, results)
    return evaluation, notes
