"""Tables of turns, or of words alone: CSV with a header, JSON lines, or a JSON list of objects."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError, format_count, format_quoted, quote
from moodline.tabular import escape_formula, match_columns, normalise_name, parse_cells, parse_seconds, restore_cell
from moodline.transcripts.transcript import ParsedTranscript, build_error, format_places

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
WHISPER_COLUMNS, MIN_MILLISECONDS = ["start", "end", "text"], 100

LocatedRow = tuple[str, Mapping[str, Any]]  # its place, and its cells by their columns' names in the file


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """Rows and the names of their columns; ``format`` is for people, ``delimiter`` empty for JSON."""

    format: str
    names: Sequence[str]
    rows: Sequence[LocatedRow]
    delimiter: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """Known columns, each with its name in the file."""
        return match_columns(self.names, COLUMN_ALIASES)

    @property
    def has_times(self) -> bool:
        return "start" in self.columns and not self.columns.keys().isdisjoint({"end", "duration"})


# Names, normalised as above and in several languages, of columns that are not read.
LIKELY_NAMES: Mapping[str, re.Pattern[str]] = {
    "speaker": re.compile(
        "who|person|name|participant|role|user|author|from|agent|caller|sprecher|sprecherin|rolle|locuteur"
        "|intervenant|hablante|orador|parlante|falante|spreker|talare|taler|puhuja|mówca|mluvčí|спикер|говорящий"
        "|話者|说话人"
    ),
    "start": re.compile(
        "from|time|timestamp|offset|in|beginn|anfang|von|zeit|début|debut|inicio|inizio|começo|początek|начало|開始"
    ),
    "end": re.compile("to|until|out|ende|bis|fin|fine|fim|koniec|конец|終了"),
    "words": re.compile(
        "content|body|line|said|satz|äußerung|aussage|texte|texto|testo|tekst|текст|phrase|frase|発話|文本"
    ),
}
LABEL_NAMES = frozenset(
    {"emotion", "mood", "label", "sentiment", "class", "gender", "sex", "topic", "split", "language"}
)
MAX_SPEAKER_LENGTH = 40  # letters


def note_unread_columns(table: ParsedTable) -> list[str]:
    """Write a sentence on the columns with content that are not read, each with what it may be."""
    read = set(table.columns.values())
    cells = {name: collect_cells(name, table) for name in dict.fromkeys(table.names) if name not in read}
    guesses = {name: guess_column(name, own, table) for name, own in cells.items() if own}
    if not guesses:
        return []
    shown = [f"{quote(name)} (perhaps {guess}: name it so)" for name, guess in guesses.items() if guess]
    shown += [quote(name) for name, guess in guesses.items() if not guess]
    return [f"{format_count(len(guesses), 'column')} not read: {format_places(shown)}"]


def collect_cells(name: str, table: ParsedTable) -> list[str]:
    """Collect the cells of a column that are not blank."""
    return [cell for _, row in table.rows if (cell := (get_text(row, name) or "").strip())]


def guess_column(name: str, cells: Sequence[str], table: ParsedTable) -> str | None:
    """Guess which column that a table lacks one of another name is, by its name or by values that recur."""
    missing = [
        one for one in LIKELY_NAMES if one not in table.columns and (one != "end" or "duration" not in table.columns)
    ]
    plain = normalise_name(name)
    for column in missing:
        if LIKELY_NAMES[column].fullmatch(plain):
            return column
    values = set(cells)
    recur = 2 <= len(values) <= len(cells) / 2 and max(map(len, values)) <= MAX_SPEAKER_LENGTH
    are_names = any(parse_seconds(value) is None for value in values) and plain not in LABEL_NAMES
    return "speaker" if "speaker" in missing and recur and are_names else None


def find_header(text: str) -> tuple[str, list[str]]:
    """Find the delimiter that gives the first row most known columns, and that row's cells.

    A single column has no delimiter: its commas belong to the words.
    """
    rows: dict[str, list[str]] = {delimiter: [] for delimiter in DELIMITERS}
    for delimiter in DELIMITERS:
        with suppress(MoodlineError):  # of quotes that do not fit this delimiter
            rows[delimiter] = next(parse_cells(text, delimiter, ""), (0, []))[1]
    best = max(rows, key=lambda delimiter: len(match_columns(rows[delimiter], COLUMN_ALIASES)))
    return (best, rows[best]) if len(rows[best]) > 1 else (TAB, rows[TAB])


def parse_csv_table(text: str, origin: str) -> ParsedTable:
    delimiter, header = find_header(text)
    return ParsedTable(CSV, header, list(iter_csv_rows(text, delimiter, origin)), delimiter)


def iter_csv_rows(text: str, delimiter: str, origin: str) -> Iterator[LocatedRow]:
    """Parse the rows below the header; refuse a row with more cells than the header."""
    rows = parse_cells(text, delimiter, origin)
    _, header = next(rows, (0, []))
    for number, cells in rows:
        if any(cell.strip() for cell in cells[len(header) :]):
            excess = f"{origin}:{number} has {len(cells)} cells for {len(header)} columns"
            sentence = f"{excess}. Put words that contain {delimiter!r} into quotes."
            raise MoodlineError(sentence, code="transcript.too_many_cells")
        yield f"{origin}:{number}", dict(zip(header, map(restore_cell, cells), strict=False))


def parse_json_lines(text: str, origin: str) -> ParsedTable:
    """Parse a JSON object from each line."""
    rows: list[tuple[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append((f"{origin}:{number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise build_error(
                    f"{origin}:{number}", f"malformed JSON ({error})", "an object", "transcript.invalid_json"
                ) from error
    return build_json_table(JSON_LINES, rows)


def build_json_table(format: str, rows: Sequence[tuple[str, Any]]) -> ParsedTable:
    """Build a table with the columns of all rows; refuse a row that is not an object."""
    for place, row in rows:
        if not isinstance(row, dict):
            raise build_error(place, f"a {type(row).__name__}", "an object for each turn", "transcript.invalid_json")
    return ParsedTable(format, list(dict.fromkeys(name for _, row in rows for name in row)), rows)


def parse_table(found: ParsedTable, origin: str) -> ParsedTranscript:
    """Parse each row as one turn; refuse a table without columns of times."""
    if not found.has_times:
        raise MoodlineError(
            f"{origin} has the columns {format_quoted(found.names) or '(none)'}, without start and end (or "
            "duration). Rename its columns, or, if it has only words, give it instead of a recording.",
            code="transcript.no_times",
        )
    columns = found.columns
    cues = [(place, build_turn(row, columns, place)) for place, row in found.rows]
    if found.delimiter == TAB and [name.strip().lower() for name in found.names] == WHISPER_COLUMNS:
        turns = [turn for _, turn in cues]
        whole = all(time.is_integer() for turn in turns for time in (turn.start, turn.end))
        if turns and whole and median(turn.end - turn.start for turn in turns) >= MIN_MILLISECONDS:
            cues = [(place, replace(turn, start=turn.start / 1000, end=turn.end / 1000)) for place, turn in cues]
            return ParsedTranscript("TSV of Whisper", cues, [f"the times of {origin} were read as milliseconds"])
    return ParsedTranscript(found.format, cues)


def build_turn(row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Segment:
    times: list[float] = []
    for name in (columns["start"], columns["end" if "end" in columns else "duration"]):
        seconds = parse_seconds(str(row.get(name)))
        if seconds is None:
            found = f"{quote(row.get(name))} as {name}"
            raise build_error(place, found, "seconds or HH:MM:SS.mmm", "transcript.invalid_time")
        times.append(seconds)
    start, end = times
    if "end" not in columns:
        end = round(start + end, 6)  # not 0.30000000000000004 of 0.1 and 0.2
    speaker, words = (get_text(row, columns.get(name)) for name in ("speaker", "words"))
    return Segment(start=start, end=end, words=words, speaker=speaker or UNKNOWN)


def get_text(row: Mapping[str, Any], name: str | None) -> str | None:
    """Get a cell's text; None if the row or the table lacks it."""
    value = None if name is None else row.get(name)
    return None if value is None else str(value)


def format_csv(turns: Sequence[Segment]) -> str:
    """Format turns; without a column of words if no turn has any."""
    records = [build_record(turn) for turn in turns]
    file = io.StringIO(newline="")
    names = max(records, key=len, default=("start", "end", "speaker", "text"))
    writer = csv.DictWriter(file, [*names], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape_formula(cell) for name, cell in record.items()} for record in records)
    return file.getvalue()


def format_json_lines(turns: Sequence[Segment]) -> str:
    return "".join(json.dumps(build_record(turn), ensure_ascii=False) + "\n" for turn in turns)


def build_record(turn: Segment) -> dict[str, Any]:
    words = {} if turn.words is None else {"text": turn.words}
    return {"start": turn.start, "end": turn.end, "speaker": turn.speaker, **words}
