"""Fingerprints of trained stages, stages shared between runs, and a model's provenance."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, ENCODERS, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE, Recipe
from moodline.conversation import LabelSet, convert_to_content, merge_fingerprints, uses_made_of
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold
from moodline.embeddings import EmbeddingsFile
from moodline.errors import MoodlineError
from moodline.io import flatten_keys, open_atomic_file, read_json
from moodline.modeling.as_released import ReleasedSelection
from moodline.modeling.checkpoint import BERT_CONFIG_FILE, TOKENIZER_FILE, Provenance

StageFingerprint = Mapping[str, Any]
"""Dotted keys and values, as JSON has them."""

# Keys of a recipe that every stage depends on: with another value of one of them nothing of a run could be kept.
COMMON_KEYS = ("seed", "context", "class_weights")

# Keys that came after the first runs, and the value with which a stage is what it was before there was the key. With it
# they are no part of an origin: what was trained before stays finished.
LATER_DEFAULTS: StageFingerprint = {"fusion.modalities": "both", "fusion.modality_dropout": 0.0}

# What each stage after the encoders reads.
STAGE_INPUTS = {
    AUDIO_CONTEXT: (AUDIO_UTTERANCE,),
    TEXT_CONTEXT: (TEXT_UTTERANCE,),
    FUSION: (AUDIO_CONTEXT, TEXT_CONTEXT),
}


def compute_origins(
    recipe: Recipe,
    label_set: LabelSet,
    corpus_hash: str,
    training_hash: str,
    given: Mapping[str, str],
    bert_files: str,
    precision: str,
    recognised: str | None = None,
) -> dict[str, StageFingerprint]:
    """Stage by stage, everything that its weights are a function of; that of what it reads is in it by its hash.

    Args:
        corpus_hash: of the corpus's table, labels and recordings included
        training_hash: of the fold's training and validation sets (see Fold)
        given: hashes of the embeddings from files, by the encoder whose place they take
        bert_files: a hash of what BERT is loaded from
        precision: of the arithmetic, as Lightning calls it
        recognised: a hash of the recognised words that are read; None where they are the reference ones
    """
    found: dict[str, StageFingerprint] = {encoder: {"hash": hash} for encoder, hash in given.items()}
    for stage in recipe.stages:
        content = {
            **{key: getattr(recipe, key) for key in COMMON_KEYS},
            "label_set": convert_to_content(label_set),
            "corpus_hash": corpus_hash,
            "training_hash": training_hash,
            "precision": precision,
            stage: dataclasses.asdict(getattr(recipe, stage)),
            "reads": {source: hash_origin(found[source]) for source in STAGE_INPUTS.get(stage, ())},
        }
        if stage in ENCODERS:
            content["selection"] = recipe.selection
        if stage == TEXT_UTTERANCE:
            content["bert_files"] = bert_files
            if recognised is not None:
                content["recognised_words"] = recognised
        told = flatten_keys(json.loads(json.dumps(content)))
        found[stage] = {
            key: value for key, value in told.items() if key not in LATER_DEFAULTS or value != LATER_DEFAULTS[key]
        }
    return found


def hash_origin(origin: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def find_change(before: StageFingerprint, now: StageFingerprint, names: Mapping[str, str]) -> str:
    """The first difference between two origins, in words; empty where there is none.

    Args:
        names: of the stages, for people
    """
    keys: Sequence[str] = [*now, *(key for key in before if key not in now)]
    for key in keys:
        was, now_is = (origin.get(key, LATER_DEFAULTS.get(key)) for origin in (before, now))
        if was != now_is:
            if key.startswith("reads."):
                return f"what it reads of {names[key.removeprefix('reads.')]} is new"
            return f"{key} was {was!r} and is {now_is!r}"
    return ""


def find_finished_stages(runs: Path) -> dict[str, Path]:
    """The record of a finished stage by the hash of its origin, of all runs in a folder and below it."""
    records = sorted(runs.glob("**/fold-*/stages/*.json"))
    finished = (record for record in records if not record.name.endswith(".unfinished.json"))
    return {hash_origin(read_json(record, "stage")["origin"]): record for record in finished}


def reuse_stage(record: Path, fold: Path) -> None:
    """Make another fold's finished stage one of this fold's; its record comes last, as when a stage is trained.

    Args:
        record: of the other fold's
        fold: this one's folder
    """
    stage, other = record.stem, record.parent.parent
    files = [f"embeddings/{stage}.parquet", f"model/{stage}.safetensors"]
    if stage == TEXT_UTTERANCE:
        files += [f"model/{BERT_CONFIG_FILE}", f"model/{TOKENIZER_FILE}"]
    for name in (*files, f"stages/{stage}.json"):
        if (other / name).exists():  # the fusion has no embeddings
            link_or_copy(other / name, fold / name)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name of a file, or a copy where the file system has no such thing; files are only ever replaced."""
    with open_atomic_file(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


MAX_SHOWN_LABELS = 12


def refuse_test_overlap(fold: Fold, given: Mapping[str, EmbeddingsFile]) -> None:
    """Refuse embeddings whose own model has seen what the fold tests: scores on it would not be honest."""
    for file in given.values():
        for conversation, _ in uses_made_of(file.training_record, fold.test, fold.test_speaker):
            raise MoodlineError(
                f"a test set is unseen, and the model that made {file.path} has seen {conversation.id}, which "
                f"{fold.protocol}, fold {fold.name} tests: train that fold alone on embeddings of its own model"
            )


def note_words(corpus: Corpus) -> tuple[str, ...]:
    """What stands beside every score of a model of recognised words."""
    return (str(corpus.recognition),) if corpus.recognition else ()


def note_selection(recipe: Recipe) -> tuple[str, ...]:
    """What stands beside every score of a system that trains an encoder with the released selection."""
    idle = recipe.selection != "released" or not set(ENCODERS) & set(recipe.stages)
    return () if idle else (ReleasedSelection.NOTE,)


def list_labels(corpus: Corpus) -> list[str]:
    """The labels of a corpus as it spells them, the most frequent first."""
    return [label for label, _ in corpus.label_counts.most_common(MAX_SHOWN_LABELS)] or ["none"]


def build_provenance(
    recipe: Recipe, label_set: LabelSet, corpus: Corpus, fold: Fold, given: Mapping[str, EmbeddingsFile]
) -> Provenance:
    """What a fold's model is made from; what the models behind embeddings given have seen, it has seen too.

    Raises:
        MoodlineError: a class has no training utterance, or the released selection would train on the test set's
            conversations
    """
    if note_selection(recipe) and fold.validation_speaker is not None:
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
            f"corpus's are {', '.join(list_labels(corpus))}: choose another label set or protocol"
        )
    seen = [file.training_record for file in given.values()]
    validation_turns = fold.scored["validation"] if fold.validation_speaker is not None else ()
    return Provenance(
        protocol=fold.protocol,
        fold=fold.name,
        fold_hash=fold.hash,
        corpus_reader=corpus.reader,
        corpus_hash=corpus.table_hash,
        trained_on=merge_fingerprints([[one.fingerprint for one in fold.train], *(one.trained_on for one in seen)]),
        selected_on=merge_fingerprints(
            [[one.fingerprint for one in fold.validation], *(one.selected_on for one in seen)]
        ),
        selected_on_turns=merge_fingerprints(
            [[one.fingerprint for one in validation_turns], *(one.selected_on_turns for one in seen)]
        ),
        class_counts={name: counts[name] for name in label_set.classes},
        moodline_version=metadata.version("moodline"),
        torch_version=metadata.version("torch"),
        notes=merge_fingerprints(
            [fold.notes, note_selection(recipe), note_words(corpus), *(one.notes for one in seen)]
        ),
        words=corpus.words,
        embeddings={encoder: f"{file.path.name}, hash {file.hash}" for encoder, file in given.items()},
    )
