"""Reading and writing transcripts, and chats (words without a recording), whose format is detected by content."""

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moodline.conversation import UNKNOWN, Conversation, Segment, Utterance
from moodline.errors import MoodlineError, format_count, format_option, format_quoted, quote
from moodline.io import write_text
from moodline.tabular import decode_text, match_columns
from moodline.transcripts import audacity, elan, kaldi, meeting, nist, services, subtitles, tables, textgrid, whisper
from moodline.transcripts.tables import COLUMN_ALIASES, LocatedRow, ParsedTable, get_text
from moodline.transcripts.transcript import (
    ParsedTranscript,
    Transcript,
    build_error,
    format_places,
    remove_markup,
)

SAMPLE_BYTES = 4096  # bytes that show whether a file is text
BINARY_PATTERN = re.compile(r"[\x00-\x08\x0e-\x19]")  # control characters, without U+001A, which ends DOS files
FORMATS_BY_SUFFIX: Mapping[str, tuple[str, ...]] = {  # suffixes, each with the formats that it announces
    ".srt": (subtitles.SRT,),
    ".vtt": (subtitles.VTT,),
    ".textgrid": (textgrid.NAME,),
    ".rttm": (nist.RTTM,),
    ".stm": (nist.STM,),
    ".ctm": (nist.CTM,),
    ".eaf": (elan.NAME,),
    ".docx": (meeting.TIMED, meeting.UNTIMED),
    ".csv": (tables.CSV,),
    ".json": (
        *(whisper.WHISPER, whisper.WHISPERX, whisper.WHISPER_CPP),
        *services.FORMATS,
        *(tables.JSON_LIST, tables.JSON_LINES),
    ),
    ".jsonl": (tables.JSON_LINES,),
}
TEXT_SUFFIXES = frozenset({*FORMATS_BY_SUFFIX, ".tsv", ".txt"})  # of files that are read as words whatever they hold
FORMAT_LIST = (
    "SRT, WebVTT, TextGrid, ELAN, RTTM, STM, CTM, Kaldi's segments, labels of Audacity, a meeting's .docx or .txt, "
    "JSON of Whisper, WhisperX, whisper.cpp or a recognition service, CSV with a header, or JSON lines"
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation of words from a file, its format for people, and notes, sentences on omissions and guesses."""

    conversation: Conversation
    format: str
    notes: tuple[str, ...]


def read_transcript(path: Path) -> Transcript:
    """Read a file of one of ``FORMAT_LIST`` in UTF-8 or UTF-16, or else in Windows-1252 with a note.

    A folder stands for Kaldi's segments in it. The last turn's end is infinite where its format has none.

    Raises:
        MoodlineError: the file cannot be read, is in another format, has a malformed cue, or has no turn
    """
    path = kaldi.find_segments(path) if os.path.isdir(path) else path  # of any name, also one that is too long
    text, encoding = read_text(path, "a transcript")
    parse = detect_format(text)
    if parse is None:
        first = next(iter(text.strip().splitlines()), "").strip()
        sentence = f"{path} is in an unknown format: it begins with {quote(first)}. Convert it to {FORMAT_LIST}."
        raise MoodlineError(sentence, code="transcript.unknown_format")
    return build_transcript(parse(text, str(path)), path, encoding)


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
    return not BINARY_PATTERN.search(text) and detect_format(text) is not None


def read_chat(path: Path, named: str | None = None) -> Chat:
    """Read a table of words in its order, or a table with times, or a transcript, in the order of their starts.

    A table has a column of words, and optionally ``speaker``, ``conversation``, ``start`` and ``end`` or ``duration``;
    ``named`` selects one of its conversations. Errors are those of ``read_transcript``, and a file without words.
    """
    text, encoding = read_text(path, "a file of words")
    parse = detect_format(text) or tables.parse_csv_table
    found = parse(text, str(path))
    name, has_names = path.stem, isinstance(found, ParsedTable) and "conversation" in found.columns
    if named is not None and not has_names:
        option = format_option("conversation", named)
        sentence = f"{path} has one conversation, without a column that names it. Leave out {option}."
        raise MoodlineError(sentence, code="transcript.unnamed_conversation")
    if isinstance(found, ParsedTable) and (has_names or not found.has_times):
        if "words" not in found.columns:
            names, expected = format_quoted(found.names), ", ".join(COLUMN_ALIASES["words"])
            sentence = f"{path} has no column of words, only {names or 'none'}. Name that column one of {expected}."
            raise MoodlineError(sentence, code="transcript.no_words_column")
        name, found = select_conversation(found, named, path)
        if not found.has_times:
            notes = [*tables.note_unread_columns(found), *collect_notes(path, found.format, encoding)]
            return read_untimed(found, name, path, notes)
    transcript = build_transcript(found, path, encoding)
    if not any(turn.words for turn in transcript.turns):
        option = format_option("transcript")
        sentence = f"{path} ({transcript.format}) has no words. Give the recording, and this file with {option}."
        raise MoodlineError(sentence, code="transcript.no_words")
    utterances = tuple(
        Utterance(
            id=str(position),
            speaker=turn.speaker,
            words=turn.words or "",
            start=turn.start,
            end=turn.end if turn.end < math.inf else None,
        )
        for position, turn in enumerate(transcript.turns)
    )
    return Chat(Conversation(id=name, utterances=utterances), transcript.format, transcript.notes)


def select_conversation(found: ParsedTable, named: str | None, path: Path) -> tuple[str, ParsedTable]:
    """Select the only conversation of a table, or the named one; return its name and its rows."""
    column = found.columns.get("conversation")
    by_name: dict[str, list[LocatedRow]] = {}
    for place, row in found.rows:
        by_name.setdefault((get_text(row, column) or "").strip(), []).append((place, row))
    names = f"{quote(column)} has {format_places(list(map(quote, by_name)))}"
    if named is not None and named not in by_name:
        sentence = f"{path} has no conversation {quote(named)}; its column {names}. Name one of these."
        raise MoodlineError(sentence, code="transcript.unknown_conversation")
    if named is None and len(by_name) > 1:
        raise MoodlineError(
            f"{path} has {len(by_name):,} conversations; its column {names}. Choose one with "
            f"{format_option('conversation', next(iter(by_name)))}, or make a corpus of all with moodline prepare "
            f"table and label that with {format_option('modalities', 'text')}.",
            code="transcript.several_conversations",
        )
    name = named if named is not None else next(iter(by_name), "")
    return name or path.stem, replace(found, rows=by_name.get(name, []))


def read_untimed(found: ParsedTable, name: str, path: Path, notes: list[str]) -> Chat:
    """Read a table without times: a turn from each row that has words; ids are their positions."""
    column, speaker_column = found.columns["words"], found.columns.get("speaker")
    rows = [(place, row, remove_markup(get_text(row, column) or "")) for place, row in found.rows]
    silent = [place for place, _, words in rows if not words]
    if len(silent) == len(rows):
        where = f"in {format_count(len(rows), 'row')}" if rows else "below its header"
        raise MoodlineError(f"{path} has no words {where}. Fill in its column of words.", code="transcript.no_words")
    if silent:
        notes.append(f"{format_count(len(silent), 'row')} without words left out: {format_places(silent)}")
    worded = [(get_text(row, speaker_column) or "", words) for _, row, words in rows if words]
    utterances = tuple(
        Utterance(id=str(position), speaker=" ".join(speaker.split()) or UNKNOWN, words=words)
        for position, (speaker, words) in enumerate(worded)
    )
    return Chat(Conversation(id=name, utterances=utterances), found.format, tuple(notes))


def build_transcript(parsed: ParsedTranscript | ParsedTable, path: Path, encoding: str) -> Transcript:
    """Build the turns of a file's cues or rows, in order of their starts; refuse impossible times.

    Words lose their markup, and speakers extra blanks. Cues without words or length are left out, and noted.
    """
    notes: list[str] = []
    if isinstance(parsed, ParsedTable):
        notes = tables.note_unread_columns(parsed)
        parsed = tables.parse_table(parsed, str(path))
    turns: list[Segment] = []
    empty: list[str] = []
    instants: list[str] = []
    for number, (place, cue) in enumerate(parsed.cues, start=1):
        is_open = parsed.has_open_end and number == len(parsed.cues) and cue.end == math.inf
        for time in (cue.start, *(() if is_open else (cue.end,))):
            if not 0 <= time < math.inf:
                raise build_error(place, f"the time {time}", "finite seconds from 0 on", "transcript.invalid_time")
        words = None if cue.words is None else remove_markup(cue.words)
        if words == "":
            empty.append(place)
        elif cue.end <= cue.start:
            instants.append(place)
        else:
            turns.append(replace(cue, speaker=" ".join(cue.speaker.split()) or UNKNOWN, words=words))
    notes += [*parsed.notes, *collect_notes(path, parsed.format, encoding)]
    if empty:
        notes.append(f"{format_count(len(empty), 'cue')} without words left out: {format_places(empty)}")
    if instants:
        left_out = f"{format_count(len(instants), 'cue')} whose end is not after the start left out"
        notes.append(f"{left_out}: {format_places(instants)}; correct these times to have their words")
    if not turns:
        why = "; ".join(notes) or f"read as {parsed.format}, it has no cue"
        raise MoodlineError(f"{path} holds no turn ({why}). Check the file.", code="transcript.no_turns")
    turns.sort(key=lambda turn: turn.start)
    return Transcript(tuple(turns), parsed.format, tuple(notes), parsed.language)


def collect_notes(path: Path, format: str, encoding: str) -> list[str]:
    """Note a guessed encoding, and a format that the file's ending does not announce."""
    notes: list[str] = []
    if encoding not in ("UTF-8", "UTF-16"):
        notes.append(f"{path} is not in UTF-8 and was read as {encoding}; check letters with accents")
    if format not in FORMATS_BY_SUFFIX.get(path.suffix.lower(), (format,)):
        notes.append(f"{path} holds {format}, despite its ending, and was read as such")
    return notes


def read_text(path: Path, what: str) -> tuple[str, str]:
    """Read a file's text and detect its encoding; ``what`` is the expected content, for errors."""
    try:
        with path.open("rb") as file:
            data = file.read(SAMPLE_BYTES)
            if not BINARY_PATTERN.search(decode_text(data)[0]):  # a recording given by mistake is not read further
                data += file.read()
    except (OSError, ValueError) as error:
        sentence = f"{path} cannot be read: {getattr(error, 'strerror', error)}. Check the path."
        raise MoodlineError(sentence, code="file.unreadable") from error
    is_document = data.startswith(meeting.ZIP_MARK)
    text, encoding = (meeting.read_docx(path), "UTF-8") if is_document else decode_text(data)
    if BINARY_PATTERN.search(text):
        sentence = f"{path} is binary, expected {what} as text. Give a file of {FORMAT_LIST}."
        raise MoodlineError(sentence, code="transcript.binary")
    if not text.strip("\x1a\ufeff \t\r\n"):
        sentence = f"{path} is empty, expected {what} with at least one turn. Check the path."
        raise MoodlineError(sentence, code="transcript.empty")
    return text, encoding


def parse_json(text: str, origin: str) -> ParsedTranscript | ParsedTable:
    """Parse a recogniser's segments, or a table: a list of turns or a turn a line."""
    try:
        first = json.loads(text.lstrip().split("\n", 1)[0])
    except (ValueError, RecursionError):
        first = None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(first, dict):
            return tables.parse_json_lines(text, origin)
        sentence = f"{origin} is not valid JSON: {error}. Export it again."
        raise MoodlineError(sentence, code="transcript.invalid_json") from error
    if isinstance(content, list):
        rows = [(f"{origin}, item {number}", row) for number, row in enumerate(content, start=1)]
        return tables.build_json_table(tables.JSON_LIST, rows)
    if isinstance(content, dict) and (parse := services.find_service(content)):
        return parse(content, origin)
    # A recogniser's object has a text too, beside its segments.
    columns = match_columns(content, COLUMN_ALIASES)
    has_words = isinstance(content.get(columns.get("words", "")), str) and whisper.SEGMENTS not in content
    if isinstance(first, dict) and (has_words or "start" in columns):
        return tables.parse_json_lines(text, origin)
    if not content.keys().isdisjoint({whisper.SEGMENTS, whisper.TRANSCRIPTION}):
        return whisper.parse_whisper(content, origin)
    expected = (
        f"{whisper.SEGMENTS} (Whisper, WhisperX), {whisper.TRANSCRIPTION} (whisper.cpp), the keys of a recognition "
        "service, or a list of turns"
    )
    found = f"the keys {format_quoted(content) or '(none)'}"
    raise build_error(origin, found, expected, "transcript.invalid_json")


Parser = Callable[[str, str], ParsedTranscript | ParsedTable]  # of a text; the second argument names it in errors
JSON_PATTERN = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\]])")  # ``[`` alone may begin a speaker's name
SIGNATURES: Sequence[tuple[re.Pattern[str], Parser]] = (  # the beginnings of texts, each with the format's parser
    (subtitles.VTT_PATTERN, subtitles.parse_vtt),
    (textgrid.HEADER_PATTERN, textgrid.parse_textgrid),
    (elan.PATTERN, elan.parse_elan),
    (JSON_PATTERN, parse_json),
    (nist.RTTM_PATTERN, nist.parse_rttm),
    (audacity.PATTERN, audacity.parse_label_track),
    (kaldi.PATTERN, kaldi.parse_segments),
    (subtitles.SRT_PATTERN, subtitles.parse_srt),
)
WRITERS: Mapping[str, Callable[[Sequence[Segment]], str]] = {
    ".srt": subtitles.format_srt,
    ".vtt": subtitles.format_vtt,
    ".textgrid": textgrid.format_textgrid,
    ".json": whisper.format_whisper,
    ".csv": tables.format_csv,
    ".jsonl": tables.format_json_lines,
    ".rttm": nist.format_rttm,
}
WORDLESS_SUFFIXES = frozenset({".rttm"})


def detect_format(text: str) -> Parser | None:
    """Find the parser of the format in which a text is meant, even if it is malformed; None for another format.

    A table names at least two known columns in its first row, or the column of words.
    """
    for pattern, parse in SIGNATURES:
        if pattern.match(text):
            return parse
    if parse := nist.detect_line_format(text):
        return parse
    columns = match_columns(tables.find_header(text)[1], COLUMN_ALIASES)
    if len(columns) > 1 or "words" in columns:
        return tables.parse_csv_table
    return subtitles.parse_srt if subtitles.has_times(text) else meeting.detect_meeting(text)


def write_transcript(path: Path, turns: Sequence[Segment]) -> None:
    """Write turns atomically in the format of the ending, times to the millisecond; ``read_transcript`` reads them.

    RTTM holds no words, a TextGrid no turns without words, and no format holds channels.
    """
    refuse_unknown_ending(path)
    write_text(path, format_transcript(path.suffix, turns))


def format_transcript(ending: str, turns: Sequence[Segment]) -> str:
    """Format turns in the format of one of the endings of ``WRITERS``."""
    return WRITERS[ending.lower()]([prepare_turn(turn) for turn in turns])


def prepare_turn(turn: Segment) -> Segment:
    """Put words and speaker on one line each, and round times; readers drop turns shorter than a millisecond."""
    words = None if turn.words is None else " ".join(turn.words.split())
    start = round(1000 * turn.start)
    end = max(round(1000 * turn.end), start + 1)
    return replace(turn, speaker=" ".join(turn.speaker.split()), words=words, start=start / 1000, end=end / 1000)


def refuse_unknown_ending(path: Path) -> None:
    if path.suffix.lower() not in WRITERS:
        sentence = f"{path} has {path.suffix or 'no ending'}, expected one of {', '.join(WRITERS)}. Rename it."
        raise MoodlineError(sentence, code="transcript.unknown_ending")


def refuse_wordless_format(path: Path) -> None:
    """Refuse a file whose ending belongs to no format, or to one that cannot hold words."""
    refuse_unknown_ending(path)
    if path.suffix.lower() in WORDLESS_SUFFIXES:
        worded = ", ".join(ending for ending in WRITERS if ending not in WORDLESS_SUFFIXES)
        sentence = f"{path} cannot hold words: {path.suffix} has none. Name it with one of {worded}."
        raise MoodlineError(sentence, code="transcript.wordless_format")
