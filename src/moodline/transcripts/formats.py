"""Reading and writing transcripts: formats are detected by content and written by file ending."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moodline.conversation import Segment
from moodline.errors import MoodlineError
from moodline.io import write_text
from moodline.tabular import decode_text, match_columns
from moodline.transcripts import rttm, subtitles, tables, textgrid, whisper
from moodline.transcripts.subtitles import BROKEN_TIMES_PATTERN, TIMES_PATTERN
from moodline.transcripts.transcript import ParsedTranscript, Transcript, build_transcript

SAMPLE_BYTES = 4096  # bytes that show whether a file is text
BINARY_PATTERN = re.compile(r"[\x00-\x08\x0e-\x19]")  # control characters, without U+001A, which ends DOS files
FORMATS_BY_SUFFIX: Mapping[str, tuple[str, ...]] = {  # suffixes, each with the formats that it announces
    ".srt": (subtitles.SRT,),
    ".vtt": (subtitles.VTT,),
    ".textgrid": (textgrid.NAME,),
    ".rttm": (rttm.NAME,),
    ".csv": (tables.CSV,),
    ".json": (
        whisper.WHISPER,
        whisper.WHISPERX,
        whisper.WHISPER_CPP,
        tables.JSON_LIST,
        tables.JSON_LINES,
    ),
    ".jsonl": (tables.JSON_LINES,),
}


def read_transcript(path: Path) -> Transcript:
    """Read a file of SRT, WebVTT, TextGrid, RTTM, JSON of Whisper, WhisperX or whisper.cpp, CSV or JSON lines.

    The encoding is UTF-8 or UTF-16, or else Windows-1252 with a note.

    Raises:
        MoodlineError: the file cannot be read, is empty, binary or in another format; a cue is malformed; or the file
            holds no turn
    """
    return parse_transcript(path, *read_text(path))


def parse_transcript(path: Path, text: str, encoding: str) -> Transcript:
    """Parse a file's text in the first format that recognises it; errors as for ``read_transcript``."""
    reader = next((read for is_meant, read in FORMATS if is_meant(text)), None)
    if reader is None:
        first = next(line.strip() for line in text.splitlines() if line.strip())
        raise MoodlineError(
            f"{path} is in an unknown format: it begins with {first[:60]!r}. Convert it to {FORMAT_LIST}.",
            code="transcript.unknown_format",
        )
    parsed = reader(text, str(path))
    parsed.notes.extend(collect_notes(path, parsed.format, encoding))
    return build_transcript(parsed, path)


def collect_notes(path: Path, format: str, encoding: str) -> list[str]:
    """Note a guessed encoding, and a format that the file's ending does not announce."""
    notes: list[str] = []
    if encoding not in ("UTF-8", "UTF-16"):
        notes.append(f"{path} is not in UTF-8 and was read as {encoding}; check letters with accents")
    if format not in FORMATS_BY_SUFFIX.get(path.suffix.lower(), (format,)):
        notes.append(f"{path} holds {format}, despite its ending, and was read as such")
    return notes


def read_text(path: Path, what: str = "a transcript") -> tuple[str, str]:
    """Read a file's text and detect its encoding.

    Args:
        what: the expected content, for errors

    Raises:
        MoodlineError: the file cannot be read, is empty, or is binary
    """
    try:
        with path.open("rb") as file:
            data = file.read(SAMPLE_BYTES)
            if is_text(data):  # a recording given by mistake is not read further
                data += file.read()
    except (OSError, ValueError) as error:
        raise MoodlineError(
            f"{path} cannot be read: {getattr(error, 'strerror', error)}. Check the path.", code="file.unreadable"
        ) from error
    if not is_text(data):
        raise MoodlineError(
            f"{path} is binary, expected {what} as text. Give a file of {FORMAT_LIST}.", code="transcript.binary"
        )
    text, encoding = decode_text(data)
    if not text.strip("\x1a\ufeff \t\r\n"):
        raise MoodlineError(
            f"{path} is empty, expected {what} with at least one turn. Check the path.", code="transcript.empty"
        )
    return text, encoding


def is_text(data: bytes) -> bool:
    """Check that bytes decode to text without control characters."""
    return BINARY_PATTERN.search(decode_text(data)[0]) is None


def is_vtt(text: str) -> bool:
    """Check whether a text begins with WebVTT's signature."""
    return re.match(rf"\s*{subtitles.SIGNATURE}(?:\s|$)", text) is not None


def is_json(text: str) -> bool:
    """Check whether a text begins as JSON does; ``[`` alone may begin a speaker's name."""
    return re.match(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\]])", text) is not None


def is_srt(text: str) -> bool:
    """Check whether a line holds SubRip's times, malformed or not."""
    return any(TIMES_PATTERN.fullmatch(line) or BROKEN_TIMES_PATTERN.match(line) for line in text.splitlines())


def read_json(text: str, origin: str) -> ParsedTranscript:
    """Parse a transcript in JSON: a recogniser's segments, or a table of turns."""
    found = parse_json(text, origin)
    if isinstance(found, tables.ParsedTable):
        return tables.parse_table(found, origin)
    if not found.keys().isdisjoint({whisper.SEGMENTS, whisper.TRANSCRIPTION}):
        return whisper.parse_whisper(found, origin)
    raise MoodlineError(
        f"{origin} has the keys {', '.join(map(repr, found)) or '(none)'}, expected {whisper.SEGMENTS} (Whisper, "
        f"WhisperX), {whisper.TRANSCRIPTION} (whisper.cpp), or a list of turns. Check the file.",
        code="transcript.invalid_json",
    )


def parse_json(text: str, origin: str) -> tables.ParsedTable | Mapping[str, Any]:
    """Parse JSON as a table, from a list or from an object a line, or else as one object."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_json_lines(text):
            return tables.parse_json_lines_table(text, origin)
        raise MoodlineError(
            f"{origin} is not valid JSON: {error}. Export it again.", code="transcript.invalid_json"
        ) from error
    if isinstance(content, list):
        return tables.parse_json_list_table(content, origin)
    return tables.parse_json_lines_table(text, origin) if is_turn(content) and is_json_lines(text) else content


def is_turn(content: Mapping[str, Any]) -> bool:
    """Check whether an object is a table's only row; a recogniser's object also has a text, beside its segments."""
    columns = match_columns(content, tables.COLUMN_ALIASES)
    said = isinstance(content.get(columns.get("words", "")), str) and whisper.SEGMENTS not in content
    return said or "start" in columns


def is_json_lines(text: str) -> bool:
    """Check whether the first line is a complete object."""
    try:
        return isinstance(json.loads(text.lstrip().split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


# In this order: a test whether a text is meant in the format, even if malformed, and its parser.
FORMATS: Sequence[tuple[Callable[[str], bool], Callable[[str, str], ParsedTranscript]]] = (
    (is_vtt, subtitles.parse_vtt),
    (textgrid.is_textgrid, textgrid.parse_textgrid),
    (is_json, read_json),
    (rttm.is_rttm, rttm.parse_rttm),
    (tables.is_table, tables.parse_csv),
    (is_srt, subtitles.parse_srt),
)
FORMAT_LIST = "SRT, WebVTT, TextGrid, RTTM, JSON of Whisper, WhisperX or whisper.cpp, CSV with a header, or JSON lines"


TranscriptFormatter = Callable[[Sequence[Segment]], str]

WRITERS: Mapping[str, TranscriptFormatter] = {
    ".srt": subtitles.format_srt,
    ".vtt": subtitles.format_vtt,
    ".textgrid": textgrid.format_textgrid,
    ".json": whisper.format_whisper,
    ".csv": tables.format_csv,
    ".jsonl": tables.format_json_lines,
    ".rttm": rttm.format_rttm,
}


WORDLESS_SUFFIXES = frozenset({".rttm"})


def write_transcript(path: Path, turns: Sequence[Segment]) -> None:
    """Write turns atomically, times to the millisecond; ``read_transcript`` reads them again.

    RTTM holds no words, a TextGrid no turns without words, and no format holds channels.

    Raises:
        MoodlineError: the ending belongs to no format, or the file cannot be written
    """
    find_writer(path)
    write_text(path, format_transcript(path.suffix, turns))


def format_transcript(ending: str, turns: Sequence[Segment]) -> str:
    """Format turns in the format of one of the endings of ``WRITERS``."""
    return WRITERS[ending.lower()]([join_lines(turn) for turn in turns])


def join_lines(turn: Segment) -> Segment:
    """Put a turn's words and speaker on one line each."""
    words = None if turn.words is None else " ".join(turn.words.split())
    return replace(turn, speaker=" ".join(turn.speaker.split()), words=words)


def find_writer(path: Path) -> TranscriptFormatter:
    """Find the writer for a file's ending.

    Raises:
        MoodlineError: the ending belongs to no format
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise MoodlineError(
            f"{path} has {path.suffix or 'no ending'}, which is no transcript format. Name it with one of "
            f"{', '.join(WRITERS)}.",
            code="transcript.unknown_ending",
        )
    return writer


def refuse_wordless_format(path: Path) -> None:
    """Refuse a file whose format cannot hold words.

    Raises:
        MoodlineError: the ending belongs to no format, or to one without words
    """
    find_writer(path)
    if path.suffix.lower() in WORDLESS_SUFFIXES:
        worded = ", ".join(ending for ending in WRITERS if ending not in WORDLESS_SUFFIXES)
        raise MoodlineError(
            f"{path} cannot hold words: {path.suffix} has none. Name it with one of {worded}.",
            code="transcript.wordless_format",
        )
