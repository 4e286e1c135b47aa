"""Transcripts of recordings: cues as files spell them, the checked segments, and their fit to the recording."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError, format_count

# Not words: HTML tags in subtitles, overrides such as {\an8}, and the notes around song.
BREAK_PATTERN = re.compile(r"<br\s*/?>", re.IGNORECASE)
MARKUP_PATTERN = re.compile(r"</?(?:i|b|u|s|em|strong|font|span)(?:\s[^<>]*)?>|\{\\[^{}]*\}|[♩♪♫♬🎵🎶]", re.IGNORECASE)
MAX_SHOWN = 3  # places that a note lists


@dataclass(frozen=True, slots=True)
class Transcript:
    """Hold the turns of a recording, read from a file.

    Attributes:
        turns: in order of their starts; they may overlap or repeat
        format: its name, for people
        notes: sentences on omissions and guesses
        language: as the file spells it; None if the file does not state it
    """

    turns: tuple[Segment, ...]
    format: str
    notes: tuple[str, ...] = ()
    language: str | None = None


class Cue(NamedTuple):
    """Pair a segment as a file spells it, unchecked, with its place in the file, for errors and notes."""

    place: str
    segment: Segment


@dataclass(frozen=True, slots=True)
class ParsedTranscript:
    """Hold the content of a file, before it is checked."""

    format: str
    cues: Sequence[Cue]
    notes: list[str] = field(default_factory=list)
    language: str | None = None


def build_transcript(parsed: ParsedTranscript, path: Path) -> Transcript:
    """Clean cues into turns, words without markup and on one line; leave out and note cues without words or length.

    Raises:
        MoodlineError: a time is negative or infinite, or no turn remains
    """
    empty: list[str] = []
    instants: list[str] = []
    turns: list[Segment] = []
    for place, found in parsed.cues:
        turn = clean_segment(found, place)
        if turn.words == "":
            empty.append(place)
        elif turn.end <= turn.start:
            instants.append(place)
        else:
            turns.append(turn)
    notes = [*parsed.notes]
    if empty:
        notes.append(f"{format_count(len(empty), 'cue')} without words left out: {format_places(empty)}")
    if instants:
        notes.append(
            f"{format_count(len(instants), 'cue')} whose end is not after the start left out: "
            f"{format_places(instants)}; "
            "correct these times to have their words"
        )
    if not turns:
        why = "; ".join(notes) or f"read as {parsed.format}, it has no cue"
        raise MoodlineError(f"{path} holds no turn ({why}). Check the file.", code="transcript.no_turns")
    turns.sort(key=lambda turn: turn.start)
    return Transcript(tuple(turns), parsed.format, tuple(notes), parsed.language)


def clean_segment(found: Segment, place: str) -> Segment:
    """Remove markup from a segment's words, and extra blanks from its speaker.

    Raises:
        MoodlineError: a time is negative or not finite
    """
    for time in (found.start, found.end):
        if not 0 <= time < math.inf:
            raise MoodlineError(
                f"{place} has the time {time}; times are finite seconds and not negative. Correct that cue.",
                code="transcript.invalid_time",
            )
    words = None if found.words is None else remove_markup(found.words)
    return replace(found, speaker=" ".join(found.speaker.split()) or UNKNOWN, words=words)


def remove_markup(words: str) -> str:
    """Put words on one line, without markup."""
    return " ".join(MARKUP_PATTERN.sub("", BREAK_PATTERN.sub(" ", words)).split())


def format_places(found: Sequence[str]) -> str:
    """List the first of some places, and count the others."""
    more = f" and {len(found) - MAX_SHOWN:,} more" if len(found) > MAX_SHOWN else ""
    return ", ".join(found[:MAX_SHOWN]) + more


# In seconds: transcripts round times to the millisecond, and an end may pass the recording's by that much.
ROUNDING_TOLERANCE = 0.001
MAX_OUTSIDE_SHARE = 0.5  # of turns after the end; a transcript with more of them belongs to another recording


def fit_to_duration(transcript: Transcript, duration: float) -> Transcript:
    """Keep the turns that begin before the recording's end, cut at the end; note each change.

    Args:
        duration: of the recording, in seconds

    Raises:
        MoodlineError: more than half of the turns begin past the end
    """
    past = [turn for turn in transcript.turns if turn.start >= duration]
    last = max(turn.end for turn in transcript.turns)
    if len(past) > MAX_OUTSIDE_SHARE * len(transcript.turns):
        raise MoodlineError(
            f"the transcript belongs to another recording: {len(past):,} of its "
            f"{format_count(len(transcript.turns), 'turn')} begin{'s' * (len(past) == 1)} after the recording's end "
            f"at {duration:.1f} s, and the last ends at {last:.1f} s. Give the recording's own transcript.",
            code="transcript.other_recording",
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
