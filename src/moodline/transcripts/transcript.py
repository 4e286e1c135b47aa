"""A transcript of a recording: cues parsed from a file, its segments, and its fit to the recording."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError, format_count

# How words are drawn, and no words: HTML's tags in subtitles, overrides as {\an8}, and the notes around what is sung.
BREAK_PATTERN = re.compile(r"<br\s*/?>", re.IGNORECASE)
MARKUP_PATTERN = re.compile(r"</?(?:i|b|u|s|em|strong|font|span)(?:\s[^<>]*)?>|\{\\[^{}]*\}|[♩♪♫♬🎵🎶]", re.IGNORECASE)
MAX_SHOWN = 3  # places of one kind that a note names


@dataclass(frozen=True, slots=True)
class Transcript:
    """The turns of a recording as a file tells them.

    Attributes:
        turns: in order of their starts, those that overlap too; no two of them need differ
        format: its name, for people
        notes: sentences on what was left out or guessed
        language: as the file spells it; None where it does not tell
    """

    turns: tuple[Segment, ...]
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
class ParsedTranscript:
    """What the reader of a format found in a file."""

    format: str
    cues: Sequence[Cue]
    notes: list[str] = field(default_factory=list)
    language: str | None = None


def build_transcript(told: ParsedTranscript, path: Path) -> Transcript:
    """Turns of cues: words without markup and on one line; what has no words or no length is left out and noted.

    Raises:
        MoodlineError: a time is negative or not finite, or no turn is left
    """
    cues = [(cue, clean_cue(cue)) for cue in told.cues]
    empty = [cue for cue, words in cues if words == ""]
    instants = [cue for cue, words in cues if words != "" and cue.end <= cue.start]
    turns = [
        Segment(start=cue.start, end=cue.end, speaker=" ".join(cue.speaker.split()) or UNKNOWN, words=words)
        for cue, words in cues
        if words != "" and cue.end > cue.start
    ]
    notes = [*told.notes]
    if empty:
        notes.append(
            f"{format_count(len(empty), 'cue')} without words left out: {format_places([cue.place for cue in empty])}"
        )
    if instants:
        notes.append(
            f"{format_count(len(instants), 'cue')} whose end is not after the start left out: "
            f"{format_places([cue.place for cue in instants])}; "
            "correct these times to have their words"
        )
    if not turns:
        why = "; ".join(notes) or f"as {told.format} it holds no cue"
        raise MoodlineError(f"a transcript holds at least one turn: {path} holds none ({why}); check the file")
    turns.sort(key=lambda turn: turn.start)
    return Transcript(tuple(turns), told.format, tuple(notes), told.language)


def clean_cue(cue: Cue) -> str | None:
    """A cue's words without markup.

    Raises:
        MoodlineError: its times are no times
    """
    for time in (cue.start, cue.end):
        if not 0 <= time < math.inf:
            raise MoodlineError(f"times are in seconds and not negative: {cue.place} has {time}; correct that cue")
    return None if cue.words is None else remove_markup(cue.words)


def remove_markup(words: str) -> str:
    """Words on one line without markup."""
    return " ".join(MARKUP_PATTERN.sub("", BREAK_PATTERN.sub(" ", words)).split())


def format_places(found: Sequence[str]) -> str:
    """The first of some places."""
    more = f" and {len(found) - MAX_SHOWN:,} more" if len(found) > MAX_SHOWN else ""
    return ", ".join(found[:MAX_SHOWN]) + more


ROUNDING_TOLERANCE = (
    0.001  # seconds: transcripts have times to the millisecond, and so an end may come after the recording's
)
MAX_OUTSIDE_SHARE = 0.5  # of the turns past the end: with more of them it is another recording's transcript


def fit_to_duration(transcript: Transcript, duration: float) -> Transcript:
    """The turns that begin before the recording's end, none of them longer than it; what is changed is noted.

    Args:
        duration: of the recording, in seconds

    Raises:
        MoodlineError: more than half of the turns begin past the end
    """
    past = [turn for turn in transcript.turns if turn.start >= duration]
    last = max(turn.end for turn in transcript.turns)
    if len(past) > MAX_OUTSIDE_SHARE * len(transcript.turns):
        raise MoodlineError(
            f"this is a transcript of another recording: {len(past):,} of its "
            f"{format_count(len(transcript.turns), 'turn')} "
            f"begin{'s' * (len(past) == 1)} after the recording's end, at {duration:.1f} s, and the last ends at "
            f"{last:.1f} s; give the recording's own transcript"
        )
    turns = [turn for turn in transcript.turns if turn.start < duration]
    long = [turn for turn in turns if turn.end > duration + ROUNDING_TOLERANCE]
    notes = [*transcript.notes]
    if past:
        notes.append(
            f"{format_count(len(past), 'turn')} of the transcript left out, from {past[0].start:.1f} s on, as the "
            f"recording "
            f"ends at {duration:.1f} s"
        )
    if long:
        notes.append(
            f"{format_count(len(long), 'turn')} cut at the recording's end, at {duration:.1f} s, the first from "
            f"{long[0].start:.1f} s to {long[0].end:.1f} s"
        )
    cut = tuple(replace(turn, end=min(turn.end, duration)) for turn in turns)
    return replace(transcript, turns=cut, notes=tuple(notes))
