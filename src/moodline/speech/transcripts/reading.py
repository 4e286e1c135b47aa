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
    if encoding not in ("UTF-8", "UTF-16"):
        told.notes.append(f"{path} is not in UTF-8 and was read as {encoding}: check letters with accents")
    expected = ENDINGS.get(path.suffix.lower(), (told.format,))
    if told.format not in expected:
        told.notes.append(f"{path} holds {told.format}, whatever its ending, and was read so")
    return transcript_of(told, path)


def text_of(path: Path) -> tuple[str, str]:
    """A file's text and its encoding.

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
        raise MoodlineError(f"a transcript is a text file: {path} is binary; give a file of {FORMATS_IN_WORDS}")
    text, encoding = decoded(data)
    if not text.strip("\x1a\ufeff \t\r\n"):
        raise MoodlineError(f"a transcript holds at least one turn: {path} is empty; check the path")
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
    """JSON by its keys; several objects, one a line, are JSON lines."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_json_lines(text):
            return table.read_json_lines(text, origin)
        raise MoodlineError(f"{origin} begins as JSON and is none: {error}; write it again") from error
    return read_content(content, text, origin)


def is_json_lines(text: str) -> bool:
    """Whether the first line is a whole object."""
    try:
        return isinstance(json.loads(text.lstrip().split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


def read_content(content: Any, text: str, origin: str) -> Told:
    if isinstance(content, list):
        return table.read_json_list(content, origin)
    if "start" in columns_of(content, table.NAMES) and is_json_lines(text):  # of which this is the only one
        return table.read_json_lines(text, origin)
    if not content.keys().isdisjoint({whisper_json.SEGMENTS, whisper_json.TRANSCRIPTION}):
        return whisper_json.read(content, origin)
    raise MoodlineError(
        f"a transcript in JSON has {whisper_json.SEGMENTS} (Whisper, WhisperX), {whisper_json.TRANSCRIPTION} "
        f"(whisper.cpp), or is a list of turns: {origin} has {', '.join(map(repr, content)) or 'nothing'}; check the "
        "file"
    )


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
