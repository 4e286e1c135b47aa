"""NIST's Rich Transcription Time Marked files, .rttm: who speaks when, without words (RT-09 evaluation plan, A)."""

import re
from collections.abc import Sequence

from moodline.errors import MoodlineError
from moodline.speech.transcripts.cues import milliseconds
from moodline.speech.transcripts.transcript import Cue, Told
from moodline.speech.turn import UNKNOWN, Turn
from moodline.wording import counted

NAME = "RTTM"
SPEAKER = "SPEAKER"
OTHERS = frozenset(  # what else a line may tell
    {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"}
    | {"FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR-INFO"}
)
NONE = "<NA>"
COMMENT = ";;"


def is_meant(text: str) -> bool:
    """Whether the first line that is no comment is one of RTTM's."""
    cells = next((line.split() for line in text.splitlines() if line.strip() and not line.startswith(COMMENT)), [])
    return len(cells) > 4 and cells[0] in OTHERS | {SPEAKER}


def read(text: str, origin: str) -> Told:
    """The turns of the file's one recording.

    Raises:
        MoodlineError: a line is not RTTM's, or the file tells of several recordings
    """
    cues: list[Cue] = []
    recordings: dict[str, None] = {}
    others = 0
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells or line.startswith(COMMENT):
            continue
        if cells[0] in OTHERS:
            others += 1
            continue
        cues.append(cue_of(cells, f"{origin}:{number}"))
        recordings[cells[1]] = None
    if len(recordings) > 1:
        raise MoodlineError(
            f"a transcript is of one recording: {origin} tells of {counted(len(recordings), 'recording')} "
            f"({', '.join(list(recordings)[:3])}{', ...' if len(recordings) > 3 else ''}); keep the lines of one"
        )
    notes = [f"{counted(others, 'line')} of other types than {SPEAKER} passed over"] if others else []
    return Told(NAME, cues, notes)


def cue_of(cells: Sequence[str], place: str) -> Cue:
    try:
        kind, _, _, start, duration, _, _, name, *_ = cells
        if kind != SPEAKER:
            raise ValueError
        begin = float(start)
        end = round(begin + float(duration), 6)  # not 0.30000000000000004 of 0.1 and 0.2
    except ValueError:
        raise MoodlineError(
            f"a line of RTTM is {SPEAKER} file channel start duration {NONE} {NONE} name {NONE} {NONE}: {place} has "
            f"{' '.join(cells)[:80]!r}; correct that line"
        ) from None
    return Cue(place=place, start=begin, end=end, words=None, speaker="" if name == NONE else name)


def written(turns: Sequence[Turn]) -> str:
    """Times to the millisecond; blanks in names, which the format cannot hold, become ``_``, and words are left out."""
    return "".join(f"{line_of(turn)}\n" for turn in turns)


def line_of(turn: Turn) -> str:
    start, end = milliseconds(turn)
    name = NONE if turn.speaker == UNKNOWN else re.sub(r"\s+", "_", turn.speaker)
    return f"{SPEAKER} recording 1 {start / 1000:.3f} {(end - start) / 1000:.3f} {NONE} {NONE} {name} {NONE} {NONE}"
