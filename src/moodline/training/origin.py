"""What a trained stage was made from, so that a changed recipe trains again just what depends on the change."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from moodline.config import Recipe
from moodline.conversation import LabelSet
from moodline.files import flatten
from moodline.labels import content_of

Origin = Mapping[str, Any]
"""Dotted keys and values, as JSON has them."""

# Keys of a recipe that every stage depends on: with another value of one of them nothing of a run could be kept.
COMMON = ("seed", "context", "class_weights")


def origin_of(
    stage: str, recipe: Recipe, label_set: LabelSet, fold_hash: str, read: Mapping[str, Origin]
) -> dict[str, Any]:
    """Everything that a stage's weights are a function of.

    Args:
        read: the origins of the stages whose embeddings it reads
    """
    content = {
        **{key: getattr(recipe, key) for key in COMMON},
        "label_set": content_of(label_set),
        "fold_hash": fold_hash,
        stage: dataclasses.asdict(getattr(recipe, stage)),
        "reads": {source: hash_of(origin) for source, origin in read.items()},
    }
    return flatten(json.loads(json.dumps(content)))


def hash_of(origin: Origin) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def change(before: Origin, now: Origin, names: Mapping[str, str]) -> str:
    """The first difference between two origins, in words; empty where there is none.

    Args:
        names: of the stages, for people
    """
    keys: Sequence[str] = [*now, *(key for key in before if key not in now)]
    for key in keys:
        if before.get(key) != now.get(key):
            if key.startswith("reads."):
                return f"what it reads of {names[key.removeprefix('reads.')]} is new"
            return f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
    return ""
