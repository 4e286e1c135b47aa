"""SubRip's subtitles, .srt."""

from collections.abc import Sequence

from moodline.speech.transcripts.cues import captions, clock, milliseconds
from moodline.speech.transcripts.prefixes import told_by_prefixes
from moodline.speech.transcripts.transcript import MARKUP, Cue, Told
from moodline.speech.turn import UNKNOWN, Turn

NAME = "SRT"


def read(text: str, origin: str) -> Told:
    """See ``cues.captions``; speakers as in ``prefixes``."""
    cues = [
        Cue(place=caption.place, start=caption.start, end=caption.end, words=MARKUP.sub("", caption.text))
        for caption in captions(text, origin)
    ]
    return Told(NAME, told_by_prefixes(cues))


def written(turns: Sequence[Turn]) -> str:
    """Times to the millisecond, and ``[speaker]: `` where there is one; the format cannot hold ``-->`` in words."""
    return "\n".join(f"{number}\n{cue_of(turn)}\n" for number, turn in enumerate(turns, start=1))


def cue_of(turn: Turn) -> str:
    start, end = milliseconds(turn)
    speaker = "" if turn.speaker == UNKNOWN else f"[{turn.speaker}]: "
    text = f"{speaker}{turn.words or ''}".replace("-->", "->")
    return f"{clock(start, ',')} --> {clock(end, ',')}\n{text}"
