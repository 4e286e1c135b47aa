"""What a fold's model is made from, and what it may not be made from."""

from collections import Counter
from collections.abc import Mapping
from importlib import metadata

from moodline.checkpoint import Provenance
from moodline.config import ENCODERS, Recipe
from moodline.conversation import LabelSet
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.embeddings import EmbeddingsFile
from moodline.errors import MoodlineError
from moodline.reproduction.released import ReleasedSelection
from moodline.seen import joined, use_made_of

SHOWN_LABELS = 12


def refuse_seen_test(fold: Fold, given: Mapping[str, EmbeddingsFile]) -> None:
    """Refuse embeddings whose own model has seen what the fold tests: scores on it would not be honest."""
    for file in given.values():
        for conversation in fold.test:
            if use_made_of(file.seen, conversation, fold.test_speaker):
                raise MoodlineError(
                    f"a test set is unseen, and the model that made {file.path} has seen {conversation.id}, which "
                    f"{fold.protocol}, fold {fold.name} tests: train that fold alone on embeddings of its own model"
                )


def notes_on_words(corpus: Corpus) -> tuple[str, ...]:
    """What stands beside every score of a model of recognised words."""
    return (str(corpus.recognition),) if corpus.recognition else ()


def notes_on_selection(recipe: Recipe) -> tuple[str, ...]:
    """What stands beside every score of a system that trains an encoder with the released selection."""
    idle = recipe.selection != "released" or not set(ENCODERS) & set(recipe.stages)
    return () if idle else (ReleasedSelection.NOTE,)


def labels_found(corpus: Corpus) -> list[str]:
    """The labels of a corpus as it spells them, the most frequent first."""
    return [label for label, _ in corpus.label_counts.most_common(SHOWN_LABELS)] or ["none"]


def provenance_of(
    recipe: Recipe, label_set: LabelSet, corpus: Corpus, fold: Fold, given: Mapping[str, EmbeddingsFile]
) -> Provenance:
    """What a fold's model is made from; what the models behind embeddings given have seen, it has seen too.

    Raises:
        MoodlineError: a class has no training utterance, or the released selection would train on the test set's
            conversations
    """
    if notes_on_selection(recipe) and fold.validation_speaker is not None:
        raise MoodlineError(
            f"selection released trains encoders on the validation set's conversations, and in {fold.protocol}, fold "
            f"{fold.name} these are the test set's too: choose another protocol, or selection fold"
        )
    counts = Counter(
        label_set.classes[index]
        for conversation in fold.train
        for utterance in conversation.utterances
        if (index := label_set.index(utterance.label)) is not None
    )
    missing = [name for name in label_set.classes if not counts[name]]
    if missing:
        raise MoodlineError(
            f"every class needs training utterances: {fold.protocol}, fold {fold.name} has none of "
            f"{', '.join(missing)}, whose labels are {', '.join(label_set.mapping)} in {label_set.name}; the "
            f"corpus's are {', '.join(labels_found(corpus))}: choose another label set or protocol"
        )
    seen = [file.seen for file in given.values()]
    validation_turns = fold.scored["validation"] if fold.validation_speaker is not None else ()
    return Provenance(
        protocol=fold.protocol,
        fold=fold.name,
        fold_hash=fold.hash,
        corpus_reader=corpus.reader,
        corpus_hash=corpus.table_hash,
        trained_on=joined([[one.fingerprint for one in fold.train], *(one.trained_on for one in seen)]),
        selected_on=joined([[one.fingerprint for one in fold.validation], *(one.selected_on for one in seen)]),
        selected_on_turns=joined(
            [[one.fingerprint for one in validation_turns], *(one.selected_on_turns for one in seen)]
        ),
        class_counts={name: counts[name] for name in label_set.classes},
        moodline_version=metadata.version("moodline"),
        torch_version=metadata.version("torch"),
        notes=joined([fold.notes, notes_on_selection(recipe), notes_on_words(corpus), *(one.notes for one in seen)]),
        words=corpus.words,
        embeddings={encoder: f"{file.path.name}, hash {file.hash}" for encoder, file in given.items()},
    )
