"""What a trained stage was made from, so that a changed recipe trains again just what depends on the change."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, ENCODERS, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE, Recipe
from moodline.conversation import LabelSet
from moodline.files import flatten
from moodline.labels import content_of

Origin = Mapping[str, Any]
"""Dotted keys and values, as JSON has them."""

# Keys of a recipe that every stage depends on: with another value of one of them nothing of a run could be kept.
COMMON = ("seed", "context", "class_weights")

# Keys that came after the first runs, and the value with which a stage is what it was before there was the key. With it
# they are no part of an origin: what was trained before stays finished.
LATER: Origin = {"fusion.modalities": "both", "fusion.modality_dropout": 0.0}

# What each stage after the encoders reads.
READS = {AUDIO_CONTEXT: (AUDIO_UTTERANCE,), TEXT_CONTEXT: (TEXT_UTTERANCE,), FUSION: (AUDIO_CONTEXT, TEXT_CONTEXT)}


def origins_of(
    recipe: Recipe,
    label_set: LabelSet,
    corpus_hash: str,
    training_hash: str,
    given: Mapping[str, str],
    bert_files: str,
    precision: str,
    recognised: str | None = None,
) -> dict[str, Origin]:
    """Stage by stage, everything that its weights are a function of; that of what it reads is in it by its hash.

    Args:
        corpus_hash: of the corpus's table, labels and recordings included
        training_hash: of the fold's training and validation sets (see Fold)
        given: hashes of the embeddings from files, by the encoder whose place they take
        bert_files: a hash of what BERT is loaded from
        precision: of the arithmetic, as Lightning calls it
        recognised: a hash of the recognised words that are read; None where they are the reference ones
    """
    found: dict[str, Origin] = {encoder: {"hash": hash} for encoder, hash in given.items()}
    for stage in recipe.stages:
        content = {
            **{key: getattr(recipe, key) for key in COMMON},
            "label_set": content_of(label_set),
            "corpus_hash": corpus_hash,
            "training_hash": training_hash,
            "precision": precision,
            stage: dataclasses.asdict(getattr(recipe, stage)),
            "reads": {source: hash_of(found[source]) for source in READS.get(stage, ())},
        }
        if stage in ENCODERS:
            content["selection"] = recipe.selection
        if stage == TEXT_UTTERANCE:
            content["bert_files"] = bert_files
            if recognised is not None:
                content["recognised_words"] = recognised
        told = flatten(json.loads(json.dumps(content)))
        found[stage] = {key: value for key, value in told.items() if key not in LATER or value != LATER[key]}
    return found


def hash_of(origin: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def change(before: Origin, now: Origin, names: Mapping[str, str]) -> str:
    """The first difference between two origins, in words; empty where there is none.

    Args:
        names: of the stages, for people
    """
    keys: Sequence[str] = [*now, *(key for key in before if key not in now)]
    for key in keys:
        was, now_is = (origin.get(key, LATER.get(key)) for origin in (before, now))
        if was != now_is:
            if key.startswith("reads."):
                return f"what it reads of {names[key.removeprefix('reads.')]} is new"
            return f"{key} was {was!r} and is {now_is!r}"
    return ""
