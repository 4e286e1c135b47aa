"""The columns of anyone's table: the names they may have, and the text of their cells."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from moodline.delimited import columns_of, plain_name, seconds_of
from moodline.errors import MoodlineError

# Column -> names, without capitals and without anything but letters and digits; an earlier one is preferred.
NAMES: Mapping[str, tuple[str, ...]] = {
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
ALIKE = 0.7  # of difflib's ratio: emotoin and emotion_label are emotion
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


def recognised(found: Iterable[str]) -> dict[str, str]:
    """Column -> the name that it has in a table.

    ``utterance`` is the words where no other column holds them, as in MELD's tables, and the id where one does.
    """
    found = list(found)
    columns = columns_of(found, NAMES)
    spoken = columns_of(found, {"words": ("utterance",)})
    if "words" not in columns and spoken:
        columns |= spoken
        if columns["utterance"] == spoken["words"]:
            del columns["utterance"]
    return columns


def meant_for(column: str, passed_over: Iterable[str]) -> tuple[str, str] | None:
    """Of a table's names that are not read, the first that looks like a column's, and that one; None if none does."""
    for name in passed_over:
        if close := difflib.get_close_matches(plain_name(name), NAMES[column], n=1, cutoff=ALIKE):
            return name, close[0]
    return None


def text_of_cell(value: Any) -> str:
    """A cell's text; what is missing, as None or NaN, is empty, and a whole number has no decimals.

    Raises:
        MoodlineError: a list, an object or bytes, or a text with half a character in it
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if not isinstance(value, str | int | float):
        raise MoodlineError(f"a cell holds a text or a number, not {type(value).__name__}")
    text = str(value).strip()
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise MoodlineError(f"a text is made of whole Unicode characters, not {text!a}")
    return text


def time_of(cells: Mapping[str, str], column: str) -> float | None:
    """A cell's time in seconds; None where it is empty.

    Raises:
        MoodlineError: it is no time
    """
    text = cells.get(column, "")
    if not text:
        return None
    seconds = seconds_of(text)
    if seconds is None or not 0 <= seconds < math.inf:
        raise MoodlineError(f"{column} is a time, in seconds or HH:MM:SS.mmm and not negative, not {text!r}")
    return seconds


def split_of(cells: Mapping[str, str]) -> str | None:
    """The published set, by its usual names.

    Raises:
        MoodlineError: it is none of them
    """
    text = cells.get("split", "")
    if text and text.lower() not in SPLIT_NAMES:
        raise MoodlineError(f"split is one of train, validation and test, not {text!r}")
    return SPLIT_NAMES[text.lower()] if text else None
