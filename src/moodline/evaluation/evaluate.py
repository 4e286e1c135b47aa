"""Scoring a run on its test folds, or one model on another corpus: predictions, results, report. It never trains."""

import dataclasses
import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import EMBEDDINGS_OPTIONS
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.corpus import Corpus, read_corpus
from moodline.corpora.protocol import Fold, folds_of
from moodline.embeddings import Embeddings, read_embeddings
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import predict_for_scores
from moodline.evaluation.report import write_report
from moodline.evaluation.scores import Evaluation, score
from moodline.files import atomic_file, write_json
from moodline.inference.given import read_given, refuse_other_encoders
from moodline.inference.predictor import GivenEmbeddings, Predictor, load
from moodline.training.run import Run, read_run

SCHEMA = 1
PREDICTIONS_FILE = "predictions.parquet"
RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"
PACKAGES = ("moodline", "torch", "transformers", "lightning", "numpy", "scikit-learn")

Progress = Callable[[str, int, int], None]
Curves = Mapping[str, Mapping[str, list[dict[str, float]]]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an evaluation found, and where it is written."""

    results: Mapping[str, Any]
    evaluation: Evaluation
    report: Path


def evaluate_run(folder: Path, progress: Progress, files: Mapping[str, Path] | None = None) -> Outcome:
    """Score every trained fold of a run on its test set.

    Args:
        files: where the run's files of embeddings are now, by encoder, if not where they were

    Raises:
        MoodlineError: no fold is trained, the protocol has no test set, or the corpus or the embeddings are not the
            run's any more
    """
    run = read_run(folder)
    corpus = corpus_of(run)
    folds = [fold for fold in folds_of(corpus, run.protocol) if run.is_complete(fold.name)]
    if not folds:
        raise MoodlineError(f"{folder} has no trained fold yet: finish moodline train first")
    if not all(fold.test for fold in folds):
        raise MoodlineError(
            f"protocol {run.protocol} has no test set, its model is for use: "
            "score it elsewhere with moodline evaluate --model FOLDER --corpus OTHER"
        )
    embeddings = embeddings_of(run, files or {})
    tables = [fold_predictions(run, fold, embeddings, progress) for fold in folds]
    results = {
        **description(run.label_set, run.recipe.context, corpus),
        "protocol": run.protocol,
        "recipe": run.recipe_name,
        "seed": run.recipe.seed,
        "folds": [fold_counts(fold, run.label_set) for fold in folds],
    }
    curves = {fold.name: run.histories(fold.name) for fold in folds}
    return write_outcome(pa.concat_tables(tables), results, curves, run.label_set.classes, folder)


def evaluate_model(
    model: Path, corpus_folder: Path, out: Path, progress: Progress, files: Mapping[str, Path] | None = None
) -> Outcome:
    """Score one model on all conversations of a corpus that it has not seen.

    Args:
        files: of that corpus's embeddings, by encoder, for a model that reads given ones

    Raises:
        MoodlineError: the model was trained or selected on one of them, or lacks their embeddings
    """
    predictor = load(model)
    corpus = read_corpus(corpus_folder)
    labels = predictor.model.label_set
    context = predictor.model.recipe.context
    seen = [conversation.in_context(labels, context) for conversation in corpus.conversations]
    predictor = predictor.with_embeddings(read_given(predictor.model.recipe, files or {}, seen))
    table = predict_for_scores(
        predictor, corpus.conversations, "elsewhere", lambda done: progress(str(model), done, len(corpus.conversations))
    )
    provenance = predictor.model.provenance
    results = {
        **description(labels, context, corpus),
        "protocol": f"elsewhere (model of {provenance.protocol}, fold {provenance.fold}, {provenance.corpus_reader})",
        "recipe": str(model),
        "seed": predictor.model.recipe.seed,
        "folds": [
            {
                "name": "elsewhere",
                "hash": provenance.fold_hash,
                "train": {
                    "conversations": len(provenance.trained_on),
                    "utterances": sum(provenance.class_counts.values()),
                    "classes": dict(provenance.class_counts),
                },
                "test": counts(corpus.conversations, labels),
            }
        ],
    }
    return write_outcome(table, results, {}, labels.classes, out)


def corpus_of(run: Run) -> Corpus:
    """The run's corpus, unchanged since training."""
    corpus = read_corpus(run.corpus_folder)
    if corpus.table_hash != run.corpus_hash:
        raise MoodlineError(
            f"{run.folder} was trained on a corpus with hash {run.corpus_hash}, and {run.corpus_folder} now has "
            f"{corpus.table_hash}: prepare that corpus again, or train anew"
        )
    return corpus


def embeddings_of(run: Run, files: Mapping[str, Path]) -> dict[str, Embeddings]:
    """What the run was trained on, by encoder, from where it was or from where ``files`` say that it is now.

    Raises:
        MoodlineError: a file is gone, or it is another one by its hash
    """
    refuse_other_encoders(run.recipe, {*run.embeddings, *files})
    embeddings: dict[str, Embeddings] = {}
    for encoder, given in run.embeddings.items():
        path, option = files.get(encoder, given.file), EMBEDDINGS_OPTIONS[encoder]
        if encoder not in files and not path.is_file():
            raise MoodlineError(
                f"{run.folder} was trained on embeddings {path} (hash {given.hash}), which is gone: "
                f"say where that file is now with {option} FILE"
            )
        found = read_embeddings(path)
        if found.hash != given.hash:
            raise MoodlineError(
                f"{run.folder} was trained on embeddings with hash {given.hash}, and {path} has {found.hash}: "
                f"give the file that it was trained on with {option} FILE, or train anew"
            )
        embeddings[encoder] = found.vectors
    return embeddings


def fold_predictions(run: Run, fold: Fold, embeddings: GivenEmbeddings, progress: Progress) -> pa.Table:
    predictor = load(run.model_folder(fold.name)).with_embeddings(embeddings)
    refuse_other_fold(predictor, fold)
    return predict_for_scores(
        predictor, fold.test, fold.name, lambda done: progress(f"fold {fold.name}", done, len(fold.test))
    )


def refuse_other_fold(predictor: Predictor, fold: Fold) -> None:
    found = predictor.model.provenance.fold_hash
    if found != fold.hash:
        raise MoodlineError(
            f"a fold's model is scored on that fold: the model was trained on one with hash {found}, and "
            f"{fold.protocol}, fold {fold.name} has {fold.hash}; train into a new folder"
        )


def description(labels: LabelSet, context: str, corpus: Corpus) -> dict[str, Any]:
    """What of results.json does not depend on what is scored."""
    return {
        "schema": SCHEMA,
        "label_set": {"name": labels.name, "version": labels.version, "classes": list(labels.classes)},
        "context": context,
        "corpus": {
            "reader": corpus.reader,
            "table_hash": corpus.table_hash,
            "source": str(corpus.source),
            "conversations": len(corpus.conversations),
            "utterances": sum(1 for _ in corpus.utterances),
        },
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def fold_counts(fold: Fold, labels: LabelSet) -> dict[str, Any]:
    sets = {name: counts(conversations, labels) for name, conversations in fold.sets.items()}
    return {"name": fold.name, "hash": fold.hash, **sets}


def counts(conversations: Sequence[Conversation], labels: LabelSet) -> dict[str, Any]:
    """Conversations, scored utterances, and these by class."""
    classes = Counter(
        labels.classes[index]
        for conversation in conversations
        for utterance in conversation.utterances
        if (index := labels.index(utterance.label)) is not None
    )
    return {
        "conversations": len(conversations),
        "utterances": sum(classes.values()),
        "classes": {name: classes[name] for name in labels.classes},
    }


def write_outcome(
    predictions: pa.Table, results: dict[str, Any], curves: Curves, classes: Sequence[str], out: Path
) -> Outcome:
    evaluation = score(predictions, classes)
    results = {**results, **dataclasses.asdict(evaluation)}
    with atomic_file(out / PREDICTIONS_FILE) as temporary:
        pq.write_table(predictions, temporary)
    write_json(out / RESULTS_FILE, results)
    write_report(results, curves, out / REPORT_FILE)
    return Outcome(results=results, evaluation=evaluation, report=out / REPORT_FILE)
