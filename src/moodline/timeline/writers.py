"""A timeline as JSON and back, as SRT, CSV and TextGrid, and as a table. docs/timeline.md describes the formats."""

import csv
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import chain, count
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from moodline.conversation import Segment
from moodline.errors import MoodlineError, quote
from moodline.tabular import escape_formula
from moodline.timeline.timeline import Content, TimelineContent, TimelineTurn, round_to_milliseconds
from moodline.transcripts.subtitles import format_srt
from moodline.transcripts.textgrid import format_tiers, split_overlaps

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = 1
KINDS = {str: "a text", float: "a number", int: "a whole number", tuple: "a list"}
NOTICE_SECONDS = 4.0


def to_json(timeline: TimelineContent) -> str:
    """Format all of it, times in milliseconds and other numbers as they are; ``from_json`` reads it."""
    content = {"schema": SCHEMA, **_convert_to_dict(round_to_milliseconds(timeline))}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_convert_to_dict) + "\n"


def _convert_to_dict(one: Any) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one)} if is_dataclass(one) else dict(one)


def from_json(text: str, kind: type[Content]) -> Content:
    """Read a timeline of a kind; refuse another text, a newer schema, and a missing or invalid value."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        sentence = f"the timeline is not valid JSON: {error}. Write it again."
        raise MoodlineError(sentence, code="timeline.bad_json") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is not int:
        sentence = f"the JSON {quote(text)} is not a timeline, which has a schema (a whole number). Check the file."
        raise MoodlineError(sentence, code="timeline.no_schema")
    if schema > SCHEMA:
        sentence = f"the timeline has schema {schema}; this moodline reads up to {SCHEMA}. Install a newer moodline."
        raise MoodlineError(sentence, code="timeline.newer_schema")
    return _parse_value(content, kind, "timeline")


def _parse_value(value: Any, kind: Any, place: str) -> Any:
    """Parse a value of JSON as a type hint; a dataclass is an object that has all its fields."""
    inner = get_args(kind)
    if NoneType in inner:
        return None if value is None else _parse_value(value, inner[0], place)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        if missing := hints.keys() - value.keys():
            sentence = f"the {place} lacks {', '.join(sorted(missing))}. Write the timeline again."
            raise MoodlineError(sentence, code="timeline.missing_key")
        return kind(**{name: _parse_value(value[name], hint, f"{place}.{name}") for name, hint in hints.items()})
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_parse_value(one, inner[0], f"{place}[{position}]") for position, one in enumerate(value))
    if get_origin(kind) is Mapping and isinstance(value, dict):
        return {name: _parse_value(one, inner[1], f"{place}.{name}") for name, one in value.items()}
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind in (str, int) and type(value) is kind:
        return value
    expected = KINDS.get(get_origin(kind) or kind, "an object")
    sentence = f"the {place} is {quote(value)}, expected {expected}. Write the timeline again."
    raise MoodlineError(sentence, code="timeline.bad_value")


def build_table(timeline: TimelineContent) -> "pa.Table":
    """Build a row per turn: start, end, speaker, channel, label, ``p_<class>`` for each class, words."""
    import pyarrow as pa

    columns = _list_columns(timeline)
    rows = [dict(zip(columns, row, strict=True)) for row in _build_rows(timeline)]
    return pa.Table.from_pylist(rows, schema=pa.schema([*columns.items()]))


def _list_columns(timeline: TimelineContent) -> dict[str, str]:
    """List the columns of a row per turn, each with its Arrow type."""
    return {
        **{"start": "float64", "end": "float64", "speaker": "string", "channel": "int64", "label": "string"},
        **{f"p_{name}": "float64" for name in timeline.classes},
        "words": "string",
    }


def _build_rows(timeline: TimelineContent) -> list[list[Any]]:
    return [
        [turn.start, turn.end, turn.speaker, turn.channel, turn.label, *turn.probabilities.values(), turn.words]
        for turn in round_to_milliseconds(timeline).turns
    ]


def to_csv(timeline: TimelineContent) -> str:
    """Format ``recording``, the columns of ``build_table``, ``model`` and ``notices``, the same notices in each row."""
    columns = ["recording", *_list_columns(timeline), "model", "notices"]
    facts = [timeline.model.name, "; ".join(timeline.notices)]
    rows = [columns, *([timeline.recording, *row, *facts] for row in _build_rows(timeline))]
    file = io.StringIO()
    csv.writer(file).writerows([escape_formula(cell) for cell in row] for row in rows)
    return file.getvalue()


def to_srt(timeline: TimelineContent) -> str:
    """Format a cue per turn, in the order of their starts; notices are a cue before them, as SRT has no comments."""
    timeline = _round_timed(timeline, "SRT")
    cues: list[Segment] = []
    for turn in sorted(timeline.turns, key=lambda turn: turn.start or 0.0):
        label = f"[{turn.label} {format_probability(turn.probability)}]"
        cues.append(_build_segment(turn, f"{label} {turn.speaker}: {turn.words or ''}"))
    if timeline.notices:
        text = escape_line(f"[{timeline.model.name}] {'; '.join(timeline.notices)}")
        cues.insert(0, Segment(start=0.0, end=NOTICE_SECONDS, words=text))
    return format_srt(cues)


def to_textgrid(timeline: TimelineContent) -> str:
    """Format a tier of notices, then of emotions and of words per speaker; overlaps go to further tiers."""
    timeline = _round_timed(timeline, "a TextGrid")  # its readers do not know the exponents of smaller numbers
    end = max([timeline.duration or 0.0, *(turn.end or 0.0 for turn in timeline.turns)])
    tiers: dict[str, list[Segment]] = {}
    if timeline.notices:
        text = escape_line(f"{timeline.model.name}: {'; '.join(timeline.notices)}")
        tiers["notices"] = [Segment(start=0.0, end=end, words=text)]
    by_speaker: dict[str, list[TimelineTurn]] = {speaker: [] for speaker in timeline.speakers}
    for turn in sorted(timeline.turns, key=lambda turn: (turn.start or 0.0, turn.end or 0.0)):
        by_speaker[turn.speaker].append(turn)
    for speaker, turns in by_speaker.items():
        emotions = split_overlaps(_build_segment(turn, turn.label) for turn in turns)
        words = split_overlaps(_build_segment(turn, turn.words or "") for turn in turns)
        for emotion_row, word_row in zip(emotions, words, strict=True):
            tiers[_find_unused(f"emotion: {speaker}", tiers)] = emotion_row
            tiers[_find_unused(f"words: {speaker}", tiers)] = word_row
    named = (tiers or {"emotion": []}).items()
    return format_tiers([(escape_line(name), row) for name, row in named], end)


def _find_unused(name: str, taken: Mapping[str, object]) -> str:
    return next(one for one in chain([name], (f"{name} ({number})" for number in count(2))) if one not in taken)


def _round_timed(timeline: TimelineContent, what: str) -> TimelineContent:
    if not timeline.timed:
        sentence = f"{what} needs times, and {timeline.recording} has none. Choose JSON, CSV or HTML."
        raise MoodlineError(sentence, code="timeline.no_times")
    return round_to_milliseconds(timeline)


def format_probability(value: float) -> str:
    """Format two digits without the zero before them: ``.82``, ``1.0``."""
    return "1.0" if value >= 0.995 else f"{value:.2f}"[1:]


def escape_line(text: str) -> str:
    """Put text on one line, as a blank line would end a cue, and replace SRT's arrow."""
    return " ".join(text.split()).replace("-->", "->")


def _build_segment(turn: TimelineTurn, text: str) -> Segment:
    return Segment(start=turn.start or 0.0, end=turn.end or 0.0, words=escape_line(text))
