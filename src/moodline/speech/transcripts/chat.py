"""Words without a recording: a chat as a table of words, or a transcript in its recording's place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moodline.conversation import Conversation, Utterance
from moodline.delimited import decoded
from moodline.errors import MoodlineError
from moodline.speech.transcripts import rttm, table, textgrid
from moodline.speech.transcripts.reading import (
    ENDINGS,
    FORMATS,
    GLANCE,
    is_json,
    is_text,
    is_vtt,
    json_of,
    notes_of,
    read_transcript,
    text_of,
)
from moodline.speech.transcripts.table import Row, Table
from moodline.speech.transcripts.transcript import Transcript, places, plain, transcript_of
from moodline.speech.turn import UNKNOWN
from moodline.wording import counted

TEXT_ENDINGS = frozenset({*ENDINGS, ".tsv", ".txt"})  # of files that are meant as words whatever they hold
SHOWN = 3  # conversations that a sentence names


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
        if path.suffix.lower() in TEXT_ENDINGS:
            return True
        with path.open("rb") as file:
            data = file.read(GLANCE)
    except OSError:  # such as a name that is too long
        return False  # what reads a recording tells why
    text = decoded(data)[0]
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
    text, encoding = text_of(path, "a file of words")
    found = table_in(text, str(path))
    if found is None or (found.tells_times and "conversation" not in found.columns):
        refuse_named(named, path)
        transcript = read_transcript(path)
        return Chat(conversation_of(transcript, path.stem, path), transcript.format, transcript.notes)
    if "words" not in found.columns:
        raise MoodlineError(
            f"words alone are a table with a column of words ({', '.join(table.NAMES['words'])}), and perhaps speaker: "
            f"{path} has {', '.join(map(repr, found.names)) or 'none'}; name its columns so"
        )
    notes = notes_of(path, found.format, encoding)
    name, rows = chosen(found, named, path)
    if found.tells_times:
        told = table.told_of(Table(found.format, found.names, rows), str(path))
        told.notes.extend(notes)
        transcript = transcript_of(told, path)
        return Chat(conversation_of(transcript, name, path), transcript.format, transcript.notes)
    silent = [place for place, row in rows if not words_of(row, found.columns)]
    if len(silent) == len(rows):
        where = f"in {counted(len(rows), 'row')}" if rows else "below its header"
        raise MoodlineError(f"words alone need some, and {path} has none {where}: fill it in")
    if silent:
        notes.append(f"{counted(len(silent), 'row')} without words left out: {places(silent)}")
    return Chat(Conversation(id=name, utterances=tuple(untimed(rows, found.columns))), found.format, tuple(notes))


def table_in(text: str, origin: str) -> Table | None:
    """The table that a text is meant as; None where it is meant as a transcript of another format.

    Raises:
        MoodlineError: it is malformed
    """
    if is_vtt(text) or textgrid.is_meant(text) or rttm.is_meant(text):
        return None
    if is_json(text):
        found = json_of(text, origin)
        return found if isinstance(found, Table) else None
    meant = table.is_meant(text) or not any(is_meant(text) for is_meant, _ in FORMATS)
    return table.csv_table(text, origin) if meant else None


def chosen(found: Table, named: str | None, path: Path) -> tuple[str, Sequence[Row]]:
    """The one conversation of a table, or the one that is named of several, and its rows.

    Raises:
        MoodlineError: there are several and none is named, or none of this name
    """
    rows = list(found.rows)
    column = found.columns.get("conversation")
    if column is None:
        refuse_named(named, path)
        return path.stem, rows
    by_name: dict[str, list[Row]] = {}
    for place, row in rows:
        by_name.setdefault((table.text_of(row, column) or "").strip(), []).append((place, row))
    names = ", ".join(list(by_name)[:SHOWN]) + (", ..." if len(by_name) > SHOWN else "")
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


def refuse_named(named: str | None, path: Path) -> None:
    if named is not None:
        raise MoodlineError(
            f"{path} has one conversation, and no column that names it: leave out --conversation {named}"
        )


def untimed(rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[Utterance]:
    """The turns of rows that have words; ids are their positions."""
    spoken = [row for _, row in rows if words_of(row, columns)]
    for position, row in enumerate(spoken):
        speaker = table.text_of(row, columns.get("speaker")) or ""
        yield Utterance(id=str(position), speaker=" ".join(speaker.split()) or UNKNOWN, words=words_of(row, columns))


def words_of(row: Mapping[str, object], columns: Mapping[str, str]) -> str:
    return plain(table.text_of(row, columns["words"]) or "")


def conversation_of(transcript: Transcript, name: str, path: Path) -> Conversation:
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
