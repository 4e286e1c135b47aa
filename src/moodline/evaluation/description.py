"""What results.json says of what is scored, beside the scores: corpus, words, folds, versions, notes."""

import datetime
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from moodline.conversation import Conversation, LabelSet
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.recognition import REFERENCE
from moodline.labels import content_of

SCHEMA = 1
NOT_CALIBRATED = (
    "probabilities are not calibrated, since the model is of an older moodline: the moodline train command that made "
    "it, run once more, calibrates it and trains nothing"
)
PACKAGES = ("moodline", "torch", "transformers", "lightning", "numpy", "scikit-learn")


def description(labels: LabelSet, context: str, corpus: Corpus, trained_words: str) -> dict[str, Any]:
    """What of results.json does not depend on what is scored."""
    return {
        "schema": SCHEMA,
        "label_set": content_of(labels),
        "context": context,
        "corpus": {
            "reader": corpus.reader,
            "table_hash": corpus.table_hash,
            "source": str(corpus.source),
            "conversations": len(corpus.conversations),
            "utterances": sum(1 for _ in corpus.utterances),
        },
        "words": {
            "trained": trained_words,
            "scored": corpus.words,
            "recognition": corpus.recognition.content() if corpus.recognition else None,
        },
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def fold_counts(fold: Fold, labels: LabelSet) -> dict[str, Any]:
    sets = {name: counts(conversations, labels) for name, conversations in fold.scored.items()}
    left_out = None if fold.left_out is None else counts(fold.left_out, labels)
    shared = len(fold.shared_speakers)
    return {"name": fold.name, "hash": fold.hash, **sets, "left_out": left_out, "shared_speakers": shared}


def notes_of(folds: Sequence[Fold], of: int) -> list[str]:
    """What a reader of the scores must know of the folds, of so many in the protocol; what holds for all, once."""
    names: dict[str, list[str]] = {}
    for fold in folds:
        for note in fold.notes:
            names.setdefault(note, []).append(fold.name)
    notes = [note if len(those) == len(folds) else f"fold {', '.join(those)}: {note}" for note, those in names.items()]
    return [*notes, *missing_folds(len(folds), of)]


def missing_folds(count: int, of: int) -> list[str]:
    """A note where not all folds of a protocol are scored."""
    return [f"{count} of the protocol's {of} folds: the others are not trained yet"] if count < of else []


def notes_on_words(trained: str, corpus: Corpus) -> list[str]:
    """What a reader of the scores must know of the words, where they are not the reference ones throughout."""
    if trained == corpus.words == REFERENCE:
        return []
    return [f"trained on {trained} words, scored on {corpus.recognition or 'reference words'}"]


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
