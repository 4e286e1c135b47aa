"""Score one model on a corpus that it has not seen, with the corpus's labels mapped to its classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch

from moodline.conversation import (
    LABEL_SETS,
    Conversation,
    LabelSet,
    find_label_set,
    find_training_overlap,
    note_misspelt,
    refuse_misspelt,
)
from moodline.corpora.asr_column import read_corpus_with_words
from moodline.corpora.corpus import DESCRIPTION_FILE, Corpus
from moodline.corpora.storage import REFERENCE
from moodline.device import AUTO
from moodline.embeddings import EmbeddingsFile, get_vectors, read_precomputed
from moodline.errors import MoodlineError
from moodline.evaluation.evaluate import EvaluationOutcome, write_outcome
from moodline.evaluation.predictions import ProgressCallback, predict_for_scores
from moodline.evaluation.results import NOT_CALIBRATED, count_conversations, describe_evaluation, note_words
from moodline.inference.pipeline import load
from moodline.modeling.checkpoint import CONFIG_FILE, load_description, name_of_model
from moodline.training.dataset import refuse_unread_words
from moodline.training.run import RUN_FILE

MIN_MAPPED_SHARE = 0.5  # of the labelled utterances: with fewer known to the model's label set a map is required
MAX_SHOWN_LABELS = 12


def resolve_label_set(model: LabelSet, corpus: Corpus, named: str | None) -> LabelSet:
    """Map the corpus's labels to the model's classes.

    Args:
        named: name or YAML file of the label set that maps them; None uses the model's own

    Raises:
        MoodlineError: the map has a class that the model lacks, or the model's own set maps few of the labels
    """
    if named is None:
        refuse_other_labels(model, corpus)
        return model
    labels = find_label_set(named)
    refuse_misspelt(labels, corpus.label_counts)
    strangers = [name for name in labels.classes if name not in model.classes]
    if strangers:
        raise MoodlineError(
            f"{named} has the classes {', '.join(strangers)}, which the model lacks. Write a label set of its classes "
            f"{', '.join(model.classes)}, or of some of them.",
            code="label.unknown_class",
        )
    return replace(labels, classes=model.classes)


def refuse_other_labels(model: LabelSet, corpus: Corpus) -> None:
    found = corpus.label_counts
    if not found:
        raise MoodlineError(
            f"nothing can be scored: no utterance of {corpus.source} has a label", code="evaluation.no_labels"
        )
    known = count_scored(model, found)
    if known and known >= MIN_MAPPED_SHARE * found.total():
        return
    names = ", ".join(label for label, _ in found.most_common(MAX_SHOWN_LABELS)) + ", ..." * (
        len(found) > MAX_SHOWN_LABELS
    )
    own = f", or --label-set {model.name} to score those alone" if known and model.name in LABEL_SETS else ""
    raise MoodlineError(
        f"the model's label set {model.name} has a class for {known} of {found.total()} labelled utterances of "
        f"{corpus.source}, whose labels are {names}: map them to the model's classes ({', '.join(model.classes)}) with "
        f"{suggest_label_map(model, found)}{own}",
        code="label.unmapped",
    )


def suggest_label_map(model: LabelSet, found: Counter[str]) -> str:
    """Suggest a built-in label set that maps the corpus's labels to all of the model's classes, or a file."""
    same = [
        one
        for one in LABEL_SETS.values()
        if one.name != model.name and {one.mapping.get(label) for label in found} - {None} == set(model.classes)
    ]
    if same:
        return f"--label-set {max(same, key=lambda one: count_scored(one, found)).name}"
    return "--label-set FILE, a YAML file with name, version, classes and mapping"


def count_scored(labels: LabelSet, found: Counter[str]) -> int:
    """Count the labelled utterances that have a class."""
    return sum(count for label, count in found.items() if labels.index(label) is not None)


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
    device: str | torch.device = AUTO,
) -> EvaluationOutcome:
    """Score one model on all conversations of a corpus that it has not seen.

    Args:
        files: the corpus's embeddings, by encoder, for a model of precomputed embeddings
        label_map: name of the label set that maps the corpus's labels to the model's classes
        with_audio, quote: contents of the report, see ``evaluate_run``
        words: the corpus's words that the model reads
        device: of the model, as in ``moodline.load``

    Raises:
        MoodlineError: the model was trained or selected on one of them, embeddings are missing, or the corpus's labels
            do not map to the model's classes
    """
    described = load_description(model)
    refuse_occupied(out, "scores of a model elsewhere")
    corpus = read_corpus_with_words(words, corpus_folder)
    refuse_unread_words(described.recipe, corpus)
    labels = resolve_label_set(described.label_set, corpus, label_map)
    table = predict_corpus(model, corpus, labels, files or {}, progress, device)
    context, provenance = described.recipe.context, described.provenance
    results = {
        **describe_evaluation(labels, context, corpus, provenance.words),
        "protocol": f"elsewhere (model of {provenance.protocol}, fold {provenance.fold}, {provenance.corpus_reader})",
        "recipe": name_of_model(model),
        "seed": described.recipe.seed,
        "notes": [
            *(f"in training: {note}" for note in provenance.notes),
            *note_words(provenance.words, corpus),
            *note_misspelt(labels, corpus.label_counts),
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
                "test": count_conversations(corpus.conversations, labels),
            }
        ],
    }
    return write_outcome(table, results, {}, corpus, out, REFERENCE, with_audio=with_audio, quote=quote)


def predict_corpus(
    model: Path,
    corpus: Corpus,
    labels: LabelSet,
    files: Mapping[str, Path],
    progress: ProgressCallback,
    device: str | torch.device,
) -> pa.Table:
    """Predict all conversations of a corpus; the network is released on return."""
    predictor = load(model, device=device)
    recipe = predictor.model.recipe
    given = read_precomputed(
        recipe, files, [one.prepare_for_context(labels, recipe.context) for one in corpus.conversations]
    )
    for file in given.values():
        refuse_source_overlap(file, corpus.conversations)
    return predict_for_scores(
        predictor.with_embeddings(get_vectors(given)),
        corpus.conversations,
        labels,
        "elsewhere",
        lambda done: progress(str(model), done, len(corpus.conversations)),
    )


def refuse_occupied(out: Path, what: str) -> None:
    """Refuse to write into a run, a corpus or a model.

    Args:
        what: kind of output, in the plural

    Raises:
        MoodlineError: the folder is a run's, a corpus's or a model's
    """
    for file, taken in ((RUN_FILE, "run"), (DESCRIPTION_FILE, "corpus"), (CONFIG_FILE, "model")):
        if (out / file).exists():
            raise MoodlineError(f"{out} is a {taken}: choose another -o for {what}", code="file.occupied")


def refuse_source_overlap(file: EmbeddingsFile, conversations: Sequence[Conversation]) -> None:
    """Refuse embeddings whose model has seen a scored conversation."""
    for conversation, use in find_training_overlap(file.training_record, conversations, None):
        raise MoodlineError(
            f"the model that made {file.path} was {use} {conversation.id}. Score another corpus, or embed this one "
            "with another model.",
            code="embeddings.seen_conversation",
        )
