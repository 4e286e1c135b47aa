"""A timeline as files: SRT, CSV, TextGrid, JSON and HTML, by format name and file ending."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from praatio.utilities.textgrid_io import getTextgridAsStr

from moodline.errors import MoodlineError
from moodline.tabular import escape_formula
from moodline.timeline.timeline import TimelineContent, TimelineTurn, round_to_milliseconds

if TYPE_CHECKING:
    import pyarrow as pa


NOTICE_SECONDS = 4.0


def to_srt(timeline: TimelineContent) -> str:
    """A cue a turn, in the order of their begins; overlapping ones are kept as they are.

    SRT has no comments: what stands above every output is a cue at the recording's begin.

    Raises:
        MoodlineError: the turns have no times
    """
    refuse_without_times(timeline, "SRT")
    turns = sorted(round_to_milliseconds(timeline).turns, key=lambda turn: turn.start or 0.0)
    cues = [(turn.start or 0.0, turn.end or 0.0, _format_turn(turn)) for turn in turns]
    if timeline.notices:
        cues.insert(0, (0.0, NOTICE_SECONDS, escape_line(f"[{timeline.model.name}] {'; '.join(timeline.notices)}")))
    return "\n".join(_format_cue(number, *cue) for number, cue in enumerate(cues, start=1))


def refuse_without_times(timeline: TimelineContent, what: str) -> None:
    if not timeline.timed:
        raise MoodlineError(
            f"{what} needs the turns' times, and {timeline.recording} has words alone: write JSON, CSV or HTML"
        )


def format_probability(value: float) -> str:
    """Two digits without the zero before them: ``.82``, ``1.0``."""
    return "1.0" if value >= 0.995 else f"{value:.2f}"[1:]


def escape_line(text: str) -> str:
    """A blank line would end a cue, and the format's arrow is no word."""
    return " ".join(text.split()).replace("-->", "->")


def _format_turn(turn: TimelineTurn) -> str:
    return escape_line(f"[{turn.label} {format_probability(turn.probability)}] {turn.speaker}: {turn.words or ''}")


def _format_cue(number: int, start: float, end: float, text: str) -> str:
    return f"{number}\n{_format_time(start)} --> {_format_time(end)}\n{text}\n"


def _format_time(time: float) -> str:
    seconds, milliseconds = divmod(round(time * 1000), 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d},{milliseconds:03d}"


def build_table(timeline: TimelineContent) -> "pa.Table":
    """A row a turn: start, end, speaker, channel, label, ``p_<class>`` for each class, words."""
    import pyarrow as pa

    number, text = pa.float64(), pa.string()
    kinds = {
        **{"start": number, "end": number, "speaker": text, "channel": pa.int64(), "label": text},
        **{f"p_{name}": number for name in timeline.classes},
        "words": text,
    }
    return pa.Table.from_pylist(_build_rows(timeline), schema=pa.schema(list(kinds.items())))


def _build_rows(timeline: TimelineContent) -> list[dict[str, Any]]:
    return [_build_row(turn) for turn in round_to_milliseconds(timeline).turns]


def _build_row(turn: TimelineTurn) -> dict[str, Any]:
    return {
        "start": turn.start,
        "end": turn.end,
        "speaker": turn.speaker,
        "channel": turn.channel,
        "label": turn.label,
        **{f"p_{name}": value for name, value in turn.probabilities.items()},
        "words": turn.words,
    }


def to_csv(timeline: TimelineContent) -> str:
    """``recording``, the same columns, ``model`` and ``notices``: each row tells what must be known of it."""
    written = io.StringIO()
    classes = [f"p_{name}" for name in timeline.classes]
    columns = ["recording", "start", "end", "speaker", "channel", "label", *classes, "words", "model", "notices"]
    writer = csv.writer(written)
    writer.writerow(map(escape_formula, columns))
    shared = {"recording": timeline.recording, "model": timeline.model.name, "notices": "; ".join(timeline.notices)}
    rows = (row | shared for row in _build_rows(timeline))
    writer.writerows([escape_formula(row[column]) for column in columns] for row in rows)
    return written.getvalue()


TierEntry = tuple[float, float, str]


def to_textgrid(timeline: TimelineContent) -> str:
    """In the long text format. A tier holds one interval at a time: a speaker's overlapping turns go to further tiers.

    What stands above every output is the first tier's only interval.

    Raises:
        MoodlineError: the turns have no times
    """
    refuse_without_times(timeline, "a TextGrid")
    timeline = round_to_milliseconds(timeline)  # readers of TextGrids do not know the exponents of smaller numbers
    end = max([timeline.duration or 0.0, *(_round_span(turn)[1] for turn in timeline.turns)])
    tiers: dict[str, list[TierEntry]] = {}
    if timeline.notices:
        tiers["notices"] = [(0.0, end, escape_line(f"{timeline.model.name}: {'; '.join(timeline.notices)}"))]
    by_speaker: dict[str, list[TimelineTurn]] = {}
    for turn in timeline.turns:
        by_speaker.setdefault(turn.speaker, []).append(turn)
    for speaker, own in by_speaker.items():
        for turns in split_overlaps(own):
            tiers[_find_unused(f"emotion: {speaker}", tiers)] = [_build_entry(turn, turn.label) for turn in turns]
            tiers[_find_unused(f"words: {speaker}", tiers)] = [_build_entry(turn, turn.words or "") for turn in turns]
    content = {
        "xmin": 0.0,
        "xmax": end,
        "tiers": [
            {"class": "IntervalTier", "name": escape_line(name), "xmin": 0.0, "xmax": end, "entries": entries}
            for name, entries in (tiers or {"emotion": []}).items()
        ],
    }
    return getTextgridAsStr(content, "long_textgrid", includeBlankSpaces=True, minimumIntervalLength=0.0)


def split_overlaps(turns: Sequence[TimelineTurn]) -> list[list[TimelineTurn]]:
    """The turns in as few rows as hold them, each row's turns one after the other."""
    rows: list[list[TimelineTurn]] = []
    for turn in sorted(turns, key=_round_span):
        begin, _ = _round_span(turn)
        free = next((row for row in rows if _round_span(row[-1])[1] <= begin), None)
        if free is None:
            rows.append([turn])
        else:
            free.append(turn)
    return rows


def _round_span(turn: TimelineTurn) -> tuple[float, float]:
    return turn.start or 0.0, turn.end or 0.0


def _build_entry(turn: TimelineTurn, text: str) -> TierEntry:
    return (*_round_span(turn), escape_line(text))


def _find_unused(name: str, taken: dict[str, list[TierEntry]]) -> str:
    return next(one for one in _iter_numbered(name) if one not in taken)


def _iter_numbered(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name} ({number})"
