"""Transcripts of recordings: cues as files spell them, the checked turns, and their fit to the recording."""

import math
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
# Words with times are grouped to turns: a longer pause, in seconds, or the end of a sentence begins a new one.
MAX_PAUSE = 0.7
SENTENCE_END = re.compile(r"[.?!\u3002\uff0e\uff1f\uff01\u2026]['\")\]\u00bb\u201d\u2019]*\s*$")
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
    """The content of a file, before it is checked; ``format`` is for people, ``language`` as the file spells it.

    With ``has_open_end`` an infinite end of the last cue is that of the recording.
    """

    format: str
    cues: Sequence[Cue]
    notes: list[str] = field(default_factory=list)
    language: str | None = None
    has_open_end: bool = False


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


def group_words(words: Sequence[Cue]) -> list[Cue]:
    """Group words with times to turns, each at the place of its first word.

    A turn ends where the speaker or the channel changes, at a pause of more than ``MAX_PAUSE``, and after a sentence.
    """
    groups: list[list[Cue]] = []
    for place, word in words:
        last = groups[-1][-1][1] if groups else None
        continues = (
            last is not None
            and (word.speaker, word.channel) == (last.speaker, last.channel)
            and word.start - last.end <= MAX_PAUSE
            and not SENTENCE_END.search(last.words or "")
        )
        if not continues:
            groups.append([])
        groups[-1].append((place, word))
    return [(group[0][0], join_words([word for _, word in group])) for group in groups]


def join_words(words: Sequence[Segment]) -> Segment:
    said = " ".join((word.words or "").strip() for word in words)
    return replace(words[0], end=max(word.end for word in words), words=said)


def fit_to_duration(transcript: Transcript, duration: float) -> Transcript:
    """Cut turns at the recording's end, in seconds, and note it; refuse a transcript mostly after the end."""
    turns = [turn for turn in transcript.turns if turn.start < duration]
    past = [turn for turn in transcript.turns if turn.start >= duration]
    long = [turn for turn in turns if duration + ROUNDING_TOLERANCE < turn.end < math.inf]
    end, last = f"at {duration:.1f} s", max(turn.start for turn in transcript.turns)
    if len(past) > MAX_OUTSIDE_SHARE * len(transcript.turns):
        raise MoodlineError(
            f"the transcript belongs to another recording: {len(past):,} of its "
            f"{format_count(len(transcript.turns), 'turn')} begin{'s' * (len(past) == 1)} after the recording's end "
            f"{end}, and the last begins at {last:.1f} s. Give the recording's own transcript.",
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
