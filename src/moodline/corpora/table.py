"""Read any table of utterances: CSV, JSON lines or Parquet, with words, audio files or both."""

import difflib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.audio import io
from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.corpora.corpus import Corpus, build_corpus
from moodline.corpora.validation import (
    EMPTY_CONVERSATION,
    FaultCollector,
    ParsedUtterance,
    check_utterance,
    clean_words,
    sort_utterances,
    summarise_faults,
)
from moodline.errors import MoodlineError, format_count, join_lines
from moodline.tabular import match_columns, normalise_name, parse_cells, parse_seconds, read_text, restore_cell

# Column -> names in lower case, letters and digits only; an earlier name is preferred.
COLUMN_ALIASES: Mapping[str, tuple[str, ...]] = {
    "words": ("words", "text", "transcript", "transcription", "sentence"),
    "audio": ("audio", "audiofile", "audiopath", "file", "filename", "filepath", "path", "wav"),
    "label": ("label", "emotion"),
    "conversation": ("conversation", "conversationid", "dialogue", "dialogueid", "dialog", "dialogid"),
    "utterance": ("utteranceid", "id", "turn", "turnid", "utterance"),
    "speaker": ("speaker", "speakerid", "actor"),
    "start": ("start", "starttime", "begin", "onset"),
    "end": ("end", "endtime", "stop"),
    "offset": ("offset", "audiooffset"),
    "duration": ("duration", "audioduration"),
    "session": ("session", "sessionid"),
    "part": ("part",),
    "split": ("split", "set", "partition", "subset"),
}
MIN_SIMILARITY = 0.7  # of difflib's ratio: emotoin and emotion_label are emotion
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


def recognise_columns(found: Iterable[str]) -> dict[str, str]:
    """Map columns to their names in a table.

    ``utterance`` is the words where no other column is, as in MELD's tables; else it is the id.
    """
    found = list(found)
    columns = match_columns(found, COLUMN_ALIASES)
    spoken = match_columns(found, {"words": ("utterance",)})
    if "words" not in columns and spoken:
        columns |= spoken
        if columns["utterance"] == spoken["words"]:
            del columns["utterance"]
    return columns


def suggest_column(column: str, ignored: Iterable[str]) -> tuple[str, str] | None:
    """Find the first ignored name that looks like a misspelt name of a column, and that name; None without one."""
    for name in ignored:
        if close := difflib.get_close_matches(normalise_name(name), COLUMN_ALIASES[column], n=1, cutoff=MIN_SIMILARITY):
            return name, close[0]
    return None


def format_cell(value: Any) -> str:
    """Format a cell as text: None and NaN as empty, whole numbers without decimals.

    Raises:
        MoodlineError: the cell is a list, an object or bytes, or a text with a lone surrogate
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if not isinstance(value, str | int | float):
        raise MoodlineError(
            f"a cell is a {type(value).__name__}: it must be a text or a number", code="corpus.invalid_cell"
        )
    text = str(value).strip()
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise MoodlineError(f"the text {text!a} contains half a character", code="corpus.invalid_cell")
    return text


def parse_time(cells: Mapping[str, str], column: str) -> float | None:
    """Parse a cell's time in seconds; None where it is empty.

    Raises:
        MoodlineError: the cell is not a time
    """
    text = cells.get(column, "")
    if not text:
        return None
    seconds = parse_seconds(text)
    if seconds is None or not 0 <= seconds < math.inf:
        raise MoodlineError(
            f"{column} must be a time in seconds or HH:MM:SS.mmm, not negative, and is {text!r}",
            code="corpus.invalid_time",
        )
    return seconds


def parse_split(cells: Mapping[str, str]) -> str | None:
    """Parse the name of a published set.

    Raises:
        MoodlineError: the name is unknown
    """
    text = cells.get("split", "")
    if text and text.lower() not in SPLIT_NAMES:
        raise MoodlineError(f"split must be train, validation or test, not {text!r}", code="corpus.invalid_split")
    return SPLIT_NAMES[text.lower()] if text else None


DELIMITERS = (",", ";", "\t")

LocatedRecord = tuple[str, Mapping[str, Any]]  # file and line, and the cells by their columns' names in the table


def read_delimited(path: Path, faults: FaultCollector) -> tuple[list[str], list[LocatedRecord]]:
    """Read CSV with the delimiter that gives the first row the most known columns."""
    text = read_text(path)
    delimiter = max(DELIMITERS, key=lambda one: count_known_columns(text, one))
    lines = parse_cells(text, delimiter, str(path))
    _, header = next(lines, (0, []))
    records: list[LocatedRecord] = []
    for number, cells in lines:
        where = f"{path}:{number}"
        if any(cell.strip() for cell in cells[len(header) :]):
            faults.add(
                where,
                f"{where} has {len(cells)} cells for {len(header)} columns: put words that contain a delimiter into "
                "quotes",
            )
        else:
            pairs = list(zip(header, map(restore_cell, cells), strict=False))
            records.append((where, dict(reversed(pairs))))  # the first of two columns with one name
    return list(dict.fromkeys(header)), records


def count_known_columns(text: str, delimiter: str) -> tuple[int, int]:
    """Count the columns that a delimiter gives: the known ones, and all."""
    try:
        _, header = next(parse_cells(text, delimiter, ""), (0, []))
    except MoodlineError:
        return 0, 0
    return len(recognise_columns(header)), len(header)


def read_json_lines(path: Path, faults: FaultCollector) -> tuple[list[str], list[LocatedRecord]]:
    records: list[LocatedRecord] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.add(where, f"{where} is not a JSON object ({error}): correct that line")
            continue
        if isinstance(content, dict):
            records.append((where, content))
        else:
            faults.add(where, f"{where} is a {type(content).__name__}, not a JSON object: correct that line")
    return list(dict.fromkeys(name for _, content in records for name in content)), records


def read_parquet(path: Path, faults: FaultCollector) -> tuple[list[str], list[LocatedRecord]]:
    try:
        table = pq.read_table(path)
        columns = {name: table[name].to_pylist() for name in table.column_names}
    except (OSError, ValueError, KeyError, OverflowError, pa.ArrowException) as error:
        raise MoodlineError(
            f"{path} cannot be read as Parquet: {join_lines(error)}; write it again", code="file.unreadable"
        ) from error
    rows = zip(*columns.values(), strict=True)
    return list(columns), [
        (f"{path}, row {number}", dict(zip(columns, values, strict=True)))
        for number, values in enumerate(rows, start=1)
    ]


FORMATS: Mapping[str, Callable[[Path, FaultCollector], tuple[list[str], list[LocatedRecord]]]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), read_json_lines),
    ".parquet": read_parquet,
}


END_TOLERANCE = 0.05  # seconds by which a turn may exceed its recording, as tables round times

MAX_SHOWN_COLUMNS = 12
EMPTY_ROW = "a row without words and audio"
DEFAULT_NOTES = {
    "conversation": "no column conversation: each row is one conversation",
    "speaker": "no column speaker: each conversation has one speaker",
    "label": "no column label: no utterance can be trained on or scored",
}


class SourceRow(NamedTuple):
    """One utterance's cells by column, and its file and line."""

    where: str
    number: int
    cells: Mapping[str, str]

    @property
    def conversation(self) -> str:
        return self.cells["conversation"]


def read(source: Path) -> Corpus:
    """Read a table and the recordings that it names.

    Raises:
        MoodlineError: ``source`` is not a table, has neither words nor audio, or has no usable row
    """
    if not source.is_file():
        raise MoodlineError(f"there is no table {source}: check the path", code="corpus.no_source")
    read_records = FORMATS.get(source.suffix.lower())
    if read_records is None:
        raise MoodlineError(
            f"{source} does not end with {', '.join(FORMATS)}, as tables do: save it as CSV", code="corpus.wrong_source"
        )
    faults = FaultCollector(source.parent.resolve())
    names, records = read_records(source, faults)
    if faults.found and not names:
        raise MoodlineError(summarise_faults(faults.found, source), code="corpus.empty")
    if not any(name.strip() for name in names):
        raise MoodlineError(
            f"{source} is empty: the first row names the columns, the others are utterances", code="corpus.empty"
        )
    columns = recognise_columns(names)
    if not columns.keys() & {"words", "audio"}:
        raise MoodlineError(
            f"{source} has no column of words ({', '.join(COLUMN_ALIASES['words'])}) or of audio "
            f"({', '.join(COLUMN_ALIASES['audio'])}), it has {' '.join(', '.join(names).split())}: rename one",
            code="corpus.missing_column",
        )
    ignored = [name for name in names if name not in columns.values()]
    if ignored:
        more = ", ..." if len(ignored) > MAX_SHOWN_COLUMNS else ""
        faults.note(f"{format_count(len(ignored), 'ignored column')}: {', '.join(ignored[:MAX_SHOWN_COLUMNS])}{more}")
    for column, assumed in DEFAULT_NOTES.items():
        if column not in columns:
            nearest = suggest_column(column, ignored)
            hint = f"; unknown column {nearest[0]!r}: did you mean {nearest[1]!r}?" if nearest else ""
            faults.note(assumed + hint)
    rows = check_rows(source, columns, records, faults)
    if not rows and not faults.found:
        raise MoodlineError(f"{source} has no row with words or audio: fill it in", code="corpus.empty")
    return replace(build_corpus("table", build_conversations(rows, faults), faults), table=source.name)


def check_rows(
    source: Path, columns: Mapping[str, str], records: Sequence[LocatedRecord], faults: FaultCollector
) -> list[SourceRow]:
    """Return the readable rows, each with the name of its conversation."""
    rows: list[SourceRow] = []
    for number, (where, record) in enumerate(records, start=1):
        try:
            cells = {column: format_cell(record.get(name)) for column, name in columns.items()}
        except MoodlineError as error:
            faults.add(where, f"{error} ({where}); correct that row")
            continue
        if "conversation" not in columns:
            cells["conversation"] = f"{source.stem}_{number}"
        if not clean_words(cells.get("words", "")) and not cells.get("audio"):
            faults.leave_out(EMPTY_ROW, where)
        elif not cells["conversation"]:
            faults.add(where, f"{where} names no conversation: fill it in, or remove the column")
        else:
            rows.append(SourceRow(where, number, cells))
    return rows


def build_conversations(rows: Sequence[SourceRow], faults: FaultCollector) -> Iterator[Conversation]:
    """Build conversations in the order in which the table first names them."""
    by_name: dict[str, list[SourceRow]] = {}
    for row in rows:
        by_name.setdefault(row.conversation, []).append(row)
    ids = add_generated_ids(collect_ids(rows), by_name)
    recordings = TableRecordings(faults.source, Counter(row.cells.get("audio", "") for row in rows))
    for name, members in by_name.items():
        whole = get_shared_cells(members[0])
        utterances: list[Utterance] = []
        for row in members:
            identity = ids[row.number]
            try:
                if get_shared_cells(row) != whole:
                    raise MoodlineError(
                        f"conversation {name!r} has two values of (session, part, split): {whole}, and "
                        f"{get_shared_cells(row)}",
                        code="corpus.contradiction",
                    )
                parse_split(row.cells)
                utterance = build_utterance(identity, row, recordings)
            except MoodlineError as error:
                faults.add(identity, f"{error} ({row.where}); correct that row")
            else:
                utterances += filter(None, [check_utterance(ParsedUtterance(utterance, row.where), faults)])
        if not utterances:
            faults.leave_out(EMPTY_CONVERSATION, name)
        else:
            yield Conversation(
                id=name,
                utterances=tuple(sort_utterances(utterances)),
                session=members[0].cells.get("session") or None,
                part=members[0].cells.get("part") or None,
                split=parse_split(members[0].cells),
            )


def add_generated_ids(given: Mapping[int, str], by_name: Mapping[str, Sequence[SourceRow]]) -> dict[int, str]:
    """Add unique ids of the conversation's name and the place in it to the rows without one: row -> id."""
    ids, taken = dict(given), set(given.values())
    for name, members in by_name.items():
        for position, row in enumerate(members):
            if row.number not in ids:
                identity = name if len(members) == 1 else f"{name}_{position}"
                while identity in taken:
                    identity += "_"
                taken.add(identity)
                ids[row.number] = identity
    return ids


def collect_ids(rows: Sequence[SourceRow]) -> dict[int, str]:
    """Map the rows that have an id to it; the conversation's name precedes ids if two conversations share one."""
    given = {row.number: row.cells["utterance"] for row in rows if row.cells.get("utterance")}
    homes: dict[str, set[str]] = {}
    for row in rows:
        if row.number in given:
            homes.setdefault(given[row.number], set()).add(row.conversation)
    if all(len(names) == 1 for names in homes.values()):
        return given
    return {row.number: f"{row.conversation}_{given[row.number]}" for row in rows if row.number in given}


def get_shared_cells(row: SourceRow) -> tuple[str, str, str]:
    return row.cells.get("session", ""), row.cells.get("part", ""), row.cells.get("split", "")


def build_utterance(identity: str, row: SourceRow, recordings: "TableRecordings") -> Utterance:
    start, end = parse_time(row.cells, "start"), parse_time(row.cells, "end")
    return Utterance(
        id=identity,
        speaker=row.cells.get("speaker") or row.conversation,
        words=row.cells.get("words", ""),
        audio=recordings.get_clip(row, start, end) if row.cells.get("audio") else None,
        start=start,
        end=end,
        label=row.cells.get("label") or None,
    )


@dataclass
class TableRecordings:
    """Inspects the audio files of a table, each once."""

    folder: Path
    rows: Mapping[str, int]  # file as the table names it -> how many rows do
    found: dict[str, AudioClip] = field(default_factory=dict)

    def get_clip(self, row: SourceRow, start: float | None, end: float | None) -> AudioClip:
        """Return an utterance's part of its file.

        It begins at ``offset`` and lasts ``duration``, or ``end - start`` without a duration, or to the end of the
        file. Without an offset it is the whole file, or ``start`` to ``end`` where several rows share the file.
        """
        name = row.cells["audio"]
        whole = self.inspect_recording(name)
        offset, duration = parse_time(row.cells, "offset"), parse_time(row.cells, "duration")
        if start is not None and end is not None:
            if offset is None and self.rows[name] > 1:
                offset, duration = start, end - start
            elif offset is not None and duration is None:
                duration = end - start
        offset = offset or 0.0
        if duration is None:
            duration = whole.duration - offset
        if duration <= 0 or offset + duration > whole.duration + END_TOLERANCE:
            raise MoodlineError(
                f"the utterance is from {offset:.3f} to {offset + duration:.3f} s, and its recording {whole.path} has "
                f"{whole.duration:.3f} s",
                code="corpus.invalid_time",
            )
        duration = min(duration, whole.duration - offset)
        return AudioClip(path=whole.path, offset=offset, duration=duration, sample_rate=whole.sample_rate)

    def inspect_recording(self, name: str) -> AudioClip:
        if name not in self.found:
            if not name.isprintable():
                raise MoodlineError(
                    f"the audio file's name {name!a} has characters that cannot be shown", code="corpus.invalid_cell"
                )
            path = self.folder / name.replace("\\", "/")
            try:
                self.found[name] = io.inspect_file(path)
            except OSError as error:  # a name that is too long
                raise MoodlineError(
                    f"there is no audio file {path} ({error.strerror})", code="audio.missing"
                ) from error
        return self.found[name]
