"""Scoring one model on a corpus that it has not seen. It never trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from moodline.checkpoint import CONFIG_FILE, load_description
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.corpus import DESCRIPTION_FILE, Corpus
from moodline.corpora.recognised import read_corpus_with
from moodline.corpora.recognition import REFERENCE
from moodline.embeddings import EmbeddingsFile
from moodline.errors import MoodlineError
from moodline.evaluation.description import NOT_CALIBRATED, counts, description, notes_on_words
from moodline.evaluation.label_map import labels_for
from moodline.evaluation.outcome import Outcome, write_outcome
from moodline.evaluation.predictions import Progress, predict_for_scores
from moodline.inference.given import read_given, vectors_of
from moodline.inference.loaded import load
from moodline.labels import notes_on_misspelt
from moodline.seen import use_made_of
from moodline.training.data import refuse_unread_words
from moodline.training.run import RUN_FILE


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
    refuse_taken(out, "scores of a model elsewhere")
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
            *notes_on_misspelt(labels, corpus.label_counts),
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


def refuse_taken(out: Path, what: str) -> None:
    """Refuse to put what has a folder of its own among a run's scores, or into a corpus or a model.

    Args:
        what: is to be written there, in the plural

    Raises:
        MoodlineError: the folder is a run's, a corpus's or a model's
    """
    for file, taken in ((RUN_FILE, "run"), (DESCRIPTION_FILE, "corpus"), (CONFIG_FILE, "model")):
        if (out / file).exists():
            raise MoodlineError(f"{what} have a folder of their own, and {out} is a {taken}: choose another -o")


def refuse_seen_by_source(file: EmbeddingsFile, conversations: Sequence[Conversation]) -> None:
    """Refuse embeddings whose own model has seen what is scored."""
    for conversation in conversations:
        if use := use_made_of(file.seen, conversation, None):
            raise MoodlineError(
                f"a model is scored on what it has not seen, and the one that made {file.path} was {use} "
                f"{conversation.id}: score another corpus, or embed this one with another model"
            )
