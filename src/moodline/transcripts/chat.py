"""Words without a recording: a chat as a table of words, or a transcript given instead of its recording."""

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
    parse_transcript,
    read_text,
)
from moodline.transcripts.tables import LocatedRow, ParsedTable
from moodline.transcripts.transcript import Transcript, build_transcript, format_places, remove_markup

TEXT_SUFFIXES = frozenset({*FORMATS_BY_SUFFIX, ".tsv", ".txt"})  # of files that are read as words whatever they hold
MAX_SHOWN = 3  # conversations that a message lists


@dataclass(frozen=True, slots=True)
class Chat:
    """Hold a conversation of words, read from a file.

    Attributes:
        conversation: named after the file, or by the table's column; turns have times if all of them do
        format: its name, for people
        notes: sentences on omissions and guesses
    """

    conversation: Conversation
    format: str
    notes: tuple[str, ...]


def is_chat(path: Path) -> bool:
    """Check whether a file holds words, not sound: by a text's ending, or by a transcript format in its content."""
    try:
        if not path.is_file():
            return False
        if path.suffix.lower() in TEXT_SUFFIXES:
            return True
        with path.open("rb") as file:
            data = file.read(SAMPLE_BYTES)
    except OSError:  # such as a name that is too long
        return False  # the reader of recordings reports the reason
    text = decode_text(data)[0]
    return is_text(data) and any(is_meant(text) for is_meant, _ in FORMATS)


def read_chat(path: Path, named: str | None = None) -> Chat:
    """Read a table of words in its order, or a table with times, or a transcript, in the order of their starts.

    A table has a column of words, and optionally ``speaker``, ``conversation``, ``start`` and ``end`` or ``duration``.

    Args:
        named: the conversation to read from a table that has several

    Raises:
        MoodlineError: the file cannot be read or is malformed, has no words, or has several conversations and none is
            named; see also ``read_transcript``
    """
    text, encoding = read_text(path, "a file of words")
    found = find_table(text, str(path))
    if found is None or (found.has_times and "conversation" not in found.columns):
        refuse_conversation_name(named, path)
        transcript = parse_transcript(path, text, encoding)
        return Chat(build_conversation(transcript, path.stem, path), transcript.format, transcript.notes)
    if "words" not in found.columns:
        raise MoodlineError(
            f"{path} has no column of words: it has {', '.join(map(repr, found.names)) or 'no columns'}. Name one of "
            f"{', '.join(tables.COLUMN_ALIASES['words'])}, and optionally a column speaker.",
            code="transcript.no_words_column",
        )
    notes = collect_notes(path, found.format, encoding)
    name, rows = select_conversation(found, named, path)
    if found.has_times:
        parsed = tables.parse_table(ParsedTable(found.format, found.names, rows), str(path))
        parsed.notes.extend(notes)
        transcript = build_transcript(parsed, path)
        return Chat(build_conversation(transcript, name, path), transcript.format, transcript.notes)
    silent = [place for place, row in rows if not get_words(row, found.columns)]
    if len(silent) == len(rows):
        where = f"in {format_count(len(rows), 'row')}" if rows else "below its header"
        raise MoodlineError(f"{path} has no words {where}. Fill in its column of words.", code="transcript.no_words")
    if silent:
        notes.append(f"{format_count(len(silent), 'row')} without words left out: {format_places(silent)}")
    return Chat(Conversation(id=name, utterances=tuple(iter_untimed(rows, found.columns))), found.format, tuple(notes))


def find_table(text: str, origin: str) -> ParsedTable | None:
    """Find the table in a text; None for a transcript of another format.

    Raises:
        MoodlineError: the table is malformed
    """
    if is_vtt(text) or textgrid.is_textgrid(text) or rttm.is_rttm(text):
        return None
    if is_json(text):
        found = parse_json(text, origin)
        return found if isinstance(found, ParsedTable) else None
    meant = tables.is_table(text) or not any(is_meant(text) for is_meant, _ in FORMATS)
    return tables.parse_csv_table(text, origin) if meant else None


def select_conversation(found: ParsedTable, named: str | None, path: Path) -> tuple[str, Sequence[LocatedRow]]:
    """Select the only conversation of a table, or the named one, and its rows.

    Raises:
        MoodlineError: the table has several and none is named, or none of this name
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
        raise MoodlineError(
            f"{path} has no conversation {named!r}; its column {column!r} has {names}. Name one of these.",
            code="transcript.unknown_conversation",
        )
    if named is None and len(by_name) > 1:
        raise MoodlineError(
            f"{path} has {len(by_name):,} conversations in its column {column!r} ({names}). Choose one with "
            f"--conversation (in Python conversation={next(iter(by_name))!r}), or make a corpus of all with moodline "
            "prepare table and label that with --modalities text.",
            code="transcript.several_conversations",
        )
    name = named if named is not None else next(iter(by_name), path.stem)
    return name or path.stem, by_name.get(name, [])


def refuse_conversation_name(named: str | None, path: Path) -> None:
    """Refuse a conversation's name for a file without a column of conversations."""
    if named is not None:
        raise MoodlineError(
            f"{path} has one conversation, without a column that names it. Leave out --conversation {named}.",
            code="transcript.unnamed_conversation",
        )


def iter_untimed(rows: Sequence[LocatedRow], columns: Mapping[str, str]) -> Iterator[Utterance]:
    """Yield the turns of rows that have words; ids are their positions."""
    spoken = [row for _, row in rows if get_words(row, columns)]
    for position, row in enumerate(spoken):
        speaker = tables.get_text(row, columns.get("speaker")) or ""
        yield Utterance(id=str(position), speaker=" ".join(speaker.split()) or UNKNOWN, words=get_words(row, columns))


def get_words(row: Mapping[str, object], columns: Mapping[str, str]) -> str:
    """Get a row's words without markup."""
    return remove_markup(tables.get_text(row, columns["words"]) or "")


def build_conversation(transcript: Transcript, name: str, path: Path) -> Conversation:
    """Build a conversation from a transcript's turns; ids are their positions.

    Raises:
        MoodlineError: no turn has words
    """
    if not any(turn.words for turn in transcript.turns):
        raise MoodlineError(
            f"{path} ({transcript.format}) has turns without words. Give the recording, and this file "
            "with --transcript.",
            code="transcript.no_words",
        )
    return Conversation(
        id=name,
        utterances=tuple(
            Utterance(id=str(position), speaker=turn.speaker, words=turn.words or "", start=turn.start, end=turn.end)
            for position, turn in enumerate(transcript.turns)
        ),
    )
