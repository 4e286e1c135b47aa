"""How scores differ between the people, or the sessions, that were scored."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from moodline.metrics import confusion, unweighted_accuracy, weighted_accuracy


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The utterances that share a speaker or a session, and how many of them are right."""

    name: str
    utterances: int
    conversations: int
    wa: float
    ua: float  # over the classes that occur in the group


def groups_by(column: str, predictions: pa.Table, classes: Sequence[str]) -> tuple[Group, ...]:
    """One stage's predictions by ``column``, in the order of its values; rows without one belong to no group."""
    known = predictions.filter(pc.field(column).is_valid()).sort_by(column)
    sizes = Counter(known[column].to_pylist())  # in the order of its values, as these are sorted
    starts = accumulate(sizes.values(), initial=0)
    return tuple(
        _group(name, known.slice(start, size), classes)
        for (name, size), start in zip(sizes.items(), starts, strict=False)
    )


def _group(name: str, rows: pa.Table, classes: Sequence[str]) -> Group:
    matrix = confusion(rows["label"].to_pylist(), rows["predicted"].to_pylist(), classes)
    return Group(
        name=name,
        utterances=rows.num_rows,
        conversations=len(rows["conversation_id"].unique()),
        wa=float(weighted_accuracy(matrix)),
        ua=float(unweighted_accuracy(matrix)),
    )


def largest(groups: Sequence[Group], most: int) -> tuple[Group, ...]:
    """The groups with the most utterances, at most so many, in the order that they came in."""
    chosen = sorted(groups, key=lambda group: -group.utterances)[:most]
    return tuple(group for group in groups if group in chosen)
