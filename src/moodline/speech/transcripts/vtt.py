"""WebVTT (https://www.w3.org/TR/webvtt1/), .vtt."""

import html
import re
from collections.abc import Iterator, Sequence

from moodline.speech.transcripts.cues import Caption, captions, clock, milliseconds
from moodline.speech.transcripts.prefixes import told_by_prefixes
from moodline.speech.transcripts.transcript import Cue, Told
from moodline.speech.turn import UNKNOWN, Turn

NAME = "WebVTT"
BEGIN = "WEBVTT"
PASSED_OVER = (BEGIN, "NOTE", "STYLE", "REGION")
LANGUAGE = re.compile(r"^Language:\s*(\S+)", re.MULTILINE | re.IGNORECASE)  # in the header, as YouTube writes it
VOICE = re.compile(r"<v(?:\.[^\s<>]*)?(?:\s+([^<>]*))?>")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|</>|<\d[\d:.]*>")


def read(text: str, origin: str) -> Told:
    """A cue of several voices is a turn of each, at the same times. Without voices speakers are as in ``prefixes``."""
    cues = [cue for caption in captions(text, origin, PASSED_OVER) for cue in voices(caption)]
    if not any(cue.speaker for cue in cues):
        cues = told_by_prefixes(cues)
    header, *_ = re.split(r"\r?\n\r?\n", text, maxsplit=1)
    language = LANGUAGE.search(header)
    return Told(NAME, cues, language=language[1] if language else None)


def voices(caption: Caption) -> Iterator[Cue]:
    before, *rest = VOICE.split(caption.text)
    spoken = [("", before), *zip(rest[::2], rest[1::2], strict=True)]
    for speaker, text in spoken[1:] if rest and not plain(before).strip() else spoken:
        yield Cue(
            place=caption.place,
            start=caption.start,
            end=caption.end,
            speaker=html.unescape(speaker or ""),
            words=plain(text),
        )


def plain(text: str) -> str:
    return html.unescape(TAG.sub("", text))


def written(turns: Sequence[Turn]) -> str:
    """Times to the millisecond, and a voice where there is a speaker."""
    return "\n".join([f"{BEGIN}\n", *(f"{cue_of(turn)}\n" for turn in turns)])


def cue_of(turn: Turn) -> str:
    start, end = milliseconds(turn)
    voice = "" if turn.speaker == UNKNOWN else f"<v {html.escape(turn.speaker, quote=False)}>"
    return f"{clock(start, '.')} --> {clock(end, '.')}\n{voice}{html.escape(turn.words or '', quote=False)}"
