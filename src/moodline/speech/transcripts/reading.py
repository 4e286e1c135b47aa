"""Reading a transcript: its characters, and its format by what it holds; the file's ending is only compared."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moodline.delimited import columns_of, decoded
from moodline.errors import MoodlineError
from moodline.speech.transcripts import rttm, srt, table, textgrid, vtt, whisper_json
from moodline.speech.transcripts.cues import MEANT_AS_TIMES, TIMES
from moodline.speech.transcripts.transcript import Told, Transcript, transcript_of

GLANCE = 4096  # bytes by which a file that is no text is told
NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x19]")  # control characters; the last that is left out ends files of DOS
ENDINGS: Mapping[str, tuple[str, ...]] = {  # those that only mean one format, and what may be told in them
    ".srt": (srt.NAME,),
    ".vtt": (vtt.NAME,),
    ".textgrid": (textgrid.NAME,),
    ".rttm": (rttm.NAME,),
    ".csv": (table.CSV,),
    ".json": (
        whisper_json.WHISPER,
        whisper_json.WHISPERX,
        whisper_json.WHISPER_CPP,
        table.JSON_LIST,
        table.JSON_LINES,
    ),
    ".jsonl": (table.JSON_LINES,),
}


def read_transcript(path: Path) -> Transcript:
    """The turns of a file of SRT, WebVTT, TextGrid, RTTM, JSON of Whisper, WhisperX or whisper.cpp, CSV or JSON lines.

    UTF-8 and UTF-16 are known by their marks and bytes; anything else is taken for Windows-1252, which is noted.

    Raises:
        MoodlineError: the file cannot be read, is empty, no text or of none of these formats; a cue is malformed; or
            there is no turn
    """
    text, encoding = text_of(path)
    told = told_by_content(text, str(path))
    told.notes.extend(notes_of(path, told.format, encoding))
    return transcript_of(told, path)


def notes_of(path: Path, format: str, encoding: str) -> list[str]:
    """What was guessed of a file's encoding, and of its format against its ending."""
    notes: list[str] = []
    if encoding not in ("UTF-8", "UTF-16"):
        notes.append(f"{path} is not in UTF-8 and was read as {encoding}: check letters with accents")
    if format not in ENDINGS.get(path.suffix.lower(), (format,)):
        notes.append(f"{path} holds {format}, whatever its ending, and was read so")
    return notes


def text_of(path: Path, what: str = "a transcript") -> tuple[str, str]:
    """A file's text and its encoding.

    Args:
        what: the file is to be, as a sentence begins

    Raises:
        MoodlineError: it cannot be read, is empty, or is no text
    """
    try:
        with path.open("rb") as file:
            data = file.read(GLANCE)
            if is_text(data):  # of a recording that is given by mistake no more is read
                data += file.read()
    except (OSError, ValueError) as error:
        raise MoodlineError(f"{path} cannot be read: {getattr(error, 'strerror', error)}; check the path") from error
    if not is_text(data):
        raise MoodlineError(f"{what} is a text file: {path} is binary; give a file of {FORMATS_IN_WORDS}")
    text, encoding = decoded(data)
    if not text.strip("\x1a\ufeff \t\r\n"):
        raise MoodlineError(f"{what} holds at least one turn: {path} is empty; check the path")
    return text, encoding


def is_text(data: bytes) -> bool:
    return NO_TEXT.search(decoded(data)[0]) is None


def told_by_content(text: str, origin: str) -> Told:
    """What the first format that a text is meant in makes of it.

    Raises:
        MoodlineError: it is meant in none, or is malformed
    """
    reader = next((read for is_meant, read in FORMATS if is_meant(text)), None)
    if reader is None:
        first = next(line.strip() for line in text.splitlines() if line.strip())
        raise MoodlineError(
            f"a transcript is in a format that is known by its content: {origin} begins with {first[:60]!r} and was "
            f"tried as {FORMATS_IN_WORDS}; convert it to one of these"
        )
    return reader(text, origin)


def is_vtt(text: str) -> bool:
    return re.match(rf"\s*{vtt.BEGIN}(?:\s|$)", text) is not None


def is_json(text: str) -> bool:
    """Whether it begins as JSON does; ``[`` alone may begin the name of a speaker."""
    return re.match(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\]])", text) is not None


def is_srt(text: str) -> bool:
    return any(TIMES.fullmatch(line) or MEANT_AS_TIMES.match(line) for line in text.splitlines())


def read_json(text: str, origin: str) -> Told:
    found = json_of(text, origin)
    if isinstance(found, table.Table):
        return table.told_of(found, origin)
    if not found.keys().isdisjoint({whisper_json.SEGMENTS, whisper_json.TRANSCRIPTION}):
        return whisper_json.read(found, origin)
    raise MoodlineError(
        f"a transcript in JSON has {whisper_json.SEGMENTS} (Whisper, WhisperX), {whisper_json.TRANSCRIPTION} "
        f"(whisper.cpp), or is a list of turns: {origin} has {', '.join(map(repr, found)) or 'nothing'}; check the "
        "file"
    )


def json_of(text: str, origin: str) -> table.Table | Mapping[str, Any]:
    """JSON by its keys: a table, of which several objects, one a line, are one; or an object that is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_json_lines(text):
            return table.json_lines_table(text, origin)
        raise MoodlineError(f"{origin} begins as JSON and is none: {error}; write it again") from error
    if isinstance(content, list):
        return table.json_list_table(content, origin)
    return table.json_lines_table(text, origin) if is_a_turn(content) and is_json_lines(text) else content


def is_a_turn(content: Mapping[str, Any]) -> bool:
    """Whether an object is a table's only row: recognisers have texts too, beside segments."""
    columns = columns_of(content, table.NAMES)
    said = isinstance(content.get(columns.get("words", "")), str) and whisper_json.SEGMENTS not in content
    return said or "start" in columns


def is_json_lines(text: str) -> bool:
    """Whether the first line is a whole object."""
    try:
        return isinstance(json.loads(text.lstrip().split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


# In this order: whether a text is meant in a format, even if it is malformed, and what reads it.
FORMATS: Sequence[tuple[Callable[[str], bool], Callable[[str, str], Told]]] = (
    (is_vtt, vtt.read),
    (textgrid.is_meant, textgrid.read),
    (is_json, read_json),
    (rttm.is_meant, rttm.read),
    (table.is_meant, table.read_csv),
    (is_srt, srt.read),
)
FORMATS_IN_WORDS = (
    "SRT, WebVTT, TextGrid, RTTM, JSON of Whisper, WhisperX or whisper.cpp, CSV with a header, or JSON lines"
)
