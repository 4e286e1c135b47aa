"""Read any table of utterances: CSV, JSON lines or Parquet, with words, audio files or both."""

import difflib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from moodline.audio import io
from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.corpora.corpus import Corpus, build_corpus
from moodline.corpora.validation import (
    FaultCollector,
    ParsedUtterance,
    build_conversation,
    clean_words,
    summarise_faults,
)
from moodline.errors import MoodlineError, format_count, format_quoted, quote
from moodline.tabular import TABLE_SUFFIXES, Row, match_columns, normalise_name, parse_seconds, read_rows

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
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
MIN_SIMILARITY = 0.7  # of difflib's ratio: emotoin and emotion_label are emotion
END_TOLERANCE = 0.05  # seconds by which a turn may exceed its recording, as tables round times
EMPTY_ROW = "a row without words and audio"
DEFAULT_NOTES = {
    "conversation": "no column conversation: each row is one conversation",
    "speaker": "no column speaker: each conversation has one speaker",
    "label": "no column label: no utterance can be trained on or scored",
}

TableRow = tuple[str, dict[str, str]]  # file and line, and the cells by ``COLUMN_ALIASES``


def read(source: Path) -> Corpus:
    """Read a table and the recordings that it names."""
    names, found = read_table(source)
    faults = FaultCollector(source.parent.resolve())
    for row in found:
        if row.fault:
            faults.add(row.where, row.fault)
    if not any(name.strip() for name in names):
        empty = f"{source} is empty: the first row names the columns, the others are utterances"
        raise MoodlineError(summarise_faults(faults.found, source) if faults.found else empty, code="corpus.empty")
    columns = recognise_columns(names)
    if not columns.keys() & {"words", "audio"}:
        raise MoodlineError(
            f"{source} has no column of words ({', '.join(COLUMN_ALIASES['words'])}) or of audio "
            f"({', '.join(COLUMN_ALIASES['audio'])}), it has {format_quoted(names)}: rename one",
            code="corpus.missing_column",
        )
    note_columns(names, columns, faults)
    rows = group_rows(source.stem, columns, [row for row in found if not row.fault], faults)
    if not rows and not faults.found:
        raise MoodlineError(f"{source} has no row with words or audio: fill it in", code="corpus.empty")
    return replace(build_corpus("table", build_conversations(rows, faults), faults), table=source.name)


def read_table(source: Path) -> tuple[list[str], list[Row]]:
    """Read a table by its file name's ending: the names of its columns, and its rows."""
    if not source.is_file():
        raise MoodlineError(f"there is no table {source}: check the path", code="corpus.no_source")
    if source.suffix.lower() not in TABLE_SUFFIXES:
        raise MoodlineError(
            f"{source} does not end with {', '.join(TABLE_SUFFIXES)}, as tables do: save it as CSV",
            code="corpus.wrong_source",
        )
    return read_rows(source, COLUMN_ALIASES)


def recognise_columns(names: Sequence[str]) -> dict[str, str]:
    """Map columns to their names in a table."""
    columns = match_columns(names, COLUMN_ALIASES)
    spoken = match_columns(names, {"words": ("utterance",)})
    if "words" not in columns and spoken:  # as in MELD's tables; else it is the id
        columns |= spoken
        if columns["utterance"] == spoken["words"]:
            del columns["utterance"]
    return columns


def note_columns(names: Sequence[str], columns: Mapping[str, str], faults: FaultCollector) -> None:
    """Note the ignored columns and, for each one that is missing, the default and an ignored one like it."""
    ignored = [name for name in names if name not in columns.values()]
    if ignored:
        faults.note(f"{format_count(len(ignored), 'ignored column')}: {format_quoted(ignored)}")
    for column in (column for column in DEFAULT_NOTES if column not in columns):
        hint = ""
        for name in ignored:
            known = COLUMN_ALIASES[column]
            if close := difflib.get_close_matches(normalise_name(name), known, n=1, cutoff=MIN_SIMILARITY):
                hint = f"; unknown column {quote(name)}: did you mean {close[0]!r}?"
                break
        faults.note(DEFAULT_NOTES[column] + hint)


def group_rows(
    stem: str, columns: Mapping[str, str], rows: Iterable[Row], faults: FaultCollector
) -> dict[str, list[TableRow]]:
    """Group the readable rows by their conversations' names, in the order in which the table first names them."""
    groups: dict[str, list[TableRow]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        try:
            cells = {column: format_cell(row.cells.get(name)) for column, name in columns.items()}
            if split := cells.get("split", "").lower():
                if split not in SPLIT_NAMES:
                    raise MoodlineError(
                        f"split must be train, validation or test, not {quote(cells['split'])}",
                        code="corpus.invalid_split",
                    )
                cells["split"] = SPLIT_NAMES[split]
        except MoodlineError as error:
            faults.add(row.where, f"{error} ({row.where}); correct that row")
            continue
        name = cells.setdefault("conversation", f"{stem}_{number}")
        if not clean_words(cells.get("words", "")) and not cells.get("audio"):
            faults.leave_out(EMPTY_ROW, row.where)
        elif not name:
            faults.add(row.where, f"{row.where} names no conversation: fill it in, or remove the column")
        else:
            groups[name].append((row.where, cells))
    return groups


def format_cell(value: Any) -> str:
    """Format a cell as text: None and NaN as empty, whole numbers without decimals."""
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
        raise MoodlineError(f"the text {quote(text)} contains half a character", code="corpus.invalid_cell")
    return text


def build_conversations(
    groups: Mapping[str, Sequence[TableRow]], faults: FaultCollector
) -> Iterator[Conversation | None]:
    assign_ids(groups)
    speakers = [cells["speaker"] for rows in groups.values() for _, cells in rows if "speaker" in cells]
    if unnamed := speakers.count(""):
        faults.note(f"{format_count(unnamed, 'row')} without a speaker: the conversation's name is used as the speaker")
    uses = Counter(cells.get("audio", "") for rows in groups.values() for _, cells in rows)
    inspect = cache(inspect_recording)

    def parse_turns(name: str, rows: Sequence[TableRow]) -> Iterator[ParsedUtterance]:
        for where, cells in rows:
            try:
                shared, own = (get_conversation_facts(some) for some in (rows[0][1], cells))
                if own != shared:
                    column = next(column for column in own if own[column] != shared[column])
                    both = f"{quote(shared[column])} and {quote(own[column])}"
                    raise MoodlineError(
                        f"conversation {quote(name)} has two values of {column}: {both}", code="corpus.contradiction"
                    )
                file = cells.get("audio")
                utterance = Utterance(
                    id=cells["utterance"],
                    speaker=cells.get("speaker") or name,
                    words=cells.get("words", ""),
                    audio=cut_clip(inspect(faults.source, file), cells, is_shared=uses[file] > 1) if file else None,
                    start=parse_time(cells, "start"),
                    end=parse_time(cells, "end"),
                    label=cells.get("label") or None,
                )
            except MoodlineError as error:
                faults.add(cells["utterance"], f"{error} ({where}); correct that row")
            else:
                yield ParsedUtterance(utterance, where)

    for name, rows in groups.items():
        facts = get_conversation_facts(rows[0][1])
        yield build_conversation(parse_turns(name, rows), faults, id=name, by_time=True, **facts)


def get_conversation_facts(cells: Mapping[str, str]) -> dict[str, str | None]:
    return {column: cells.get(column) or None for column in ("session", "part", "split")}


def assign_ids(groups: Mapping[str, Sequence[TableRow]]) -> None:
    """Give each row a unique id in the cell ``utterance``.

    The conversation's name precedes ids if two conversations share one. The id of a row without one is that name and
    the row's place in the conversation.
    """
    named = [(name, cells) for name, rows in groups.items() for _, cells in rows if cells.get("utterance")]
    if len({(cells["utterance"], name) for name, cells in named}) > len({cells["utterance"] for _, cells in named}):
        for name, cells in named:
            cells["utterance"] = f"{name}_{cells['utterance']}"
    taken = {cells["utterance"] for _, cells in named}
    for name, rows in groups.items():
        for position, (_, cells) in enumerate(rows):
            if not cells.get("utterance"):
                identity = name if len(rows) == 1 else f"{name}_{position}"
                while identity in taken:
                    identity += "_"
                taken.add(identity)
                cells["utterance"] = identity


def parse_time(cells: Mapping[str, str], column: str) -> float | None:
    """Parse a cell's time in seconds; None where it is empty."""
    text = cells.get(column, "")
    seconds = parse_seconds(text)
    if text and (seconds is None or not 0 <= seconds < math.inf):
        raise MoodlineError(
            f"{column} must be a time in seconds or HH:MM:SS.mmm, not negative, and is {quote(text)}",
            code="corpus.invalid_time",
        )
    return seconds


def inspect_recording(folder: Path, name: str) -> AudioClip:
    if not name.isprintable():
        raise MoodlineError(
            f"the audio file's name {quote(name)} has characters that cannot be shown", code="corpus.invalid_cell"
        )
    path = folder / name.replace("\\", "/")
    try:
        return io.inspect_file(path)
    except OSError as error:  # a name that is too long
        raise MoodlineError(f"there is no audio file {path} ({error.strerror})", code="audio.missing_file") from error


def cut_clip(whole: AudioClip, cells: Mapping[str, str], *, is_shared: bool) -> AudioClip:
    """Return an utterance's part of its file.

    It begins at ``offset`` and lasts ``duration``, or ``end - start`` without a duration, or to the end of the file.
    Without an offset it is the whole file, or ``start`` to ``end`` where several rows share the file.
    """
    start, end, offset, duration = (parse_time(cells, column) for column in ("start", "end", "offset", "duration"))
    if start is not None and end is not None:
        if offset is None and is_shared:
            offset, duration = start, end - start
        elif offset is not None and duration is None:
            duration = end - start
    offset = offset or 0.0
    if duration is None:
        duration = whole.duration - offset
    if duration <= 0 or offset + duration > whole.duration + END_TOLERANCE:
        times = f"from {offset:.3f} to {offset + duration:.3f} s, and its recording {whole.path} has"
        raise MoodlineError(f"the utterance is {times} {whole.duration:.3f} s", code="corpus.invalid_time")
    return replace(whole, offset=offset, duration=min(duration, whole.duration - offset))
