"""A timeline as a table of turns: columns for pyarrow and pandas, and CSV."""

import csv
import io
from typing import TYPE_CHECKING, Any

from moodline.inference.timeline.timeline import Timeline, TimelineTurn
from moodline.inference.timeline.times import in_milliseconds

if TYPE_CHECKING:
    import pyarrow as pa


def table(timeline: Timeline) -> "pa.Table":
    """A row a turn: start, end, speaker, channel, label, ``p_<class>`` for each class, words."""
    import pyarrow as pa

    number, text = pa.float64(), pa.string()
    kinds = {
        **{"start": number, "end": number, "speaker": text, "channel": pa.int64(), "label": text},
        **{f"p_{name}": number for name in timeline.classes},
        "words": text,
    }
    return pa.Table.from_pylist(_rows(timeline), schema=pa.schema(list(kinds.items())))


def _rows(timeline: Timeline) -> list[dict[str, Any]]:
    return [_row(turn) for turn in in_milliseconds(timeline).turns]


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
    """``recording``, the same columns, ``model`` and ``notices``: each row tells what must be known of it."""
    written = io.StringIO()
    classes = [f"p_{name}" for name in timeline.classes]
    columns = ["recording", "start", "end", "speaker", "channel", "label", *classes, "words", "model", "notices"]
    writer = csv.DictWriter(written, columns)
    writer.writeheader()
    shared = {"recording": timeline.recording, "model": timeline.model.name, "notices": "; ".join(timeline.notices)}
    writer.writerows(row | shared for row in _rows(timeline))
    return written.getvalue()
