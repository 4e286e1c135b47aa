"""Read and check what is scored, and predict it: the table that every score is computed from.

Columns: utterance_id, conversation_id, session, speaker, part, fold, stage, label, predicted, temperature and
p_<class>; one row per scored utterance and stage. Probabilities are softmax(logits / temperature); a baseline, or a
model of an older moodline, has no temperature and is not calibrated.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from moodline.config import EMBEDDINGS_OPTIONS, FUSION, SINGLE_MODALITY_FUSION, Modalities
from moodline.conversation import (
    LABEL_SETS,
    Conversation,
    LabelSet,
    find_label_set,
    find_training_overlap,
    refuse_misspelt,
)
from moodline.corpora.asr_column import read_corpus_with_words
from moodline.corpora.corpus import DESCRIPTION_FILE, Corpus
from moodline.corpora.protocols import Fold
from moodline.corpora.storage import RECOGNISED
from moodline.device import Execution
from moodline.embeddings import EmbeddingsFile, read_embeddings, refuse_other_encoders
from moodline.errors import MoodlineError
from moodline.evaluation.scores import MAJORITY
from moodline.inference.feature_store import choose_feature_folder
from moodline.inference.pipeline import load
from moodline.inference.predictor import Predictor
from moodline.modeling.description import CONFIG_FILE, Provenance
from moodline.timeline.timeline import ConversationPrediction
from moodline.training.dataset import refuse_changed_audio
from moodline.training.run import RUN_FILE, Run

MIN_MAPPED_SHARE = 0.5  # of the labelled utterances: with fewer known to the model's label set a map is required
MAX_SHOWN_LABELS = 12
ROWS_PER_BATCH = 2**12
TEXT_COLUMNS = ("utterance_id", "conversation_id", "session", "speaker", "part", "fold", "stage", "label", "predicted")

ProgressCallback = Callable[[str, int, int], None]
"""Receives a name, the number of finished conversations, and their total."""


def refuse_occupied(out: Path, what: str) -> None:
    """Refuse to write into a folder that is a run, a corpus or a model; ``what`` is the output, in the plural."""
    for file, taken in ((RUN_FILE, "run"), (DESCRIPTION_FILE, "corpus"), (CONFIG_FILE, "model")):
        if (out / file).exists():
            raise MoodlineError(f"{out} is a {taken}: choose another folder for {what}", code="file.occupied")


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
    refuse_changed_audio(run.recipe, corpus)
    return corpus


def select_folds(run: Run, all_folds: Sequence[Fold]) -> list[Fold]:
    """Select the folds that a run has trained, at least one, and check that they have test sets."""
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


def read_run_embeddings(run: Run, files: Mapping[str, Path]) -> dict[str, EmbeddingsFile]:
    """Read the run's embeddings by encoder, from their recorded paths or from ``files``, and check their hashes."""
    refuse_other_encoders(run.recipe, {*run.embeddings, *files})
    embeddings = {}
    for encoder, given in run.embeddings.items():
        path, option = files.get(encoder, given.file), EMBEDDINGS_OPTIONS[encoder]
        if encoder not in files and not path.is_file():
            raise MoodlineError(
                f"{path}, the embeddings that {run.folder} was trained on (hash {given.hash}), is missing. "
                f"Give its present path with {option} FILE.",
                code="embeddings.missing_file",
            )
        found = embeddings[encoder] = read_embeddings(path)
        if found.hash != given.hash:
            raise MoodlineError(
                f"{run.folder} was trained on embeddings with hash {given.hash}, and {path} has {found.hash}: "
                f"give the file that it was trained on with {option} FILE, or train a new run",
                code="embeddings.other_file",
            )
    return embeddings


def read_features(
    predictor: Predictor,
    conversations: Sequence[Conversation],
    labels: LabelSet,
    corpus: Path,
    otherwise: Path,
    speaker: str | None = None,
) -> Predictor:
    """Let a model read what its frozen encoders compute of conversations from the corpus's folder, or from another.

    Raises:
        MoodlineError: a conversation trained or selected the model; this is checked before anything is computed
    """
    refuse_training_overlap(predictor.model.provenance, conversations, speaker)
    context = predictor.model.recipe.context
    prepared = [one.prepare_for_context(labels, context) for one in conversations]
    return predictor.with_features(choose_feature_folder(corpus, otherwise), prepared)


def load_fold(run: Run, fold: Fold, execution: Execution) -> Predictor:
    """Load a fold's model, and check that it was trained on this fold."""
    predictor = load(run.get_model_folder(fold.name), **execution._asdict())
    found = predictor.model.provenance.fold_hash
    if found != fold.hash:
        raise MoodlineError(
            f"the model was trained on a fold with hash {found}, but {fold.protocol}, fold {fold.name} has "
            f"{fold.hash}. Train into a new folder.",
            code="run.other_fold",
        )
    return predictor


def resolve_label_set(model: LabelSet, corpus: Corpus, named: str | None) -> LabelSet:
    """Map the corpus's labels to the model's classes.

    Args:
        named: name or YAML file of the label set that maps them; None uses the model's own

    Raises:
        MoodlineError: the map has a class that the model lacks, or the model's own set maps few of the labels
    """
    if named is None:
        _refuse_other_labels(model, corpus)
        return model
    labels = find_label_set(named)
    refuse_misspelt(labels, corpus.label_counts)
    if strangers := [name for name in labels.classes if name not in model.classes]:
        raise MoodlineError(
            f"{named} has the classes {', '.join(strangers)}, which the model lacks. Write a label set of its classes "
            f"{', '.join(model.classes)}, or of some of them.",
            code="label.unknown_class",
        )
    return replace(labels, classes=model.classes)


def _refuse_other_labels(model: LabelSet, corpus: Corpus) -> None:
    found = corpus.label_counts
    if not found:
        raise MoodlineError(
            f"nothing can be scored: no utterance of {corpus.place} has a label", code="evaluation.no_labels"
        )
    known = _count_scored(model, found)
    if known and known >= MIN_MAPPED_SHARE * found.total():
        return
    more = ", ..." if len(found) > MAX_SHOWN_LABELS else ""
    names = ", ".join(label for label, _ in found.most_common(MAX_SHOWN_LABELS)) + more
    own = f", or --label-set {model.name} to score those alone" if known and model.name in LABEL_SETS else ""
    raise MoodlineError(
        f"the model's label set {model.name} has a class for {known} of {found.total()} labelled utterances of "
        f"{corpus.place}, whose labels are {names}: map them to the model's classes ({', '.join(model.classes)}) with "
        f"{_suggest_label_map(model, found)}{own}",
        code="label.unmapped",
    )


def _suggest_label_map(model: LabelSet, found: Counter[str]) -> str:
    """Suggest a built-in label set that maps the corpus's labels to all of the model's classes, or a file."""
    same = [
        one
        for one in LABEL_SETS.values()
        if one.name != model.name and {one.mapping.get(label) for label in found} - {None} == set(model.classes)
    ]
    if same:
        return f"--label-set {max(same, key=lambda one: _count_scored(one, found)).name}"
    return "--label-set FILE (in Python labels), a YAML file with name, version, classes and mapping"


def _count_scored(labels: LabelSet, found: Counter[str]) -> int:
    return sum(count for label, count in found.items() if labels.index(label) is not None)


def refuse_training_overlap(
    provenance: Provenance, conversations: Sequence[Conversation], speaker: str | None = None
) -> None:
    """Refuse to score a model on conversations that trained or selected it; None scores all speakers."""
    for conversation, use in find_training_overlap(provenance, conversations, speaker):
        raise MoodlineError(
            f"the model was {use} {conversation.id} ({provenance.protocol}, fold {provenance.fold}). "
            "Score it on its test set, or on another corpus.",
            code="evaluation.seen_conversation",
        )


def predict_for_scores(
    predictor: Predictor,
    conversations: Sequence[Conversation],
    labels: LabelSet,
    fold: str,
    progress: Callable[[int], None],
    speaker: str | None = None,
) -> pa.Table:
    """Predict the utterances that have a class, by every stage and by the majority baseline.

    Args:
        labels: the model's classes and the corpus's labels that map to them
        fold: name of the fold in the table
        progress: receives the number of finished conversations
        speaker: the only speaker who is scored, the others being context; None scores all

    Raises:
        MoodlineError: a conversation was in the model's training or validation set, or none has a scored utterance
    """
    refuse_training_overlap(predictor.model.provenance, conversations, speaker)

    def rows() -> Iterator[dict[str, Any]]:
        context = predictor.model.recipe.context
        prepared = [one.prepare_for_context(labels, context) for one in conversations]
        for done, modes in enumerate(predictor.predict_all_modes(prepared), start=1):
            yield from _iter_rows(predictor, prepared[done - 1], modes, labels, fold, speaker)
            progress(done)

    return build_table(rows(), labels, len(conversations), speaker)


def build_table(rows: Iterable[dict[str, Any]], labels: LabelSet, conversations: int, speaker: str | None) -> pa.Table:
    """Build the table of predictions, keeping some thousand rows at most as they come; refuse one without rows."""
    schema, remaining = build_schema(labels.classes), iter(rows)
    tables: list[pa.Table] = []
    while some := list(islice(remaining, ROWS_PER_BATCH)):
        tables.append(pa.Table.from_pylist(some, schema=schema))
    if not tables:
        raise MoodlineError(
            f"nothing can be scored: no utterance {f'of {speaker} ' if speaker else ''}in {conversations} "
            f"conversations has a label of {labels.name} ({', '.join(labels.mapping)})",
            code="evaluation.no_labels",
        )
    return pa.concat_tables(tables)


def build_schema(classes: Sequence[str]) -> pa.Schema:
    probabilities = [(f"p_{name}", pa.float32()) for name in classes]
    return pa.schema([*((name, pa.string()) for name in TEXT_COLUMNS), ("temperature", pa.float64()), *probabilities])


def _iter_rows(
    predictor: Predictor,
    read: Conversation,
    modes: Mapping[Modalities, ConversationPrediction],
    labels: LabelSet,
    fold: str,
    speaker: str | None,
) -> Iterator[dict[str, Any]]:
    """Iterate over the rows of each stage, of the fusion with one modality, and of the majority baseline."""
    model = predictor.model
    for utterance, predicted in zip(read.utterances, modes["both"].utterances, strict=True):
        if len(predicted.by_stage) < len(model.recipe.stages):
            raise MoodlineError(
                f"{utterance.id} has no audio, and stages are scored on the same utterances. Prepare the corpus with "
                "its audio, or score a text-only model.",
                code="evaluation.missing_audio",
            )
    majority = {name: float(name == model.provenance.majority_class) for name in labels.classes}
    for turn, facts in iter_scored_turns(read, labels, fold, speaker):
        for stage, probabilities in modes["both"].utterances[turn].by_stage.items():
            yield facts | build_stage_columns(stage, probabilities, model.temperatures.get(stage))
        for mode, stage in SINGLE_MODALITY_FUSION.items():
            if mode in modes:
                alone = modes[mode].utterances[turn].probabilities
                yield facts | build_stage_columns(stage, alone, model.temperatures.get(FUSION))
        yield facts | build_stage_columns(MAJORITY, majority)


def iter_scored_turns(
    conversation: Conversation, labels: LabelSet, fold: str, speaker: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the positions of scored turns, each with the columns that its rows share."""
    whole = {
        "conversation_id": conversation.id,
        "session": conversation.session,
        "part": conversation.part,
        "fold": fold,
    }
    for turn, utterance in enumerate(conversation.utterances):
        index = labels.index(utterance.label)
        if index is not None and speaker in (None, utterance.speaker):
            facts = {"utterance_id": utterance.id, "speaker": utterance.speaker, "label": labels.classes[index]}
            yield turn, facts | whole


def build_stage_columns(
    stage: str, probabilities: Mapping[str, float], temperature: float | None = None
) -> dict[str, Any]:
    """Build a stage's own columns of a row from its probabilities."""
    return {
        "stage": stage,
        "predicted": max(probabilities, key=lambda name: probabilities[name]),
        "temperature": temperature,
        **{f"p_{name}": value for name, value in probabilities.items()},
    }
