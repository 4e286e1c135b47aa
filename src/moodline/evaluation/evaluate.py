"""Scoring a run on its test folds: predictions, results, report. It never trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from moodline.checkpoint import load_description
from moodline.config import EMBEDDINGS_OPTIONS
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.protocol import folds_of
from moodline.corpora.recognised import read_corpus_with
from moodline.corpora.recognition import RECOGNISED
from moodline.embeddings import EmbeddingsFile, read_embeddings
from moodline.errors import MoodlineError
from moodline.evaluation.description import NOT_CALIBRATED, description, fold_counts, notes_of, notes_on_words
from moodline.evaluation.outcome import Outcome, write_outcome
from moodline.evaluation.predictions import Progress, predict_for_scores
from moodline.inference.given import refuse_other_encoders, vectors_of
from moodline.inference.loaded import load
from moodline.inference.predictor import GivenEmbeddings, Predictor
from moodline.labels import notes_on_misspelt
from moodline.seen import joined
from moodline.training.data import refuse_unread_words
from moodline.training.provenance import notes_on_selection
from moodline.training.run import Run, read_run


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
            *notes_on_misspelt(run.label_set, corpus.label_counts),
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
        begun = [fold.name for fold in all_folds if run.files_of(fold.name).folder.is_dir()]
        lacks = "".join(f"; fold {name}: {run.lack_of(name)}" for name in begun)
        raise MoodlineError(f"{run.folder} has no trained fold of its recipe yet{lacks}; finish moodline train first")
    if not all(fold.test for fold in folds):
        raise MoodlineError(
            f"protocol {run.protocol} has no test set, its model is for use: "
            "score it elsewhere with moodline evaluate --model FOLDER --corpus OTHER"
        )
    return folds


def notes_on_calibration(run: Run, folds: Sequence[Fold]) -> list[str]:
    """A sentence where models of a run are not calibrated: an older moodline made them."""
    lacking = [fold.name for fold in folds if not load_description(run.model_folder(fold.name)).temperatures]
    which = "" if len(lacking) == len(folds) else f"fold {', '.join(lacking)}: "
    return [f"{which}{NOT_CALIBRATED}"] if lacking else []


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
