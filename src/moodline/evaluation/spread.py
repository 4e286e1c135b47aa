"""How scores differ between the people, or the sessions, that were scored."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    names = sorted(name for name in predictions[column].unique().to_pylist() if name is not None)
    return tuple(_group(name, predictions.filter(pc.field(column) == name), classes) for name in names)


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
