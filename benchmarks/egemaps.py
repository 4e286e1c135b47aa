"""Measure how much of the error on unseen voices is due to the voice: eGeMAPS with an SVM on a protocol's folds.

    .venv/bin/pip install '.[reproduce]'
    .venv/bin/python benchmarks/egemaps.py corpora/tree cv5

The features are those of moodline baselines; the SVM has a Gaussian kernel and is trained on each fold's training set.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from moodline.config import Recipe
from moodline.conversation import LABEL_SETS, Conversation, LabelSet, Utterance
from moodline.corpora.corpus import read_corpus
from moodline.corpora.protocols import build_folds
from moodline.experiments.baselines import BASELINES
from moodline.metrics import compute_confusion, compute_unweighted_accuracy, compute_weighted_accuracy

LABELS = LABEL_SETS["iemocap4"]


def labelled(conversations: Sequence[Conversation], labels: LabelSet) -> list[Utterance]:
    return [turn for one in conversations for turn in one.utterances if labels.index(turn.label) is not None]


def classes_of(utterances: Sequence[Utterance]) -> list[str]:
    return [LABELS.classes[LABELS.index(turn.label) or 0] for turn in utterances]


def relative_to(
    features: Mapping[str, np.ndarray], groups: Mapping[str, str], *, deviation: bool
) -> dict[str, np.ndarray]:
    """Standardise each utterance's features by the mean and standard deviation of its group."""
    members: dict[str, list[str]] = {}
    for one in features:
        members.setdefault(groups[one], []).append(one)
    found: dict[str, np.ndarray] = {}
    for ids in members.values():
        rows = StandardScaler(with_std=deviation).fit_transform(np.stack([features[one] for one in ids]))
        found |= zip(ids, rows, strict=True)
    return found


def main(folder: Path, protocol: str) -> None:
    corpus = read_corpus(folder)
    utterances = [turn for turn in labelled(corpus.conversations, LABELS) if turn.audio is not None]
    with tempfile.TemporaryDirectory() as kept:
        rows = np.asarray(BASELINES["egemaps"].reader(Recipe(), Path(kept))(utterances))
    raw = dict(zip((turn.id for turn in utterances), rows, strict=True))
    everywhere = relative_to(raw, {turn.id: turn.speaker for turn in utterances}, deviation=True)
    within = relative_to(
        raw,
        {turn.id: f"{one.id} {turn.speaker}" for one in corpus.conversations for turn in one.utterances},
        deviation=False,
    )
    kinds = {"by the training set": raw, "by speaker within the conversation": within, "by speaker": everywhere}
    for name, features in kinds.items():
        matrices = []
        for fold in build_folds(corpus, protocol):
            train, test = (
                [turn for turn in labelled(part, LABELS) if turn.id in raw] for part in (fold.train, fold.test)
            )
            machine = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
            machine.fit(np.stack([features[turn.id] for turn in train]), classes_of(train))
            predicted = machine.predict(np.stack([features[turn.id] for turn in test]))
            matrices.append(compute_confusion(classes_of(test), predicted.tolist(), LABELS.classes))
        pooled = np.sum(matrices, axis=0)
        by_fold = ", ".join(f"{compute_unweighted_accuracy(one):.3f}" for one in matrices)
        print(
            f"standardised {name}: WA {compute_weighted_accuracy(pooled):.3f}, UA "
            f"{compute_unweighted_accuracy(pooled):.3f} "
            f"(by fold {by_fold})"
        )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
