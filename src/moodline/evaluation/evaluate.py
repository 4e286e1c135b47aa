"""Score a run on its test folds, on whole conversations or causally; write predictions, results and a report."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from moodline.config import AUDIO_CONTEXT, EMBEDDINGS_OPTIONS, FUSION, STAGE_NAMES, TEXT_CONTEXT
from moodline.conversation import merge_fingerprints, note_misspelt
from moodline.corpora.asr_column import read_corpus_with_words
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold
from moodline.corpora.protocols import build_folds
from moodline.corpora.storage import RECOGNISED
from moodline.device import AUTO
from moodline.embeddings import EmbeddingsFile, get_vectors, read_embeddings, refuse_other_encoders
from moodline.errors import MoodlineError
from moodline.evaluation.calibration import add_calibration, add_coverage
from moodline.evaluation.predictions import (
    ProgressCallback,
    build_stage_columns,
    build_table,
    iter_scored_turns,
    predict_for_scores,
    refuse_training_overlap,
)
from moodline.evaluation.report import write_report
from moodline.evaluation.results import (
    NOT_CALIBRATED,
    Evaluation,
    collect_notes,
    count_fold,
    describe_evaluation,
    note_words,
)
from moodline.evaluation.scores import note_few_conversations, score_predictions
from moodline.inference.pipeline import load
from moodline.inference.predictor import PrecomputedEmbeddings, Predictor
from moodline.inference.streaming import MAX_HISTORY, EncodedConversation, encode_causally
from moodline.io import open_atomic_file, write_json
from moodline.modeling.checkpoint import load_description
from moodline.training.dataset import refuse_unread_words
from moodline.training.provenance import note_selection
from moodline.training.run import CAUSAL_FILE, PREDICTIONS_FILE, REPORT_FILE, RESULTS_FILE, Run, get_file, read_run

ROWS_PER_GROUP = 2**16  # per row group: the writer holds one in memory

LearningCurves = Mapping[str, Mapping[str, list[dict[str, float]]]]


@dataclass(frozen=True, kw_only=True)
class EvaluationOutcome:
    """Hold an evaluation's results and its file: the report, or the results of a causal evaluation."""

    results: Mapping[str, Any]
    evaluation: Evaluation
    file: Path


def write_outcome(
    predictions: pa.Table,
    results: dict[str, Any],
    curves: LearningCurves,
    corpus: Corpus,
    out: Path,
    usual_words: str,
    *,
    with_audio: bool,
    quote: bool,
) -> EvaluationOutcome:
    """Write an evaluation's predictions, results and report; words other than the usual ones are part of the names."""
    evaluation = score_predictions(predictions, results["label_set"]["classes"])
    notes = [*results["notes"], *note_few_conversations(evaluation.scores)]
    results = add_calibration({**results, "notes": notes, **dataclasses.asdict(evaluation)}, predictions)
    results = add_coverage(results, predictions)
    predictions_file, results_file, report = (
        get_file(name, out, corpus.words, usual_words) for name in (PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE)
    )
    with open_atomic_file(predictions_file) as temporary:
        pq.write_table(predictions, temporary, row_group_size=ROWS_PER_GROUP)
    write_json(results_file, results)
    write_report(results, curves, predictions, corpus.conversations, report, with_audio=with_audio, quote=quote)
    return EvaluationOutcome(results=results, evaluation=evaluation, file=report)


def evaluate_run(
    folder: Path,
    progress: ProgressCallback,
    files: Mapping[str, Path] | None = None,
    *,
    with_audio: bool = False,
    quote: bool = True,
    words: str | None = None,
    device: str | torch.device = AUTO,
) -> EvaluationOutcome:
    """Score every trained fold of a run on its test set.

    Args:
        files: present paths of the run's embeddings, by encoder, if they have moved
        words: words of the test sets; None for those that trained the run. Scores on other words have their own files.
        with_audio: include the audio of the shown errors in the report
        quote: let the report quote the corpus's words
        device: of the models, as in ``moodline.load``

    Raises:
        MoodlineError: no fold is trained, the protocol has no test set, the corpus or the embeddings have changed, or
            the corpus has no such words
    """
    run = read_run(folder)
    corpus = read_run_corpus(run, words or run.words)
    refuse_unread_words(run.recipe, corpus)
    all_folds = build_folds(corpus, run.protocol)
    folds = select_folds(run, all_folds)
    given = read_run_embeddings(run, files or {})
    tables = [predict_fold(run, fold, get_vectors(given), progress, device) for fold in folds]
    results = describe_run(run, corpus, folds, len(all_folds), given)
    curves = {fold.name: run.read_histories(fold.name) for fold in folds}
    table = pa.concat_tables(tables)
    return write_outcome(table, results, curves, corpus, folder, run.words, with_audio=with_audio, quote=quote)


def describe_run(
    run: Run, corpus: Corpus, folds: Sequence[Fold], of: int, given: Mapping[str, EmbeddingsFile]
) -> dict[str, Any]:
    """Describe a run for results.json.

    Args:
        folds: those that are scored
        of: number of folds in the protocol
        given: the run's files of embeddings, by encoder
    """
    return {
        **describe_evaluation(run.label_set, run.recipe.context, corpus, run.words),
        "protocol": run.protocol,
        "recipe": run.recipe_name,
        "seed": run.recipe.seed,
        "notes": [
            *collect_notes(folds, of),
            *note_selection(run.recipe),
            *note_words(run.words, corpus),
            *note_misspelt(run.label_set, corpus.label_counts),
            *merge_fingerprints(file.training_record.notes for file in given.values()),
            *note_calibration(run, folds),
        ],
        "folds": [count_fold(fold, run.label_set) for fold in folds],
    }


def select_folds(run: Run, all_folds: Sequence[Fold]) -> list[Fold]:
    """Select the folds that a run has trained.

    Raises:
        MoodlineError: no fold is trained, or the protocol has no test set
    """
    folds = [fold for fold in all_folds if run.is_complete(fold.name)]
    if not folds:
        begun = [fold.name for fold in all_folds if run.get_files(fold.name).folder.is_dir()]
        lacks = "".join(f"; fold {name}: {run.explain_incomplete(name)}" for name in begun)
        raise MoodlineError(
            f"{run.folder} has no trained fold of its recipe yet{lacks}. Finish moodline train first.",
            code="run.no_trained_fold",
        )
    if not all(fold.test for fold in folds):
        raise MoodlineError(
            f"protocol {run.protocol} has no test set. Score its model on another corpus with "
            "moodline evaluate --model FOLDER --corpus OTHER.",
            code="evaluation.no_test_set",
        )
    return folds


def note_calibration(run: Run, folds: Sequence[Fold]) -> list[str]:
    """Note models of a run without calibration, written by an older moodline."""
    lacking = [fold.name for fold in folds if not load_description(run.get_model_folder(fold.name)).temperatures]
    which = "" if len(lacking) == len(folds) else f"fold {', '.join(lacking)}: "
    return [f"{which}{NOT_CALIBRATED}"] if lacking else []


def read_run_corpus(run: Run, words: str) -> Corpus:
    """Read the run's corpus with the given words, and check that it has not changed since training."""
    corpus = read_corpus_with_words(words, run.corpus_folder)
    if corpus.table_hash != run.corpus_hash:
        raise MoodlineError(
            f"{run.folder} was trained on a corpus with hash {run.corpus_hash}, and {run.corpus_folder} now has "
            f"{corpus.table_hash}. Prepare that corpus again, or train a new run.",
            code="run.other_corpus",
        )
    if corpus.recognition and run.words == RECOGNISED and corpus.recognition.words_hash != run.words_hash:
        raise MoodlineError(
            f"{run.folder} was trained on recognised words with hash {run.words_hash}, and those of "
            f"{run.corpus_folder} now have {corpus.recognition.words_hash}. Restore the former words, or train a new "
            "run.",
            code="run.other_words",
        )
    return corpus


def read_run_embeddings(run: Run, files: Mapping[str, Path]) -> dict[str, EmbeddingsFile]:
    """Read the run's embeddings by encoder, from their recorded paths or from ``files``.

    Raises:
        MoodlineError: a file is missing, or its hash differs
    """
    refuse_other_encoders(run.recipe, {*run.embeddings, *files})
    embeddings: dict[str, EmbeddingsFile] = {}
    for encoder, given in run.embeddings.items():
        path, option = files.get(encoder, given.file), EMBEDDINGS_OPTIONS[encoder]
        if encoder not in files and not path.is_file():
            raise MoodlineError(
                f"{path}, the embeddings that {run.folder} was trained on (hash {given.hash}), is missing. "
                f"Give its present path with {option} FILE.",
                code="embeddings.missing_file",
            )
        found = read_embeddings(path)
        if found.hash != given.hash:
            raise MoodlineError(
                f"{run.folder} was trained on embeddings with hash {given.hash}, and {path} has {found.hash}: "
                f"give the file that it was trained on with {option} FILE, or train a new run",
                code="embeddings.other_file",
            )
        embeddings[encoder] = found
    return embeddings


def predict_fold(
    run: Run, fold: Fold, embeddings: PrecomputedEmbeddings, progress: ProgressCallback, device: str | torch.device
) -> pa.Table:
    predictor = load(run.get_model_folder(fold.name), device=device).with_embeddings(embeddings)
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
            f"the model was trained on a fold with hash {found}, but {fold.protocol}, fold {fold.name} has "
            f"{fold.hash}. Train into a new folder.",
            code="run.other_fold",
        )


# Keys of the stages with context when they read the past alone.
CAUSAL_STAGES: Mapping[str, str] = {stage: f"{stage}_causal" for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)}
CAUSAL_STAGE_NAMES: Mapping[str, str] = {
    **STAGE_NAMES,
    **{causal: f"{STAGE_NAMES[stage]}, causal" for stage, causal in CAUSAL_STAGES.items()},
}
CAUSAL_GAINS = tuple((causal, stage) for stage, causal in CAUSAL_STAGES.items())


def evaluate_causally(
    folder: Path,
    progress: ProgressCallback,
    files: Mapping[str, Path] | None = None,
    *,
    words: str | None = None,
    device: str | torch.device = AUTO,
) -> EvaluationOutcome:
    """Score a run's test sets twice: each utterance in its whole conversation, and with the past alone.

    The encoders read each utterance once. The results have their own file beside the run's.

    Args and errors: see ``evaluate_run``
    """
    run = read_run(folder)
    corpus = read_run_corpus(run, words or run.words)
    refuse_unread_words(run.recipe, corpus)
    all_folds = build_folds(corpus, run.protocol)
    folds = select_folds(run, all_folds)
    given = read_run_embeddings(run, files or {})
    embeddings = get_vectors(given)
    predictions = pa.concat_tables([predict_both_ways(run, fold, embeddings, progress, device) for fold in folds])
    evaluation = score_predictions(predictions, run.label_set.classes, stages=CAUSAL_STAGE_NAMES, gains=CAUSAL_GAINS)
    description = describe_run(run, corpus, folds, len(all_folds), given)
    results = {
        **description,
        "notes": [*description["notes"], *note_few_conversations(evaluation.scores)],
        "history": MAX_HISTORY,
        **dataclasses.asdict(evaluation),
    }
    file = get_file(CAUSAL_FILE, folder, corpus.words, run.words)
    write_json(file, results)
    return EvaluationOutcome(results=results, evaluation=evaluation, file=file)


def predict_both_ways(
    run: Run, fold: Fold, embeddings: PrecomputedEmbeddings, progress: ProgressCallback, device: str | torch.device
) -> pa.Table:
    """Predict a fold's test set by every stage, and causally by the stages with context; one row each."""
    predictor = load(run.get_model_folder(fold.name), device=device).with_embeddings(embeddings)
    refuse_other_fold(predictor, fold)
    refuse_training_overlap(predictor.model.provenance, fold.test, fold.test_speaker)
    network, recipe = predictor.model.network, predictor.model.recipe
    read = [one.prepare_for_context(run.label_set, recipe.context) for one in fold.test]
    talks = [one for one in read if one.utterances]
    alone = []
    for done, talk in enumerate(talks, start=1):
        alone.append(predictor.encode_present(talk))
        progress(f"fold {fold.name}", done, len(talks))
    causally = encode_causally(
        network,
        recipe,
        [EncodedConversation(one.embeddings, talk.utterances) for talk, one in zip(talks, alone, strict=True)],
    )

    def rows() -> Iterator[dict[str, Any]]:
        for talk, one, newest in zip(talks, alone, causally, strict=True):
            whole = predictor.build_predictions(talk.utterances, predictor.encode_in_context(talk.utterances, one))
            causal = predictor.build_predictions(talk.utterances, {**one.encodings, **newest})
            for turn, facts in iter_scored_turns(talk, run.label_set, fold.name, fold.test_speaker):
                for stage, probabilities in whole[turn].by_stage.items():
                    yield facts | build_stage_columns(stage, probabilities)
                for stage in [stage for stage in causal[turn].by_stage if stage in newest]:
                    yield facts | build_stage_columns(CAUSAL_STAGES[stage], causal[turn].by_stage[stage])

    return build_table(rows(), run.label_set, len(talks), fold.test_speaker)
