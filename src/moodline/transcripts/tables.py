"""Tables of turns, or of words alone: CSV with a header, JSON lines, or a JSON list of objects."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError
from moodline.tabular import escape_formula, match_columns, parse_cells, parse_seconds, restore_cell
from moodline.transcripts.subtitles import round_to_milliseconds
from moodline.transcripts.transcript import Cue, ParsedTranscript

CSV, JSON_LINES, JSON_LIST = "CSV", "JSON lines", "a JSON list"
TAB = "\t"
DELIMITERS = (",", ";", TAB, "|")
# Column -> names, without capitals and without anything but letters and digits; an earlier one is preferred.
COLUMN_ALIASES: Mapping[str, tuple[str, ...]] = {
    "start": ("start", "starttime", "begin", "onset"),
    "end": ("end", "endtime", "stop"),
    "duration": ("duration",),
    "speaker": ("speaker", "speakerid", "speakername", "actor", "sender"),
    "words": ("words", "text", "transcript", "transcription", "sentence", "utterance", "message"),
    "conversation": ("conversation", "conversationid", "dialogue", "dialogueid", "dialog", "dialogid"),
}
# Whisper's .tsv has whole milliseconds. People's turns are shorter than this many seconds.
WHISPERS_COLUMNS, NO_SECONDS = ["start", "end", "text"], 100

LocatedRow = tuple[str, Mapping[str, Any]]  # its place, and its cells by their columns' names in the file


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """Hold rows and the names of their columns; ``format`` is for people."""

    format: str
    names: Sequence[str]
    rows: Iterable[LocatedRow]

    @property
    def columns(self) -> dict[str, str]:
        """Known columns, each with its name in the file."""
        return match_columns(self.names, COLUMN_ALIASES)

    @property
    def has_times(self) -> bool:
        return "start" in self.columns and not self.columns.keys().isdisjoint({"end", "duration"})


def find_header(text: str) -> tuple[str, list[str]]:
    """Find the delimiter that gives the first row most known columns, and that row's cells.

    A single column has no delimiter: its commas belong to the words.
    """
    found = max(
        ((one, parse_first_row(text, one)) for one in DELIMITERS),
        key=lambda found: len(match_columns(found[1], COLUMN_ALIASES)),
    )
    return found if len(found[1]) > 1 else (TAB, parse_first_row(text, TAB))


def parse_first_row(text: str, delimiter: str) -> list[str]:
    try:
        return next(parse_cells(text, delimiter, ""), (0, []))[1]
    except MoodlineError:
        return []


def is_table(text: str) -> bool:
    """Check whether the first row names at least two known columns, or the column of words."""
    columns = match_columns(find_header(text)[1], COLUMN_ALIASES)
    return len(columns) > 1 or "words" in columns


def parse_csv_table(text: str, origin: str) -> ParsedTable:
    delimiter, header = find_header(text)
    return ParsedTable(CSV, header, iter_csv_rows(text, delimiter, origin))


def parse_csv(text: str, origin: str) -> ParsedTranscript:
    delimiter, header = find_header(text)
    parsed = parse_table(parse_csv_table(text, origin), origin)
    if (
        delimiter == TAB
        and [name.strip().lower() for name in header] == WHISPERS_COLUMNS
        and uses_milliseconds([cue.segment for cue in parsed.cues])
    ):
        cues = [Cue(place, replace(turn, start=turn.start / 1000, end=turn.end / 1000)) for place, turn in parsed.cues]
        return ParsedTranscript("TSV of Whisper", cues, [f"the times of {origin} were read as milliseconds"])
    return parsed


def uses_milliseconds(turns: Sequence[Segment]) -> bool:
    """Check whether the times are whole numbers, and too large for seconds."""
    whole = all(time.is_integer() for turn in turns for time in (turn.start, turn.end))
    return bool(turns) and whole and median(turn.end - turn.start for turn in turns) >= NO_SECONDS


def iter_csv_rows(text: str, delimiter: str, origin: str) -> Iterator[LocatedRow]:
    """Parse the rows below the header.

    Raises:
        MoodlineError: a row has more cells than the header
    """
    rows = parse_cells(text, delimiter, origin)
    _, header = next(rows)
    for number, cells in rows:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise MoodlineError(
                f"{origin}:{number} has {len(cells)} cells for {len(header)} columns. Put words that contain "
                f"{delimiter!r} into quotes.",
                code="transcript.too_many_cells",
            )
        yield f"{origin}:{number}", dict(zip(header, map(restore_cell, cells), strict=False))


def parse_json_lines_table(text: str, origin: str) -> ParsedTable:
    """Parse a JSON object from each line.

    Raises:
        MoodlineError: a line is not a JSON object
    """
    rows: list[LocatedRow] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise MoodlineError(
                    f"{origin}:{number} is not a JSON object ({error}). Correct that line.",
                    code="transcript.invalid_json",
                ) from error
            rows.append((f"{origin}:{number}", content))
    return ParsedTable(JSON_LINES, collect_names(rows), rows)


def parse_json_list_table(content: Sequence[Any], origin: str) -> ParsedTable:
    rows = [(f"{origin}, item {number}", row) for number, row in enumerate(content, start=1)]
    return ParsedTable(JSON_LIST, collect_names(rows), rows)


def collect_names(rows: Sequence[tuple[str, Any]]) -> list[str]:
    """Collect the column names of all rows.

    Raises:
        MoodlineError: a row is not an object
    """
    for place, row in rows:
        if not isinstance(row, dict):
            raise MoodlineError(
                f"{place} is a {type(row).__name__}, expected an object for each turn. Correct it.",
                code="transcript.invalid_json",
            )
    return list(dict.fromkeys(name for _, row in rows for name in row))


def parse_table(found: ParsedTable, origin: str) -> ParsedTranscript:
    """Parse each row as one turn.

    Raises:
        MoodlineError: the table has no columns of times, or a cell is not a time
    """
    if not found.has_times:
        raise MoodlineError(
            f"{origin} has the columns {', '.join(map(repr, found.names)) or '(none)'}, without start and end (or "
            "duration). Rename its columns, or, if it has only words, give it instead of a recording.",
            code="transcript.no_times",
        )
    return ParsedTranscript(found.format, [build_cue(row, found.columns, place) for place, row in found.rows])


def build_cue(row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Cue:
    start = get_time(row, columns["start"], place)
    if "end" in columns:
        end = get_time(row, columns["end"], place)
    else:
        end = round(start + get_time(row, columns["duration"], place), 6)  # not 0.30000000000000004 of 0.1 and 0.2
    speaker, words = (get_text(row, columns.get(name)) for name in ("speaker", "words"))
    return Cue(place, Segment(start=start, end=end, words=words, speaker=speaker or UNKNOWN))


def get_time(row: Mapping[str, Any], name: str, place: str) -> float:
    seconds = parse_seconds(str(row.get(name)))
    if seconds is None:
        raise MoodlineError(
            f"{place} has {row.get(name)!r} as {name}, expected seconds or HH:MM:SS.mmm. Correct that row.",
            code="transcript.invalid_time",
        )
    return seconds


def get_text(row: Mapping[str, Any], name: str | None) -> str | None:
    """Get a cell's text; None if the row or the table lacks it."""
    value = None if name is None else row.get(name)
    return None if value is None else str(value)


def format_csv(turns: Sequence[Segment]) -> str:
    """Format turns, times in seconds to the millisecond; without a column of words if no turn has any."""
    names = list(dict.fromkeys(name for turn in turns for name in build_record(turn))) or list(
        build_record(EXAMPLE_TURN)
    )
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape_formula(cell) for name, cell in build_record(turn).items()} for turn in turns)
    return file.getvalue()


def format_json_lines(turns: Sequence[Segment]) -> str:
    return "".join(json.dumps(build_record(turn), ensure_ascii=False) + "\n" for turn in turns)


def build_record(turn: Segment) -> dict[str, Any]:
    start, end = (time / 1000 for time in round_to_milliseconds(turn))
    words = {} if turn.words is None else {"text": turn.words}
    return {"start": start, "end": end, "speaker": turn.speaker, **words}


EXAMPLE_TURN = Segment(start=0, end=1, speaker=UNKNOWN, words="")
