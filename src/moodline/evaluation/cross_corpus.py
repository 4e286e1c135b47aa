"""Scoring one model on a corpus that it has not seen, with its labels mapped. It never trains."""

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
    note_misspelt,
    refuse_misspelt,
    uses_made_of,
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

MIN_MAPPED_SHARE = 0.5  # of the labelled utterances, which a model's own label set must know to go without a map
MAX_SHOWN_LABELS = 12


def resolve_label_set(model: LabelSet, corpus: Corpus, named: str | None) -> LabelSet:
    """The model's classes, and the corpus's labels that each takes in.

    Args:
        named: a label set's name or YAML file, used as a map from the corpus's labels; None takes the model's own

    Raises:
        MoodlineError: the map has a class that the model lacks; or the model's own set knows few of the labels
    """
    if named is None:
        refuse_other_labels(model, corpus)
        return model
    labels = find_label_set(named)
    refuse_misspelt(labels, corpus.label_counts)
    strangers = [name for name in labels.classes if name not in model.classes]
    if strangers:
        raise MoodlineError(
            f"labels map to the model's classes {', '.join(model.classes)}: {named} has {', '.join(strangers)}; "
            "write a label set of these classes, or a part of them"
        )
    return replace(labels, classes=model.classes)


def refuse_other_labels(model: LabelSet, corpus: Corpus) -> None:
    found = corpus.label_counts
    if not found:
        raise MoodlineError(f"nothing can be scored: no utterance of {corpus.source} has a label")
    known = count_scored(model, found)
    if known and known >= MIN_MAPPED_SHARE * found.total():
        return
    names = ", ".join(label for label, _ in found.most_common(MAX_SHOWN_LABELS)) + ", ..." * (
        len(found) > MAX_SHOWN_LABELS
    )
    own = f", or --labels {model.name} to score those alone" if known and model.name in LABEL_SETS else ""
    raise MoodlineError(
        f"the model's label set {model.name} has a class for {known} of {found.total()} labelled utterances of "
        f"{corpus.source}, whose labels are {names}: say what they are to the model ({', '.join(model.classes)}) with "
        f"{suggest_label_map(model, found)}{own}"
    )


def suggest_label_map(model: LabelSet, found: Counter[str]) -> str:
    """The built-in set of the model's classes that finds all of them in the corpus, or how to write one."""
    same = [
        one
        for one in LABEL_SETS.values()
        if one.name != model.name and {one.mapping.get(label) for label in found} - {None} == set(model.classes)
    ]
    if same:
        return f"--labels {max(same, key=lambda one: count_scored(one, found)).name}"
    return "--labels FILE, a YAML file with name, version, classes and mapping"


def count_scored(labels: LabelSet, found: Counter[str]) -> int:
    """How many labelled utterances have a class."""
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
        files: of that corpus's embeddings, by encoder, for a model that reads given ones
        label_map: names the label set that tells which of the model's classes the corpus's labels are
        with_audio, quote: what the report shows, as of ``evaluate_run``
        words: those of the corpus that are read
        device: of the model, as in ``moodline.load``

    Raises:
        MoodlineError: the model was trained or selected on one of them, or lacks their embeddings, or the corpus's
            labels are not the model's
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
    """What a model says of all conversations of a corpus; its network is gone from memory when this returns."""
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
    """Refuse to put what has a folder of its own among a run's scores, or into a corpus or a model.

    Args:
        what: is to be written there, in the plural

    Raises:
        MoodlineError: the folder is a run's, a corpus's or a model's
    """
    for file, taken in ((RUN_FILE, "run"), (DESCRIPTION_FILE, "corpus"), (CONFIG_FILE, "model")):
        if (out / file).exists():
            raise MoodlineError(f"{what} have a folder of their own, and {out} is a {taken}: choose another -o")


def refuse_source_overlap(file: EmbeddingsFile, conversations: Sequence[Conversation]) -> None:
    """Refuse embeddings whose own model has seen what is scored."""
    for conversation, use in uses_made_of(file.training_record, conversations, None):
        raise MoodlineError(
            f"a model is scored on what it has not seen, and the one that made {file.path} was {use} "
            f"{conversation.id}: score another corpus, or embed this one with another model"
        )
