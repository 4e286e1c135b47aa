"""All classical baselines under a protocol: trained, scored and written as an evaluation of a run is."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import Recipe
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.recognition import REFERENCE
from moodline.errors import MoodlineError
from moodline.evaluation.description import description, fold_counts, notes_of
from moodline.evaluation.results import Evaluation
from moodline.evaluation.scores import STAGES, rough_intervals, score
from moodline.files import atomic_file, write_json
from moodline.labels import label_set_of
from moodline.reproduction.baselines import BASELINE_NAMES, Baseline, baseline_predictions
from moodline.training.data import refuse_unlabelled
from moodline.training.provenance import provenance_of
from moodline.training.score_files import PREDICTIONS_FILE, RESULTS_FILE


def score_baselines(
    corpus: Corpus,
    baselines: Sequence[Baseline],
    recipe: Recipe,
    recipe_name: str,
    folds: Sequence[Fold],
    of: int,
    features: Path,
    out: Path,
) -> tuple[Evaluation, list[str]]:
    """Train and score baselines on some folds, of so many in the protocol; write predictions.parquet, results.json.

    Args:
        recipe: label set, context, class weights, BERT and sample rate are read of it
        features: a folder that keeps what takes long

    Returns:
        The scores, and what a reader of them must know.

    Raises:
        MoodlineError: see ``baseline_predictions``; a protocol without test sets
    """
    refuse_unlabelled(corpus)
    labels = label_set_of(recipe.label_set)
    for fold in folds:
        if not fold.test:
            raise MoodlineError(f"baselines are scored on test sets, and protocol {fold.protocol} has none")
        provenance_of(recipe, labels, corpus, fold, {})  # of all folds before the first one trains
    predictions = pa.concat_tables(
        baseline_predictions(baseline, fold, labels, recipe, features) for fold in folds for baseline in baselines
    )
    evaluation = score(predictions, labels.classes, stages={**STAGES, **BASELINE_NAMES})
    notes = [*notes_of(folds, of), *rough_intervals(evaluation.scores)]
    results = {
        **description(labels, recipe.context, corpus, REFERENCE),
        "protocol": folds[0].protocol,
        "recipe": recipe_name,
        "seed": recipe.seed,
        "notes": notes,
        "folds": [fold_counts(fold, labels) for fold in folds],
        **dataclasses.asdict(evaluation),
    }
    with atomic_file(out / PREDICTIONS_FILE) as temporary:
        pq.write_table(predictions, temporary)
    write_json(out / RESULTS_FILE, results)
    return evaluation, notes
