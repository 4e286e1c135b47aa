"""Scoring a run on its test folds, or one model on another corpus: predictions, results, report. It never trains."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.checkpoint import CONFIG_FILE, load_description
from moodline.config import EMBEDDINGS_OPTIONS
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.corpus import DESCRIPTION_FILE, Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.protocol import folds_of
from moodline.corpora.recognised import read_corpus_with
from moodline.corpora.recognition import RECOGNISED, REFERENCE
from moodline.embeddings import EmbeddingsFile, read_embeddings
from moodline.errors import MoodlineError
from moodline.evaluation.calibration import with_calibration
from moodline.evaluation.coverage import with_coverage
from moodline.evaluation.description import counts, description, fold_counts, notes_of, notes_on_words
from moodline.evaluation.elsewhere import labels_for
from moodline.evaluation.predictions import predict_for_scores
from moodline.evaluation.report import write_report
from moodline.evaluation.results import Evaluation
from moodline.evaluation.scores import rough_intervals, score
from moodline.files import atomic_file, write_json
from moodline.inference.given import read_given, refuse_other_encoders, vectors_of
from moodline.inference.loaded import load
from moodline.inference.predictor import GivenEmbeddings, Predictor
from moodline.seen import joined, use_made_of
from moodline.training.data import refuse_unread_words
from moodline.training.provenance import notes_on_selection
from moodline.training.run import RUN_FILE, Run, read_run

PREDICTIONS_FILE = "predictions.parquet"
RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"
ROWS_WRITTEN = 2**16  # together: what writes the file holds so many in memory
NOT_CALIBRATED = (
    "probabilities are not calibrated, since the model is of an older moodline: the moodline train command that made "
    "it, run once more, calibrates it and trains nothing"
)

Progress = Callable[[str, int, int], None]
Curves = Mapping[str, Mapping[str, list[dict[str, float]]]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an evaluation found, and where it is written."""

    results: Mapping[str, Any]
    evaluation: Evaluation
    report: Path


def evaluate_run(
    folder: Path,
    progress: Progress,
    files: Mapping[str, Path] | None = None,
    *,
    with_audio: bool = False,
    words: str | None = None,
) -> Outcome:
    """Score every trained fold of a run on its test set; ``with_audio`` puts speech into the report.

    Args:
        files: where the run's files of embeddings are now, by encoder, if not where they were
        words: that the test sets are read with; None for those that trained the run. Scores of others go into files of
            their own, beside those of the run's.

    Raises:
        MoodlineError: no fold is trained, the protocol has no test set, or the corpus or the embeddings are not the
            run's any more; or there are no such words
    """
    run = read_run(folder)
    corpus = corpus_of(run, words or run.words)
    refuse_unread_words(run.recipe, corpus)
    all_folds = folds_of(corpus, run.protocol)
    folds = folds_to_score(run, all_folds)
    given = embeddings_of(run, files or {})
    tables = [fold_predictions(run, fold, vectors_of(given), progress) for fold in folds]
    results = told_of_run(run, corpus, folds, len(all_folds), given)
    curves = {fold.name: run.histories(fold.name) for fold in folds}
    return write_outcome(pa.concat_tables(tables), results, curves, corpus, folder, with_audio, run.words)


def told_of_run(
    run: Run, corpus: Corpus, folds: Sequence[Fold], of: int, given: Mapping[str, EmbeddingsFile]
) -> dict[str, Any]:
    """What is told beside the scores of some of a run's folds, of so many in its protocol.

    Args:
        given: the run's files of embeddings, by encoder
    """
    return {
        **description(run.label_set, run.recipe.context, corpus, run.words),
        "protocol": run.protocol,
        "recipe": run.recipe_name,
        "seed": run.recipe.seed,
        "notes": [
            *notes_of(folds, of),
            *notes_on_selection(run.recipe),
            *notes_on_words(run.words, corpus),
            *joined(file.seen.notes for file in given.values()),
            *notes_on_calibration(run, folds),
        ],
        "folds": [fold_counts(fold, run.label_set) for fold in folds],
    }


def folds_to_score(run: Run, all_folds: Sequence[Fold]) -> list[Fold]:
    """Those of its protocol's folds that a run has trained, with a test set each.

    Raises:
        MoodlineError: there is none
    """
    folds = [fold for fold in all_folds if run.is_complete(fold.name)]
    if not folds:
        begun = [fold.name for fold in all_folds if run.fold_folder(fold.name).is_dir()]
        lacks = "".join(f"; fold {name}: {run.lack_of(name)}" for name in begun)
        raise MoodlineError(f"{run.folder} has no trained fold of its recipe yet{lacks}; finish moodline train first")
    if not all(fold.test for fold in folds):
        raise MoodlineError(
            f"protocol {run.protocol} has no test set, its model is for use: "
            "score it elsewhere with moodline evaluate --model FOLDER --corpus OTHER"
        )
    return folds


def evaluate_model(
    model: Path,
    corpus_folder: Path,
    out: Path,
    progress: Progress,
    files: Mapping[str, Path] | None = None,
    label_map: str | None = None,
    *,
    with_audio: bool = False,
    words: str = REFERENCE,
) -> Outcome:
    """Score one model on all conversations of a corpus that it has not seen; ``with_audio`` as in ``evaluate_run``.

    Args:
        files: of that corpus's embeddings, by encoder, for a model that reads given ones
        label_map: names the label set that tells which of the model's classes the corpus's labels are
        words: those of the corpus that are read

    Raises:
        MoodlineError: the model was trained or selected on one of them, or lacks their embeddings, or the corpus's
            labels are not the model's
    """
    described = load_description(model)
    refuse_taken(out)
    corpus = read_corpus_with(words, corpus_folder)
    refuse_unread_words(described.recipe, corpus)
    labels = labels_for(described.label_set, corpus, label_map)
    table = predictions_elsewhere(model, corpus, labels, files or {}, progress)
    context, provenance = described.recipe.context, described.provenance
    results = {
        **description(labels, context, corpus, provenance.words),
        "protocol": f"elsewhere (model of {provenance.protocol}, fold {provenance.fold}, {provenance.corpus_reader})",
        "recipe": str(model),
        "seed": described.recipe.seed,
        "notes": [
            *(f"in training: {note}" for note in provenance.notes),
            *notes_on_words(provenance.words, corpus),
            *([] if described.temperatures else [NOT_CALIBRATED]),
        ],
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
    return write_outcome(table, results, {}, corpus, out, with_audio, REFERENCE)


def predictions_elsewhere(
    model: Path, corpus: Corpus, labels: LabelSet, files: Mapping[str, Path], progress: Progress
) -> pa.Table:
    """What a model says of all conversations of a corpus; its network is gone from memory when this returns."""
    predictor = load(model)
    recipe = predictor.model.recipe
    given = read_given(recipe, files, [one.in_context(labels, recipe.context) for one in corpus.conversations])
    for file in given.values():
        refuse_seen_by_source(file, corpus.conversations)
    return predict_for_scores(
        predictor.with_embeddings(vectors_of(given)),
        corpus.conversations,
        labels,
        "elsewhere",
        lambda done: progress(str(model), done, len(corpus.conversations)),
    )


def notes_on_calibration(run: Run, folds: Sequence[Fold]) -> list[str]:
    """A sentence where models of a run are not calibrated: an older moodline made them."""
    lacking = [fold.name for fold in folds if not load_description(run.model_folder(fold.name)).temperatures]
    which = "" if len(lacking) == len(folds) else f"fold {', '.join(lacking)}: "
    return [f"{which}{NOT_CALIBRATED}"] if lacking else []


def refuse_taken(out: Path) -> None:
    """Refuse to put scores of elsewhere among a run's, or into a corpus or a model."""
    for file, what in ((RUN_FILE, "run"), (DESCRIPTION_FILE, "corpus"), (CONFIG_FILE, "model")):
        if (out / file).exists():
            raise MoodlineError(
                f"scores of a model elsewhere have a folder of their own, and {out} is a {what}: choose another -o"
            )


def refuse_seen_by_source(file: EmbeddingsFile, conversations: Sequence[Conversation]) -> None:
    """Refuse embeddings whose own model has seen what is scored."""
    for conversation in conversations:
        if use := use_made_of(file.seen, conversation, None):
            raise MoodlineError(
                f"a model is scored on what it has not seen, and the one that made {file.path} was {use} "
                f"{conversation.id}: score another corpus, or embed this one with another model"
            )


def corpus_of(run: Run, words: str) -> Corpus:
    """The run's corpus, unchanged since training, with words of one kind; those that trained it unchanged too."""
    corpus = read_corpus_with(words, run.corpus_folder)
    if corpus.table_hash != run.corpus_hash:
        raise MoodlineError(
            f"{run.folder} was trained on a corpus with hash {run.corpus_hash}, and {run.corpus_folder} now has "
            f"{corpus.table_hash}: prepare that corpus again, or train anew"
        )
    if corpus.recognition and run.words == RECOGNISED and corpus.recognition.words_hash != run.words_hash:
        raise MoodlineError(
            f"{run.folder} was trained on recognised words with hash {run.words_hash}, and those of "
            f"{run.corpus_folder} now have {corpus.recognition.words_hash}: bring those back, or train anew"
        )
    return corpus


def embeddings_of(run: Run, files: Mapping[str, Path]) -> dict[str, EmbeddingsFile]:
    """What the run was trained on, by encoder, from where it was or from where ``files`` say that it is now.

    Raises:
        MoodlineError: a file is gone, or it is another one by its hash
    """
    refuse_other_encoders(run.recipe, {*run.embeddings, *files})
    embeddings: dict[str, EmbeddingsFile] = {}
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
        embeddings[encoder] = found
    return embeddings


def fold_predictions(run: Run, fold: Fold, embeddings: GivenEmbeddings, progress: Progress) -> pa.Table:
    predictor = load(run.model_folder(fold.name)).with_embeddings(embeddings)
    refuse_other_fold(predictor, fold)
    return predict_for_scores(
        predictor,
        fold.test,
        run.label_set,
        fold.name,
        lambda done: progress(f"fold {fold.name}", done, len(fold.test)),
        fold.test_speaker,
    )


def refuse_other_fold(predictor: Predictor, fold: Fold) -> None:
    found = predictor.model.provenance.fold_hash
    if found != fold.hash:
        raise MoodlineError(
            f"a fold's model is scored on that fold: the model was trained on one with hash {found}, and "
            f"{fold.protocol}, fold {fold.name} has {fold.hash}; train into a new folder"
        )


def write_outcome(
    predictions: pa.Table,
    results: dict[str, Any],
    curves: Curves,
    corpus: Corpus,
    out: Path,
    with_audio: bool,
    usual_words: str,
) -> Outcome:
    """Write what an evaluation found; that of other words than the usual ones under names that tell them."""
    evaluation = score(predictions, results["label_set"]["classes"])
    notes = [*results["notes"], *rough_intervals(evaluation.scores)]
    results = with_calibration({**results, "notes": notes, **dataclasses.asdict(evaluation)}, predictions)
    results = with_coverage(results, predictions)
    predictions_file, results_file, report = (
        file_of(name, out, corpus.words, usual_words) for name in (PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE)
    )
    with atomic_file(predictions_file) as temporary:
        pq.write_table(predictions, temporary, row_group_size=ROWS_WRITTEN)
    write_json(results_file, results)
    write_report(results, curves, predictions, corpus.conversations, report, with_audio=with_audio)
    return Outcome(results=results, evaluation=evaluation, report=report)


def file_of(name: str, out: Path, words: str, usual_words: str) -> Path:
    """Where one of an evaluation's files is: of other words than the usual ones, under a name that tells them."""
    path = out / name
    return path if words == usual_words else path.with_stem(f"{path.stem}-{words}")
