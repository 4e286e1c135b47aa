"""A transcript of a recording, and how what a file tells becomes its turns."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moodline.errors import MoodlineError
from moodline.speech.turn import UNKNOWN, Turn
from moodline.wording import counted

# How words are drawn, and no words: HTML's tags in subtitles, overrides as {\an8}, and the notes around what is sung.
BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
MARKUP = re.compile(r"</?(?:i|b|u|s|em|strong|font|span)(?:\s[^<>]*)?>|\{\\[^{}]*\}|[♩♪♫♬🎵🎶]", re.IGNORECASE)
SHOWN = 3  # places of one kind that a note names


@dataclass(frozen=True, slots=True)
class Transcript:
    """The turns of a recording as a file tells them.

    Attributes:
        turns: in order of their starts, those that overlap too; no two of them need differ
        format: its name, for people
        notes: sentences on what was left out or guessed
        language: as the file spells it; None where it does not tell
    """

    turns: tuple[Turn, ...]
    format: str
    notes: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """What a file tells of a turn, right or wrong; ``place`` is where, for people."""

    place: str
    start: float
    end: float
    words: str | None
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the reader of a format found in a file."""

    format: str
    cues: Sequence[Cue]
    notes: list[str] = field(default_factory=list)
    language: str | None = None


def transcript_of(told: Told, path: Path) -> Transcript:
    """Turns of cues: words without markup and on one line; what has no words or no length is left out and noted.

    Raises:
        MoodlineError: a time is negative or not finite, or no turn is left
    """
    cues = [(cue, one_line_of(cue)) for cue in told.cues]
    empty = [cue for cue, words in cues if words == ""]
    instants = [cue for cue, words in cues if words != "" and cue.end <= cue.start]
    turns = [
        Turn(start=cue.start, end=cue.end, speaker=" ".join(cue.speaker.split()) or UNKNOWN, words=words)
        for cue, words in cues
        if words != "" and cue.end > cue.start
    ]
    notes = [*told.notes]
    if empty:
        notes.append(f"{counted(len(empty), 'cue')} without words left out: {places([cue.place for cue in empty])}")
    if instants:
        notes.append(
            f"{counted(len(instants), 'cue')} whose end is not after the start left out: "
            f"{places([cue.place for cue in instants])}; "
            "correct these times to have their words"
        )
    if not turns:
        why = "; ".join(notes) or f"as {told.format} it holds no cue"
        raise MoodlineError(f"a transcript holds at least one turn: {path} holds none ({why}); check the file")
    turns.sort(key=lambda turn: turn.start)
    return Transcript(tuple(turns), told.format, tuple(notes), told.language)


def one_line_of(cue: Cue) -> str | None:
    """A cue's words without markup.

    Raises:
        MoodlineError: its times are no times
    """
    for time in (cue.start, cue.end):
        if not 0 <= time < math.inf:
            raise MoodlineError(f"times are in seconds and not negative: {cue.place} has {time}; correct that cue")
    return None if cue.words is None else plain(cue.words)


def plain(words: str) -> str:
    """Words on one line without markup."""
    return " ".join(MARKUP.sub("", BREAK.sub(" ", words)).split())


def places(found: Sequence[str]) -> str:
    """The first of some places."""
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
