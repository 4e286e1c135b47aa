"""NIST's Rich Transcription Time Marked files, .rttm: speakers and times, without words (RT-09 evaluation plan, A)."""

import re
from collections.abc import Sequence

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError, format_count
from moodline.transcripts.subtitles import round_to_milliseconds
from moodline.transcripts.transcript import Cue, ParsedTranscript

NAME = "RTTM"
SPEAKER = "SPEAKER"
OTHER_TYPES = frozenset(  # types of lines that are not turns
    {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"}
    | {"FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR-INFO"}
)
MISSING = "<NA>"
COMMENT = ";;"


def is_rttm(text: str) -> bool:
    """Check whether the first line that is not a comment is RTTM's."""
    cells = next((line.split() for line in text.splitlines() if line.strip() and not line.startswith(COMMENT)), [])
    return len(cells) > 4 and cells[0] in OTHER_TYPES | {SPEAKER}


def parse_rttm(text: str, origin: str) -> ParsedTranscript:
    """Parse the turns of the file's one recording.

    Raises:
        MoodlineError: a line is not RTTM's, or the file describes several recordings
    """
    cues: list[Cue] = []
    recordings: dict[str, None] = {}
    others = 0
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells or line.startswith(COMMENT):
            continue
        if cells[0] in OTHER_TYPES:
            others += 1
            continue
        cues.append(parse_cue(cells, f"{origin}:{number}"))
        recordings[cells[1]] = None
    if len(recordings) > 1:
        raise MoodlineError(
            f"{origin} describes {format_count(len(recordings), 'recording')} "
            f"({', '.join(list(recordings)[:3])}{', ...' if len(recordings) > 3 else ''}). Keep the lines of one.",
            code="transcript.several_recordings",
        )
    notes = [f"{format_count(others, 'line')} of other types than {SPEAKER} skipped"] if others else []
    return ParsedTranscript(NAME, cues, notes)


def parse_cue(cells: Sequence[str], place: str) -> Cue:
    try:
        kind, _, _, start, duration, _, _, name, *_ = cells
        if kind != SPEAKER:
            raise ValueError
        begin = float(start)
        end = round(begin + float(duration), 6)  # not 0.30000000000000004 of 0.1 and 0.2
    except ValueError:
        raise MoodlineError(
            f"{place} has {' '.join(cells)[:80]!r}, expected {SPEAKER} file channel start duration {MISSING} {MISSING} "
            f"name {MISSING} {MISSING}. Correct that line.",
            code="transcript.invalid_line",
        ) from None
    return Cue(place, Segment(start=begin, end=end, speaker=UNKNOWN if name == MISSING else name))


def format_rttm(turns: Sequence[Segment]) -> str:
    """Format turns without words; times to the millisecond, and ``_`` for blanks in names, which RTTM cannot hold."""
    return "".join(f"{format_line(turn)}\n" for turn in turns)


def format_line(turn: Segment) -> str:
    start, end = round_to_milliseconds(turn)
    name = MISSING if turn.speaker == UNKNOWN else re.sub(r"\s+", "_", turn.speaker)
    times = f"{start / 1000:.3f} {(end - start) / 1000:.3f}"
    return f"{SPEAKER} recording 1 {times} {MISSING} {MISSING} {name} {MISSING} {MISSING}"
