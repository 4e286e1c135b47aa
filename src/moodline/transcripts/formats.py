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

SAMPLE_BYTES = 4096  # bytes by which a file that is no text is told
BINARY_PATTERN = re.compile(r"[\x00-\x08\x0e-\x19]")  # control characters; the last that is left out ends files of DOS
FORMATS_BY_SUFFIX: Mapping[str, tuple[str, ...]] = {  # those that only mean one format, and what may be told in them
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
    """The turns of a file of SRT, WebVTT, TextGrid, RTTM, JSON of Whisper, WhisperX or whisper.cpp, CSV or JSON lines.

    UTF-8 and UTF-16 are known by their marks and bytes; anything else is taken for Windows-1252, which is noted.

    Raises:
        MoodlineError: the file cannot be read, is empty, no text or of none of these formats; a cue is malformed; or
            there is no turn
    """
    text, encoding = read_text(path)
    told = parse_by_content(text, str(path))
    told.notes.extend(collect_notes(path, told.format, encoding))
    return build_transcript(told, path)


def collect_notes(path: Path, format: str, encoding: str) -> list[str]:
    """What was guessed of a file's encoding, and of its format against its ending."""
    notes: list[str] = []
    if encoding not in ("UTF-8", "UTF-16"):
        notes.append(f"{path} is not in UTF-8 and was read as {encoding}: check letters with accents")
    if format not in FORMATS_BY_SUFFIX.get(path.suffix.lower(), (format,)):
        notes.append(f"{path} holds {format}, whatever its ending, and was read so")
    return notes


def read_text(path: Path, what: str = "a transcript") -> tuple[str, str]:
    """A file's text and its encoding.

    Args:
        what: the file is to be, as a sentence begins

    Raises:
        MoodlineError: it cannot be read, is empty, or is no text
    """
    try:
        with path.open("rb") as file:
            data = file.read(SAMPLE_BYTES)
            if is_text(data):  # of a recording that is given by mistake no more is read
                data += file.read()
    except (OSError, ValueError) as error:
        raise MoodlineError(f"{path} cannot be read: {getattr(error, 'strerror', error)}; check the path") from error
    if not is_text(data):
        raise MoodlineError(f"{what} is a text file: {path} is binary; give a file of {FORMAT_LIST}")
    text, encoding = decode_text(data)
    if not text.strip("\x1a\ufeff \t\r\n"):
        raise MoodlineError(f"{what} holds at least one turn: {path} is empty; check the path")
    return text, encoding


def is_text(data: bytes) -> bool:
    return BINARY_PATTERN.search(decode_text(data)[0]) is None


def parse_by_content(text: str, origin: str) -> ParsedTranscript:
    """What the first format that a text is meant in makes of it.

    Raises:
        MoodlineError: it is meant in none, or is malformed
    """
    reader = next((read for is_meant, read in FORMATS if is_meant(text)), None)
    if reader is None:
        first = next(line.strip() for line in text.splitlines() if line.strip())
        raise MoodlineError(
            f"a transcript is in a format that is known by its content: {origin} begins with {first[:60]!r} and was "
            f"tried as {FORMAT_LIST}; convert it to one of these"
        )
    return reader(text, origin)


def is_vtt(text: str) -> bool:
    return re.match(rf"\s*{subtitles.SIGNATURE}(?:\s|$)", text) is not None


def is_json(text: str) -> bool:
    """Whether it begins as JSON does; ``[`` alone may begin the name of a speaker."""
    return re.match(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\]])", text) is not None


def is_srt(text: str) -> bool:
    return any(TIMES_PATTERN.fullmatch(line) or BROKEN_TIMES_PATTERN.match(line) for line in text.splitlines())


def read_json(text: str, origin: str) -> ParsedTranscript:
    found = parse_json(text, origin)
    if isinstance(found, tables.ParsedTable):
        return tables.parse_table(found, origin)
    if not found.keys().isdisjoint({whisper.SEGMENTS, whisper.TRANSCRIPTION}):
        return whisper.parse_whisper(found, origin)
    raise MoodlineError(
        f"a transcript in JSON has {whisper.SEGMENTS} (Whisper, WhisperX), {whisper.TRANSCRIPTION} "
        f"(whisper.cpp), or is a list of turns: {origin} has {', '.join(map(repr, found)) or 'nothing'}; check the "
        "file"
    )


def parse_json(text: str, origin: str) -> tables.ParsedTable | Mapping[str, Any]:
    """JSON by its keys: a table, of which several objects, one a line, are one; or an object that is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_json_lines(text):
            return tables.parse_json_lines_table(text, origin)
        raise MoodlineError(f"{origin} begins as JSON and is none: {error}; write it again") from error
    if isinstance(content, list):
        return tables.parse_json_list_table(content, origin)
    return tables.parse_json_lines_table(text, origin) if is_turn(content) and is_json_lines(text) else content


def is_turn(content: Mapping[str, Any]) -> bool:
    """Whether an object is a table's only row: recognisers have texts too, beside segments."""
    columns = match_columns(content, tables.COLUMN_ALIASES)
    said = isinstance(content.get(columns.get("words", "")), str) and whisper.SEGMENTS not in content
    return said or "start" in columns


def is_json_lines(text: str) -> bool:
    """Whether the first line is a whole object."""
    try:
        return isinstance(json.loads(text.lstrip().split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


# In this order: whether a text is meant in a format, even if it is malformed, and what reads it.
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
    """Write turns whole or not at all; ``reading.read_transcript`` reads them again, times to the millisecond.

    What a format cannot hold is told where it is written: RTTM has no words, a TextGrid no turns without words.
    Channels are in none.

    Raises:
        MoodlineError: the ending is of none of the formats, or the file cannot be written
    """
    find_writer(path)
    write_text(path, format_transcript(path.suffix, turns))


def format_transcript(ending: str, turns: Sequence[Segment]) -> str:
    """What a file of one of the endings of ``WRITERS`` would hold."""
    return WRITERS[ending.lower()]([join_lines(turn) for turn in turns])


def join_lines(turn: Segment) -> Segment:
    words = None if turn.words is None else " ".join(turn.words.split())
    return replace(turn, speaker=" ".join(turn.speaker.split()), words=words)


def find_writer(path: Path) -> TranscriptFormatter:
    """What writes the format of a file's ending.

    Raises:
        MoodlineError: there is none
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise MoodlineError(
            f"a transcript's ending tells its format, one of {', '.join(WRITERS)}: {path} has "
            f"{path.suffix or 'none'}; name it so"
        )
    return writer


def refuse_wordless_format(path: Path) -> None:
    """Refuse a file that could not hold what is said.

    Raises:
        MoodlineError: its ending is of no format, or of one that has turns without words
    """
    find_writer(path)
    if path.suffix.lower() in WORDLESS_SUFFIXES:
        worded = ", ".join(ending for ending in WRITERS if ending not in WORDLESS_SUFFIXES)
        raise MoodlineError(
            f"{path} is to hold words, and {path.suffix} has turns without any: name it with one of {worded}"
        )
