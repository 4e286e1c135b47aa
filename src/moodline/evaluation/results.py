"""Define the content of results.json: scores with intervals, and a description of the data."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from moodline.conversation import Conversation, LabelSet, convert_to_content
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold
from moodline.corpora.storage import REFERENCE


@dataclass(frozen=True, slots=True)
class Estimate:
    """Hold a score or a difference of scores, and its 95 % interval; None for a single conversation."""

    value: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Hold the three measures over a set of utterances."""

    utterances: int
    conversations: int
    wa: Estimate
    ua: Estimate
    weighted_f1: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class StageScores:
    """Hold all scores of one stage.

    Attributes:
        over_folds: by measure, ``mean`` and ``deviation`` (n - 1 in the denominator; None for one fold)
        parts: empty unless the predictions hold more than one part of a corpus
        classes: ``precision``, ``recall``, ``f1`` and ``support``; None where undefined (see metrics.ClassScores)
        confusion: a row per reference class and a column per predicted one, in the order of ``classes``
    """

    stage: str
    pooled: Scores
    over_folds: Mapping[str, Mapping[str, float | None]]
    folds: Mapping[str, Scores]
    parts: Mapping[str, Scores]
    classes: Mapping[str, Mapping[str, float | None]]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Hold the scores of ``stage`` minus those of ``minus``, paired over conversations."""

    stage: str
    minus: str
    wa: Estimate
    ua: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    scores: tuple[StageScores, ...]
    differences: tuple[Difference, ...]


NOT_CALIBRATED = (
    "probabilities are not calibrated, since an older moodline wrote the model. Rerun its moodline train command to "
    "calibrate it without training"
)
PACKAGES = ("moodline", "torch", "transformers", "lightning", "numpy", "scikit-learn")


def describe_evaluation(labels: LabelSet, context: str, corpus: Corpus, trained_words: str) -> dict[str, Any]:
    """Describe labels, corpus, words and versions for results.json."""
    return {
        "schema": 1,
        "label_set": convert_to_content(labels),
        "context": context,
        "corpus": {
            "reader": corpus.reader,
            "table_hash": corpus.table_hash,
            "source": corpus.source.name,
            "conversations": len(corpus.conversations),
            "utterances": sum(1 for _ in corpus.utterances),
        },
        "words": {
            "trained": trained_words,
            "scored": corpus.words,
            "recognition": corpus.recognition.to_json_content() if corpus.recognition else None,
        },
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def count_fold(fold: Fold, labels: LabelSet) -> dict[str, Any]:
    return {
        "name": fold.name,
        "hash": fold.hash,
        **{name: count_conversations(conversations, labels) for name, conversations in fold.scored.items()},
        "left_out": None if fold.left_out is None else count_conversations(fold.left_out, labels),
        "shared_speakers": len(fold.shared_speakers),
    }


def count_conversations(conversations: Sequence[Conversation], labels: LabelSet) -> dict[str, Any]:
    """Count conversations, scored utterances, and these by class."""
    indices = Counter(labels.index(utterance.label) for one in conversations for utterance in one.utterances)
    classes = {name: indices[index] for index, name in enumerate(labels.classes)}
    return {"conversations": len(conversations), "utterances": sum(classes.values()), "classes": classes}


def collect_notes(folds: Sequence[Fold], of: int) -> list[str]:
    """Collect the folds' notes, each once, and note missing folds of the ``of`` in the protocol."""
    names: dict[str, list[str]] = {}
    for fold in folds:
        for note in fold.notes:
            names.setdefault(note, []).append(fold.name)
    notes = [note if len(those) == len(folds) else f"fold {', '.join(those)}: {note}" for note, those in names.items()]
    return [*notes, *note_missing_folds(len(folds), of)]


def note_missing_folds(count: int, of: int) -> list[str]:
    """Note that not all folds of a protocol are scored."""
    return [f"{count} of the protocol's {of} folds: the others are not trained yet"] if count < of else []


def note_words(trained: str, corpus: Corpus) -> list[str]:
    """Note the words of training and scoring, unless both are the reference words."""
    if trained == corpus.words == REFERENCE:
        return []
    return [f"trained on {trained} words, scored on {corpus.recognition or 'reference words'}"]
