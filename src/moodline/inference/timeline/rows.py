"""A timeline as a table of turns: columns for pyarrow and pandas, and CSV."""

import csv
import io
from typing import Any

import pyarrow as pa

from moodline.inference.timeline.timeline import Timeline, TimelineTurn


def table(timeline: Timeline) -> pa.Table:
    """A row a turn: start, end, speaker, channel, label, ``p_<class>`` for each class, words."""
    fields = [
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("speaker", pa.string()),
        ("channel", pa.int64()),
        ("label", pa.string()),
        *((f"p_{name}", pa.float64()) for name in timeline.classes),
        ("words", pa.string()),
    ]
    return pa.Table.from_pylist([_row(turn) for turn in timeline.turns], schema=pa.schema(fields))


def _row(turn: TimelineTurn) -> dict[str, Any]:
    return {
        "start": turn.start,
        "end": turn.end,
        "speaker": turn.speaker,
        "channel": turn.channel,
        "label": turn.label,
        **{f"p_{name}": value for name, value in turn.probabilities.items()},
        "words": turn.words,
    }


def to_csv(timeline: Timeline) -> str:
    """The same columns, then ``model`` and ``notices``: what must be known of the turns stays in each row."""
    written = io.StringIO()
    columns = [*table(timeline).column_names, "model", "notices"]
    writer = csv.DictWriter(written, columns)
    writer.writeheader()
    shared = {"model": timeline.model.name, "notices": "; ".join(timeline.notices)}
    writer.writerows(_row(turn) | shared for turn in timeline.turns)
    return written.getvalue()
