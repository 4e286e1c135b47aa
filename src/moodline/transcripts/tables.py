"""Tables of turns, or of words alone: CSV with a header, JSON lines, or a JSON list of objects."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError
from moodline.tabular import harmless, match_columns, original, parse_cells, parse_seconds
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
# Whisper's own table, .tsv, is in whole milliseconds. No turn of people's lasts as long as this many seconds.
WHISPERS_COLUMNS, NO_SECONDS = ["start", "end", "text"], 100

LocatedRow = tuple[str, Mapping[str, Any]]  # its place, and its cells by their columns' names in the file


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """Rows below the names of their columns; ``format`` is for people."""

    format: str
    names: Sequence[str]
    rows: Iterable[LocatedRow]

    @property
    def columns(self) -> dict[str, str]:
        """Those of ``COLUMN_ALIASES`` that are there, with the name that each has in the file."""
        return match_columns(self.names, COLUMN_ALIASES)

    @property
    def has_times(self) -> bool:
        return "start" in self.columns and not self.columns.keys().isdisjoint({"end", "duration"})


def find_header(text: str) -> tuple[str, list[str]]:
    """The delimiter by which most columns of the first row are known, and that row's cells by it.

    One column has none: commas in it are the words' own.
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
    """Whether the first row names two columns or more, or that of words."""
    columns = match_columns(find_header(text)[1], COLUMN_ALIASES)
    return len(columns) > 1 or "words" in columns


def parse_csv_table(text: str, origin: str) -> ParsedTable:
    delimiter, header = find_header(text)
    return ParsedTable(CSV, header, iter_csv_rows(text, delimiter, origin))


def parse_csv(text: str, origin: str) -> ParsedTranscript:
    delimiter, header = find_header(text)
    told = parse_table(parse_csv_table(text, origin), origin)
    if (
        delimiter == TAB
        and [name.strip().lower() for name in header] == WHISPERS_COLUMNS
        and uses_milliseconds(told.cues)
    ):
        cues = [Cue(place=cue.place, start=cue.start / 1000, end=cue.end / 1000, words=cue.words) for cue in told.cues]
        return ParsedTranscript(
            "TSV of Whisper", cues, [f"the times of {origin} are milliseconds, as Whisper writes them"]
        )
    return told


def uses_milliseconds(cues: Sequence[Cue]) -> bool:
    whole = all(time.is_integer() for cue in cues for time in (cue.start, cue.end))
    return bool(cues) and whole and median(cue.end - cue.start for cue in cues) >= NO_SECONDS


def iter_csv_rows(text: str, delimiter: str, origin: str) -> Iterator[LocatedRow]:
    """The rows below the header.

    Raises:
        MoodlineError: a row has more cells than there are columns
    """
    rows = parse_cells(text, delimiter, origin)
    _, header = next(rows)
    for number, cells in rows:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise MoodlineError(
                f"a row has no more cells than there are columns: {origin}:{number} has {len(cells)} for "
                f"{len(header)}; put words with {delimiter!r} in them into quotes"
            )
        yield f"{origin}:{number}", dict(zip(header, map(original, cells), strict=False))


def parse_json_lines_table(text: str, origin: str) -> ParsedTable:
    """Raises MoodlineError where a line is no object."""
    rows: list[LocatedRow] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise MoodlineError(
                    f"each line is one JSON object: {origin}:{number} is none ({error}); correct that line"
                ) from error
            rows.append((f"{origin}:{number}", content))
    return ParsedTable(JSON_LINES, collect_names(rows), rows)


def parse_json_list_table(content: Sequence[Any], origin: str) -> ParsedTable:
    rows = [(f"{origin}, item {number}", row) for number, row in enumerate(content, start=1)]
    return ParsedTable(JSON_LIST, collect_names(rows), rows)


def collect_names(rows: Sequence[tuple[str, Any]]) -> list[str]:
    """The names of all rows.

    Raises:
        MoodlineError: a row is no object
    """
    for place, row in rows:
        if not isinstance(row, dict):
            raise MoodlineError(f"a turn is a JSON object: {place} is a {type(row).__name__}; write an object a turn")
    return list(dict.fromkeys(name for _, row in rows for name in row))


def parse_table(found: ParsedTable, origin: str) -> ParsedTranscript:
    """The turns of a table's rows.

    Raises:
        MoodlineError: the columns tell no times, or a cell is no time, or none where one is needed
    """
    if not found.has_times:
        raise MoodlineError(
            f"a table of turns has the columns start and end (or duration), and speaker and text: {origin} has "
            f"{', '.join(map(repr, found.names)) or 'none'}; name its columns so, or, where it has words alone, give "
            "it in the recording's place"
        )
    return ParsedTranscript(found.format, [build_cue(row, found.columns, place) for place, row in found.rows])


def build_cue(row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Cue:
    start = get_time(row, columns["start"], place)
    if "end" in columns:
        end = get_time(row, columns["end"], place)
    else:
        end = round(start + get_time(row, columns["duration"], place), 6)  # not 0.30000000000000004 of 0.1 and 0.2
    words = get_text(row, columns.get("words"))
    return Cue(place=place, start=start, end=end, words=words, speaker=get_text(row, columns.get("speaker")) or "")


def get_time(row: Mapping[str, Any], name: str, place: str) -> float:
    seconds = parse_seconds(str(row.get(name)))
    if seconds is None:
        raise MoodlineError(
            f"{name} is a time, in seconds or HH:MM:SS.mmm: {place} has {row.get(name)!r}; correct that row"
        )
    return seconds


def get_text(row: Mapping[str, Any], name: str | None) -> str | None:
    """A cell's text; None where there is none."""
    value = None if name is None else row.get(name)
    return None if value is None else str(value)


def format_csv(turns: Sequence[Segment]) -> str:
    """Times in seconds to the millisecond; no column of words where no turn has any yet."""
    names = list(dict.fromkeys(name for turn in turns for name in build_record(turn))) or list(
        build_record(EXAMPLE_TURN)
    )
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: harmless(cell) for name, cell in build_record(turn).items()} for turn in turns)
    return file.getvalue()


def format_json_lines(turns: Sequence[Segment]) -> str:
    return "".join(json.dumps(build_record(turn), ensure_ascii=False) + "\n" for turn in turns)


def build_record(turn: Segment) -> dict[str, Any]:
    start, end = (time / 1000 for time in round_to_milliseconds(turn))
    words = {} if turn.words is None else {"text": turn.words}
    return {"start": start, "end": end, "speaker": turn.speaker, **words}


EXAMPLE_TURN = Segment(start=0, end=1, speaker=UNKNOWN, words="")
