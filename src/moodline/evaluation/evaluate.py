"""Score a run on its test folds, whole or causally, or a model on another corpus; write the results and a report."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import AUDIO_CONTEXT, FUSION, STAGE_NAMES, TEXT_CONTEXT
from moodline.conversation import LabelSet, find_training_overlap, merge_fingerprints, note_misspelt
from moodline.corpora.asr_column import read_corpus_with_words
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold, build_folds
from moodline.corpora.storage import REFERENCE
from moodline.device import DEFAULT_EXECUTION, Execution
from moodline.embeddings import EmbeddingsFile, get_vectors, read_precomputed
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import (
    ProgressCallback,
    build_stage_columns,
    build_table,
    iter_scored_turns,
    load_fold,
    predict_for_scores,
    read_features,
    read_run_corpus,
    read_run_embeddings,
    refuse_occupied,
    resolve_label_set,
    select_folds,
)
from moodline.evaluation.reliability import add_reliability
from moodline.evaluation.report import LearningCurves, write_report
from moodline.evaluation.results import (
    NOT_CALIBRATED,
    Evaluation,
    collect_notes,
    count_conversations,
    count_fold,
    describe_evaluation,
    note_words,
)
from moodline.evaluation.scores import note_few_conversations, score_predictions
from moodline.inference.pipeline import load
from moodline.inference.predictor import Predictor, UtteranceEncodings
from moodline.inference.streaming import MAX_HISTORY, EncodedConversation, encode_causally
from moodline.io import open_atomic_file, write_json
from moodline.modeling.checkpoint import name_of_model
from moodline.modeling.description import load_description
from moodline.training.dataset import refuse_changed_audio, refuse_unread_words
from moodline.training.provenance import note_selection
from moodline.training.run import CAUSAL_FILE, PREDICTIONS_FILE, REPORT_FILE, RESULTS_FILE, Run, get_file, read_run

ROWS_PER_GROUP = 2**16  # per row group: the writer holds one in memory


@dataclass(frozen=True, kw_only=True)
class EvaluationOutcome:
    """Hold an evaluation's results and its file: the report, or the results of a causal evaluation."""

    results: Mapping[str, Any]
    evaluation: Evaluation
    file: Path


def evaluate_run(
    folder: Path,
    progress: ProgressCallback,
    files: Mapping[str, Path] | None = None,
    *,
    with_audio: bool = False,
    quote: bool = True,
    words: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
) -> EvaluationOutcome:
    """Score every trained fold of a run on its test set.

    Args:
        files: present paths of the run's embeddings, by encoder, if they have moved
        words: words of the test sets; None for those that trained the run. Scores on other words have their own files.
        with_audio: include the audio of the shown errors in the report
        quote: let the report quote the corpus's words
        execution: of the models, as in ``moodline.load``

    Raises:
        MoodlineError: no fold is trained, the protocol has no test set, the corpus or the embeddings have changed, or
            the corpus has no such words
    """
    scored = read_scored_run(folder, files or {}, words)
    table = pa.concat_tables([predict_fold(scored, fold, progress, execution) for fold in scored.folds])
    curves = {fold.name: scored.run.read_histories(fold.name) for fold in scored.folds}
    shown, usual = {"with_audio": with_audio, "quote": quote}, scored.run.words
    return write_outcome(table, scored.describe(execution), curves, scored.corpus, folder, usual, **shown)


def write_outcome(
    predictions: pa.Table,
    results: dict[str, Any],
    curves: LearningCurves,
    corpus: Corpus,
    out: Path,
    usual_words: str,
    **shown: bool,
) -> EvaluationOutcome:
    """Write an evaluation's files, which name words other than the usual ones; ``shown``: see ``write_report``."""
    evaluation = score_predictions(predictions, results["label_set"]["classes"])
    results["notes"] += note_few_conversations(evaluation.scores)
    results = add_reliability(results | dataclasses.asdict(evaluation), predictions)
    predictions_file, results_file, report = (
        get_file(name, out, corpus.words, usual_words) for name in (PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE)
    )
    with open_atomic_file(predictions_file) as temporary:
        pq.write_table(predictions, temporary, row_group_size=ROWS_PER_GROUP)
    write_json(results_file, results)
    write_report(results, curves, predictions, corpus.conversations, report, **shown)
    return EvaluationOutcome(results=results, evaluation=evaluation, file=report)


class ScoredRun(NamedTuple):
    """Hold a run and what it is scored on."""

    run: Run
    corpus: Corpus
    folds: Sequence[Fold]  # the trained ones
    of: int  # folds in the protocol
    given: Mapping[str, EmbeddingsFile]  # by encoder

    def describe(self, execution: Execution) -> dict[str, Any]:
        """Describe the run for results.json."""
        run, folds = self.run, self.folds
        # Models without calibration were written by an older moodline.
        lacking = [fold.name for fold in folds if not load_description(run.get_model_folder(fold.name)).temperatures]
        which = "" if len(lacking) == len(folds) else f"fold {', '.join(lacking)}: "
        return {
            **describe_evaluation(run.label_set, run.recipe.context, self.corpus, run.words),
            "protocol": run.protocol,
            "recipe": run.recipe_name,
            "seed": run.recipe.seed,
            "notes": [
                *collect_notes(folds, self.of),
                *note_selection(run.recipe),
                *note_words(run.words, self.corpus),
                *note_misspelt(run.label_set, self.corpus.label_counts),
                *merge_fingerprints(file.training_record.notes for file in self.given.values()),
                *([f"{which}{NOT_CALIBRATED}"] if lacking else []),
                *execution.notes,
            ],
            "folds": [count_fold(fold, run.label_set) for fold in folds],
        }


def read_scored_run(folder: Path, files: Mapping[str, Path], words: str | None) -> ScoredRun:
    """Read a run with its corpus, folds and embeddings; arguments and errors as in ``evaluate_run``."""
    run = read_run(folder)
    corpus = read_run_corpus(run, words or run.words)
    refuse_unread_words(run.recipe, corpus)
    folds = build_folds(corpus, run.protocol)
    return ScoredRun(run, corpus, select_folds(run, folds), len(folds), read_run_embeddings(run, files))


def predict_fold(scored: ScoredRun, fold: Fold, progress: ProgressCallback, execution: Execution) -> pa.Table:
    """Predict a fold's test set; the network is released on return."""
    return predict_for_scores(
        load_scored_fold(scored, fold, execution),
        fold.test,
        scored.run.label_set,
        fold.name,
        lambda done: progress(f"fold {fold.name}", done, len(fold.test)),
        fold.test_speaker,
    )


def load_scored_fold(scored: ScoredRun, fold: Fold, execution: Execution) -> Predictor:
    """Load a fold's model with what it reads from files."""
    run = scored.run
    predictor = load_fold(run, fold, execution).with_embeddings(get_vectors(scored.given))
    return read_features(predictor, fold.test, run.label_set, run.corpus_folder, run.folder, fold.test_speaker)


def evaluate_model(
    model: Path,
    corpus_folder: Path,
    out: Path,
    progress: ProgressCallback,
    files: Mapping[str, Path] | None = None,
    label_map: str | None = None,
    *,
    with_audio: bool = False,
    quote: bool = True,
    words: str = REFERENCE,
    execution: Execution = DEFAULT_EXECUTION,
) -> EvaluationOutcome:
    """Score one model on all conversations of a corpus that it has not seen.

    Args:
        files: the corpus's embeddings, by encoder, for a model of precomputed embeddings
        label_map: name of the label set that maps the corpus's labels to the model's classes
        words: the corpus's words that the model reads
        with_audio, quote, execution: see ``evaluate_run``

    Raises:
        MoodlineError: the model was trained or selected on one of them, embeddings are missing, or the corpus's labels
            do not map to the model's classes
    """
    described = load_description(model)
    refuse_occupied(out, "scores of a model elsewhere")
    corpus = read_corpus_with_words(words, corpus_folder)
    refuse_unread_words(described.recipe, corpus)
    refuse_changed_audio(described.recipe, corpus)
    labels = resolve_label_set(described.label_set, corpus, label_map)
    table = predict_corpus(model, corpus, corpus_folder, out, labels, files or {}, progress, execution)
    provenance = described.provenance
    results = {
        **describe_evaluation(labels, described.recipe.context, corpus, provenance.words),
        "protocol": f"elsewhere (model of {provenance.protocol}, fold {provenance.fold}, {provenance.corpus_reader})",
        "recipe": name_of_model(model),
        "seed": described.recipe.seed,
        "notes": [
            *(f"in training: {note}" for note in provenance.notes),
            *note_words(provenance.words, corpus),
            *note_misspelt(labels, corpus.label_counts),
            *([] if described.temperatures else [NOT_CALIBRATED]),
            *execution.notes,
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
                "test": count_conversations(corpus.conversations, labels),
            }
        ],
    }
    return write_outcome(table, results, {}, corpus, out, REFERENCE, with_audio=with_audio, quote=quote)


def predict_corpus(
    model: Path,
    corpus: Corpus,
    corpus_folder: Path,
    out: Path,
    labels: LabelSet,
    files: Mapping[str, Path],
    progress: ProgressCallback,
    execution: Execution,
) -> pa.Table:
    """Predict all conversations of a corpus; the network is released on return."""
    predictor, conversations = load(model, **execution._asdict()), corpus.conversations
    recipe = predictor.model.recipe
    given = read_precomputed(recipe, files, [one.prepare_for_context(labels, recipe.context) for one in conversations])
    for file in given.values():
        for conversation, use in find_training_overlap(file.training_record, conversations, None):
            raise MoodlineError(
                f"the model that made {file.path} was {use} {conversation.id}. Score another corpus, or embed this one "
                "with another model.",
                code="embeddings.seen_conversation",
            )
    predictor = predictor.with_embeddings(get_vectors(given))
    return predict_for_scores(
        read_features(predictor, conversations, labels, corpus_folder, out),
        conversations,
        labels,
        "elsewhere",
        lambda done: progress(str(model), done, len(conversations)),
    )


# Keys of the stages with context when they read the past alone.
CAUSAL_STAGES: Mapping[str, str] = {stage: f"{stage}_causal" for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)}
CAUSAL_STAGE_NAMES: Mapping[str, str] = {
    **STAGE_NAMES,
    **{causal: f"{STAGE_NAMES[stage]}, causal" for stage, causal in CAUSAL_STAGES.items()},
}


def evaluate_causally(
    folder: Path,
    progress: ProgressCallback,
    files: Mapping[str, Path] | None = None,
    *,
    words: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
) -> EvaluationOutcome:
    """Score a run's test sets twice: each utterance in its whole conversation, and with the past alone.

    The encoders read each utterance once. The results have their own file. Arguments and errors: see ``evaluate_run``.
    """
    scored = read_scored_run(folder, files or {}, words)
    predictions = pa.concat_tables([predict_causally(scored, fold, progress, execution) for fold in scored.folds])
    results, gains = scored.describe(execution), [(causal, stage) for stage, causal in CAUSAL_STAGES.items()]
    classes = scored.run.label_set.classes
    evaluation = score_predictions(predictions, classes, stages=CAUSAL_STAGE_NAMES, gains=gains)
    results["notes"] += note_few_conversations(evaluation.scores)
    results |= {"history": MAX_HISTORY, **dataclasses.asdict(evaluation)}
    file = get_file(CAUSAL_FILE, folder, scored.corpus.words, scored.run.words)
    write_json(file, results)
    return EvaluationOutcome(results=results, evaluation=evaluation, file=file)


def predict_causally(scored: ScoredRun, fold: Fold, progress: ProgressCallback, execution: Execution) -> pa.Table:
    """Predict a fold's test set by every stage, and causally by the stages with context; one row each."""
    predictor = load_scored_fold(scored, fold, execution)
    labels, recipe = scored.run.label_set, predictor.model.recipe
    talks = [talk for one in fold.test if (talk := one.prepare_for_context(labels, recipe.context)).utterances]
    alone: list[UtteranceEncodings] = []
    for done, (_, encodings) in enumerate(predictor.encode_each(talks), start=1):
        alone.append(encodings)
        progress(f"fold {fold.name}", done, len(talks))
    encoded = [EncodedConversation(one.embeddings, talk.utterances) for talk, one in zip(talks, alone, strict=True)]
    causally = encode_causally(predictor.model.network, recipe, encoded)

    def rows() -> Iterator[dict[str, Any]]:
        for talk, one, newest in zip(talks, alone, causally, strict=True):
            whole = predictor.predict_encoded(talk.utterances, one)
            causal = predictor.build_predictions(talk.utterances, {**one.encodings, **newest})
            for turn, facts in iter_scored_turns(talk, labels, fold.name, fold.test_speaker):
                for stage, probabilities in whole[turn].by_stage.items():
                    yield facts | build_stage_columns(stage, probabilities)
                for stage, probabilities in causal[turn].by_stage.items():
                    if stage in newest:
                        yield facts | build_stage_columns(CAUSAL_STAGES[stage], probabilities)

    return build_table(rows(), labels, len(talks), fold.test_speaker)
