"""NIST's Rich Transcription Time Marked files, .rttm: speakers and times, without words (RT-09 evaluation plan, A)."""

import re
from collections.abc import Sequence

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import format_count, quote
from moodline.transcripts.transcript import ParsedTranscript, build_error, format_places

NAME = "RTTM"
SPEAKER, MISSING, COMMENT = "SPEAKER", "<NA>", ";;"
OTHER_TYPES = frozenset(  # types of lines that are not turns
    {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"}
    | {"FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR-INFO"}
)
TYPE_PATTERN = "|".join(map(re.escape, (SPEAKER, *OTHER_TYPES)))
PATTERN = re.compile(  # lines of comments, and one of five or more cells
    rf"\s*(?:(?<![^\r\n]){COMMENT}[^\r\n]*[\r\n]\s*)*(?:{TYPE_PATTERN})(?:[^\S\r\n]+\S+){{4}}"
)


def parse_rttm(text: str, origin: str) -> ParsedTranscript:
    """Parse the turns of the file's one recording; refuse several recordings."""
    lines = [
        (f"{origin}:{number}", cells)
        for number, line in enumerate(text.splitlines(), start=1)
        if (cells := line.split()) and not line.startswith(COMMENT)
    ]
    turns = [(place, cells) for place, cells in lines if cells[0] not in OTHER_TYPES]
    cues = [(place, parse_turn(cells, place)) for place, cells in turns]
    recordings = list(dict.fromkeys(cells[1] for _, cells in turns))
    if len(recordings) > 1:
        found = f"{format_count(len(recordings), 'recording')} ({format_places(recordings)})"
        raise build_error(origin, found, "the lines of one", "transcript.several_recordings")
    others = len(lines) - len(turns)
    notes = [f"{format_count(others, 'line')} of other types than {SPEAKER} skipped"] if others else []
    return ParsedTranscript(NAME, cues, notes)


def parse_turn(cells: Sequence[str], place: str) -> Segment:
    try:
        kind, _, _, start, duration, _, _, name, *_ = cells
        if kind != SPEAKER:
            raise ValueError
        begin = float(start)
        end = round(begin + float(duration), 6)  # not 0.30000000000000004 of 0.1 and 0.2
    except ValueError:
        expected = f"{SPEAKER} file channel start duration {MISSING} {MISSING} name {MISSING} {MISSING}"
        raise build_error(place, quote(" ".join(cells)), expected, "transcript.invalid_line") from None
    return Segment(start=begin, end=end, speaker=UNKNOWN if name == MISSING else name)


def format_rttm(turns: Sequence[Segment]) -> str:
    """Format turns without words, and ``_`` for blanks in names, which RTTM cannot hold."""
    names = [MISSING if turn.speaker == UNKNOWN else re.sub(r"\s+", "_", turn.speaker) for turn in turns]
    return "".join(
        f"{SPEAKER} recording 1 {turn.start:.3f} {turn.end - turn.start:.3f} {MISSING} {MISSING} {name} {MISSING} "
        f"{MISSING}\n"
        for turn, name in zip(turns, names, strict=True)
    )
