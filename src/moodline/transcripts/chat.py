"""Words without a recording: a chat as a table of words, or a transcript in its recording's place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moodline.conversation import UNKNOWN, Conversation, Utterance
from moodline.errors import MoodlineError, format_count
from moodline.tabular import decode_text
from moodline.transcripts import rttm, tables, textgrid
from moodline.transcripts.formats import (
    FORMATS,
    FORMATS_BY_SUFFIX,
    SAMPLE_BYTES,
    collect_notes,
    is_json,
    is_text,
    is_vtt,
    parse_json,
    read_text,
    read_transcript,
)
from moodline.transcripts.tables import LocatedRow, ParsedTable
from moodline.transcripts.transcript import Transcript, build_transcript, format_places, remove_markup

TEXT_SUFFIXES = frozenset({*FORMATS_BY_SUFFIX, ".tsv", ".txt"})  # of files that are meant as words whatever they hold
MAX_SHOWN = 3  # conversations that a sentence names


@dataclass(frozen=True, slots=True)
class Chat:
    """Words alone.

    Attributes:
        conversation: named as the file, or as the table's column tells; turns have times where all have
        format: its name, for people
        notes: sentences on what was left out or guessed
    """

    conversation: Conversation
    format: str
    notes: tuple[str, ...]


def is_chat(path: Path) -> bool:
    """Whether a file holds words and no sound: a text in one of the transcripts' formats, or with a text's ending."""
    try:
        if not path.is_file():
            return False
        if path.suffix.lower() in TEXT_SUFFIXES:
            return True
        with path.open("rb") as file:
            data = file.read(SAMPLE_BYTES)
    except OSError:  # such as a name that is too long
        return False  # what reads a recording tells why
    text = decode_text(data)[0]
    return is_text(data) and any(is_meant(text) for is_meant, _ in FORMATS)


def read_chat(path: Path, named: str | None = None) -> Chat:
    """The turns of a table, in its order, or in that of their starts where it tells starts and ends; or a transcript's.

    A table has a column of words, and perhaps ``speaker``, ``conversation``, ``start`` and ``end`` or ``duration``.

    Args:
        named: the conversation to read, of a table that has several

    Raises:
        MoodlineError: the file cannot be read or is malformed; it has no words, or several conversations of which none
            is named; or as of ``read_transcript``
    """
    text, encoding = read_text(path, "a file of words")
    found = find_table(text, str(path))
    if found is None or (found.has_times and "conversation" not in found.columns):
        refuse_conversation_name(named, path)
        transcript = read_transcript(path)
        return Chat(build_conversation(transcript, path.stem, path), transcript.format, transcript.notes)
    if "words" not in found.columns:
        raise MoodlineError(
            f"words alone are a table with a column of words ({', '.join(tables.COLUMN_ALIASES['words'])}), and "
            f"perhaps speaker: "
            f"{path} has {', '.join(map(repr, found.names)) or 'none'}; name its columns so"
        )
    notes = collect_notes(path, found.format, encoding)
    name, rows = select_conversation(found, named, path)
    if found.has_times:
        told = tables.parse_table(ParsedTable(found.format, found.names, rows), str(path))
        told.notes.extend(notes)
        transcript = build_transcript(told, path)
        return Chat(build_conversation(transcript, name, path), transcript.format, transcript.notes)
    silent = [place for place, row in rows if not get_words(row, found.columns)]
    if len(silent) == len(rows):
        where = f"in {format_count(len(rows), 'row')}" if rows else "below its header"
        raise MoodlineError(f"words alone need some, and {path} has none {where}: fill it in")
    if silent:
        notes.append(f"{format_count(len(silent), 'row')} without words left out: {format_places(silent)}")
    return Chat(Conversation(id=name, utterances=tuple(iter_untimed(rows, found.columns))), found.format, tuple(notes))


def find_table(text: str, origin: str) -> ParsedTable | None:
    """The table that a text is meant as; None where it is meant as a transcript of another format.

    Raises:
        MoodlineError: it is malformed
    """
    if is_vtt(text) or textgrid.is_textgrid(text) or rttm.is_rttm(text):
        return None
    if is_json(text):
        found = parse_json(text, origin)
        return found if isinstance(found, ParsedTable) else None
    meant = tables.is_table(text) or not any(is_meant(text) for is_meant, _ in FORMATS)
    return tables.parse_csv_table(text, origin) if meant else None


def select_conversation(found: ParsedTable, named: str | None, path: Path) -> tuple[str, Sequence[LocatedRow]]:
    """The one conversation of a table, or the one that is named of several, and its rows.

    Raises:
        MoodlineError: there are several and none is named, or none of this name
    """
    rows = list(found.rows)
    column = found.columns.get("conversation")
    if column is None:
        refuse_conversation_name(named, path)
        return path.stem, rows
    by_name: dict[str, list[LocatedRow]] = {}
    for place, row in rows:
        by_name.setdefault((tables.get_text(row, column) or "").strip(), []).append((place, row))
    names = ", ".join(list(by_name)[:MAX_SHOWN]) + (", ..." if len(by_name) > MAX_SHOWN else "")
    if named is not None and named not in by_name:
        raise MoodlineError(f"{path} has no conversation {named!r}: by its column {column!r} it has {names}")
    if named is None and len(by_name) > 1:
        raise MoodlineError(
            f"words alone are of one conversation: by its column {column!r} {path} has {len(by_name):,} ({names}); "
            f"take one with --conversation (in Python conversation={next(iter(by_name))!r}), or make a corpus of all "
            "with moodline prepare table and label that with --words-only"
        )
    name = named if named is not None else next(iter(by_name), path.stem)
    return name or path.stem, by_name.get(name, [])


def refuse_conversation_name(named: str | None, path: Path) -> None:
    if named is not None:
        raise MoodlineError(
            f"{path} has one conversation, and no column that names it: leave out --conversation {named}"
        )


def iter_untimed(rows: Sequence[LocatedRow], columns: Mapping[str, str]) -> Iterator[Utterance]:
    """The turns of rows that have words; ids are their positions."""
    spoken = [row for _, row in rows if get_words(row, columns)]
    for position, row in enumerate(spoken):
        speaker = tables.get_text(row, columns.get("speaker")) or ""
        yield Utterance(id=str(position), speaker=" ".join(speaker.split()) or UNKNOWN, words=get_words(row, columns))


def get_words(row: Mapping[str, object], columns: Mapping[str, str]) -> str:
    return remove_markup(tables.get_text(row, columns["words"]) or "")


def build_conversation(transcript: Transcript, name: str, path: Path) -> Conversation:
    """A transcript's turns; ids are their positions.

    Raises:
        MoodlineError: its format or its columns have no words
    """
    if not any(turn.words for turn in transcript.turns):
        raise MoodlineError(
            f"words alone need some, and {path} ({transcript.format}) has turns without any: give the recording that "
            "they are of, and it with --transcript"
        )
    return Conversation(
        id=name,
        utterances=tuple(
            Utterance(id=str(position), speaker=turn.speaker, words=turn.words or "", start=turn.start, end=turn.end)
            for position, turn in enumerate(transcript.turns)
        ),
    )
