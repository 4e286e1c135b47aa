"""Transcripts of recordings: cues as files spell them, the checked turns, and their fit to the recording."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from moodline.conversation import Segment
from moodline.errors import MoodlineError, format_count

# Not words: HTML tags in subtitles, overrides such as {\an8}, and the notes around song.
BREAK_PATTERN = re.compile(r"<br\s*/?>", re.IGNORECASE)
MARKUP_PATTERN = re.compile(r"</?(?:i|b|u|s|em|strong|font|span)(?:\s[^<>]*)?>|\{\\[^{}]*\}|[♩♪♫♬🎵🎶]", re.IGNORECASE)
MAX_SHOWN = 3  # places that a note lists
# In seconds: transcripts round times to the millisecond, and an end may pass the recording's by that much.
ROUNDING_TOLERANCE = 0.001
MAX_OUTSIDE_SHARE = 0.5  # of turns after the end; a transcript with more of them belongs to another recording

Cue = tuple[str, Segment]  # its place in the file, for errors and notes, and a segment as the file spells it


@dataclass(frozen=True, slots=True)
class Transcript:
    """The turns of a recording in order of their starts, and notes, sentences on omissions and guesses."""

    turns: tuple[Segment, ...]
    format: str
    notes: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedTranscript:
    """The content of a file, before it is checked; ``format`` is for people, ``language`` as the file spells it."""

    format: str
    cues: Sequence[Cue]
    notes: list[str] = field(default_factory=list)
    language: str | None = None


def build_error(place: str, found: str, expected: str, code: str) -> MoodlineError:
    """Describe a malformed part of a file."""
    return MoodlineError(f"{place} has {found}, expected {expected}. Correct it.", code=code)


def remove_markup(words: str) -> str:
    """Put words on one line, without markup."""
    return " ".join(MARKUP_PATTERN.sub("", BREAK_PATTERN.sub(" ", words)).split())


def format_places(found: Sequence[str]) -> str:
    """List the first of some places, and count the others."""
    more = f" and {len(found) - MAX_SHOWN:,} more" if len(found) > MAX_SHOWN else ""
    return ", ".join(found[:MAX_SHOWN]) + more


def fit_to_duration(transcript: Transcript, duration: float) -> Transcript:
    """Cut turns at the recording's end, in seconds, and note it; refuse a transcript mostly after the end."""
    turns = [turn for turn in transcript.turns if turn.start < duration]
    past = [turn for turn in transcript.turns if turn.start >= duration]
    long = [turn for turn in turns if turn.end > duration + ROUNDING_TOLERANCE]
    end, last = f"at {duration:.1f} s", max(turn.end for turn in transcript.turns)
    if len(past) > MAX_OUTSIDE_SHARE * len(transcript.turns):
        raise MoodlineError(
            f"the transcript belongs to another recording: {len(past):,} of its "
            f"{format_count(len(transcript.turns), 'turn')} begin{'s' * (len(past) == 1)} after the recording's end "
            f"{end}, and the last ends at {last:.1f} s. Give the recording's own transcript.",
            code="transcript.other_recording",
        )
    notes = [*transcript.notes]
    if past:
        left_out = f"{format_count(len(past), 'turn')} of the transcript left out, from {past[0].start:.1f} s on"
        notes.append(f"{left_out}, as the recording ends {end}")
    if long:
        cut = f"{format_count(len(long), 'turn')} cut at the recording's end, {end}"
        notes.append(f"{cut}, the first from {long[0].start:.1f} s to {long[0].end:.1f} s")
    fitted = tuple(replace(turn, end=min(turn.end, duration)) for turn in turns)
    return replace(transcript, turns=fitted, notes=tuple(notes))
