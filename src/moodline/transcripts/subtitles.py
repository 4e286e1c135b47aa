"""SubRip (.srt) and WebVTT (.vtt, https://www.w3.org/TR/webvtt1/) subtitles."""

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError
from moodline.tabular import parse_seconds
from moodline.transcripts.transcript import MARKUP_PATTERN, Cue, ParsedTranscript

CLOCK_PATTERN = r"(?:\d+:)?\d+:\d+(?:[.,]\d+)?"
TIMES_PATTERN = re.compile(
    rf"\s*({CLOCK_PATTERN})\s*-+>\s*({CLOCK_PATTERN})(?:\s.*)?", re.ASCII
)  # settings of the place may follow
BROKEN_TIMES_PATTERN = re.compile(rf".*-->|\s*{CLOCK_PATTERN}\s+\S*\s*{CLOCK_PATTERN}", re.ASCII)
NUMBER_PATTERN = re.compile(r"\s*\d+\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caption:
    """A cue as it is written; ``place`` is the file and the line of its times, which are in seconds."""

    place: str
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line that is not blank; ``opens`` tells whether it is the first of its paragraph."""

    number: int
    text: str
    starts_paragraph: bool


def parse_captions(text: str, origin: str, passed_over: Sequence[str] = ()) -> list[Caption]:
    """The cues of a file, in its order. A paragraph without times is a further one of the cue before it.

    Args:
        origin: the file, for errors
        passed_over: words that open a paragraph that is no cue

    Raises:
        MoodlineError: a line that is meant as times does not tell them, or there is text or a number without times
    """
    lines = list(iter_lines(text, passed_over))
    if not lines:
        return []
    times = {index: span for index, line in enumerate(lines) if (span := parse_times(line, origin)) is not None}
    stamps = [-1, *times]
    begins = [after - is_named(lines, before, after) for before, after in pairwise(stamps)]
    alone = lines[0] if begins[:1] != [0] else find_trailing_number(lines, stamps[-1])
    if alone is not None:
        raise MoodlineError(
            f"a cue's text stands below its times, as in 00:01:02,000 --> 00:01:03,500: {origin}:{alone.number} has "
            f"{alone.text.strip()!r} without times; add them or remove that line"
        )
    ends = [*begins[1:], len(lines)]
    return [
        Caption(f"{origin}:{lines[stamp].number}", *span, "\n".join(line.text for line in lines[stamp + 1 : end]))
        for (stamp, span), end in zip(times.items(), ends, strict=True)
    ]


def iter_lines(text: str, passed_over: Sequence[str]) -> Iterator[TextLine]:
    """The lines that are not blank, without the paragraphs that are passed over."""
    opens = True
    passing = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            opens = True
            continue
        if opens:
            passing = line.split()[0] in passed_over
        if not passing:
            yield TextLine(number, line, opens)
        opens = False


def parse_times(line: TextLine, origin: str) -> tuple[float, float] | None:
    """A line's start and end; None where it is text.

    Raises:
        MoodlineError: it is neither
    """
    found = TIMES_PATTERN.fullmatch(line.text)
    start, end = map(parse_seconds, found.groups()) if found else (None, None)
    if start is not None and end is not None:
        return start, end
    if BROKEN_TIMES_PATTERN.match(line.text):
        raise MoodlineError(
            "a cue's times are written as 00:01:02,000 --> 00:01:03,500: "
            f"{origin}:{line.number} has {line.text.strip()!r}; correct that line"
        )
    return None


def is_named(lines: Sequence[TextLine], before: int, stamp: int) -> bool:
    """Whether the line above a cue's times, not the times ``before``, is its number or its name, and so no text.

    Files whose line ends were doubled have a blank line between a number and its times.
    """
    if stamp - 1 <= before:
        return False
    above = lines[stamp - 1]
    numbered = NUMBER_PATTERN.fullmatch(above.text) is not None
    return above.starts_paragraph and numbered if lines[stamp].starts_paragraph else above.starts_paragraph or numbered


def find_trailing_number(lines: Sequence[TextLine], last: int) -> TextLine | None:
    """The number of a cue of which a file that was cut short has no more; ``last`` is where the last times are."""
    cut = len(lines) - 1 > last and lines[-1].starts_paragraph and NUMBER_PATTERN.fullmatch(lines[-1].text)
    return lines[-1] if cut else None


def format_clock(milliseconds: int, point: str) -> str:
    """HH:MM:SS and three decimals after ``point``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def round_to_milliseconds(turn: Segment) -> tuple[int, int]:
    """A turn's start and end to the millisecond; a shorter turn lasts one, as none without a length is read."""
    start = round(1000 * turn.start)
    return start, max(round(1000 * turn.end), start + 1)


MAX_NAME_LENGTH = 40  # letters of a name
BRACKETED_PREFIX = re.compile(r"\s*\[(?P<name>.+?)\]:(?:\s+|$)(?P<words>.*)", re.DOTALL)
PREFIX_PATTERN = re.compile(
    rf"\s*(?:\[(?P<name>[^\[\]\n]{{1,{MAX_NAME_LENGTH}}})\]"
    rf"|(?P<bare>[^\W\d_][^\n:.,;!?\[\]]{{0,{MAX_NAME_LENGTH - 1}}}):)"
    r"\s+(?P<words>.+)",
    re.DOTALL,
)


def parse_prefixes(cues: Sequence[Cue]) -> list[Cue]:
    """The cues with the speakers that their words begin with, by the rule above, and these words without them."""
    sure = [BRACKETED_PREFIX.fullmatch(cue.words or "") for cue in cues]
    likely = [
        None if found else PREFIX_PATTERN.fullmatch(cue.words or "") for found, cue in zip(sure, cues, strict=True)
    ]
    begun = Counter(get_name(found) for found in (*sure, *likely) if found)
    recurring = {name for name, count in begun.items() if count > 1}
    believed = [found if found and get_name(found) in recurring else None for found in likely]
    spoken = sum(bool(cue.words and cue.words.strip()) for cue in cues)
    if 2 * sum(found is not None for found in (*sure, *believed)) < spoken:
        believed = [None] * len(cues)
    return [
        replace(cue, speaker=get_name(found), words=found["words"]) if (found := certain or guessed) else cue
        for cue, certain, guessed in zip(cues, sure, believed, strict=True)
    ]


def get_name(found: re.Match[str]) -> str:
    return " ".join((found["name"] or found["bare"]).split())


SRT = "SRT"


def parse_srt(text: str, origin: str) -> ParsedTranscript:
    """See ``cues.parse_captions``; speakers as in ``prefixes``."""
    cues = [
        Cue(place=caption.place, start=caption.start, end=caption.end, words=MARKUP_PATTERN.sub("", caption.text))
        for caption in parse_captions(text, origin)
    ]
    return ParsedTranscript(SRT, parse_prefixes(cues))


def format_srt(turns: Sequence[Segment]) -> str:
    """Times to the millisecond, and ``[speaker]: `` where there is one; the format cannot hold ``-->`` in words."""
    return "\n".join(f"{number}\n{format_srt_cue(turn)}\n" for number, turn in enumerate(turns, start=1))


def format_srt_cue(turn: Segment) -> str:
    start, end = round_to_milliseconds(turn)
    speaker = "" if turn.speaker == UNKNOWN else f"[{turn.speaker}]: "
    text = f"{speaker}{turn.words or ''}".replace("-->", "->")
    return f"{format_clock(start, ',')} --> {format_clock(end, ',')}\n{text}"


VTT = "WebVTT"
SIGNATURE = "WEBVTT"
SKIPPED_BLOCKS = (SIGNATURE, "NOTE", "STYLE", "REGION")
LANGUAGE_PATTERN = re.compile(
    r"^Language:\s*(\S+)", re.MULTILINE | re.IGNORECASE
)  # in the header, as YouTube writes it
VOICE_PATTERN = re.compile(r"<v(?:\.[^\s<>]*)?(?:\s+([^<>]*))?>")
TAG_PATTERN = re.compile(r"</?[a-zA-Z][^<>]*>|</>|<\d[\d:.]*>")


def parse_vtt(text: str, origin: str) -> ParsedTranscript:
    """A cue of several voices is a turn of each, at the same times. Without voices speakers are as in ``prefixes``."""
    cues = [cue for caption in parse_captions(text, origin, SKIPPED_BLOCKS) for cue in split_voices(caption)]
    if not any(cue.speaker for cue in cues):
        cues = parse_prefixes(cues)
    header, *_ = re.split(r"\r?\n\r?\n", text, maxsplit=1)
    language = LANGUAGE_PATTERN.search(header)
    return ParsedTranscript(VTT, cues, language=language[1] if language else None)


def split_voices(caption: Caption) -> Iterator[Cue]:
    before, *rest = VOICE_PATTERN.split(caption.text)
    spoken = [("", before), *zip(rest[::2], rest[1::2], strict=True)]
    for speaker, text in spoken[1:] if rest and not remove_tags(before).strip() else spoken:
        yield Cue(
            place=caption.place,
            start=caption.start,
            end=caption.end,
            speaker=html.unescape(speaker or ""),
            words=remove_tags(text),
        )


def remove_tags(text: str) -> str:
    return html.unescape(TAG_PATTERN.sub("", text))


def format_vtt(turns: Sequence[Segment]) -> str:
    """Times to the millisecond, and a voice where there is a speaker."""
    return "\n".join([f"{SIGNATURE}\n", *(f"{format_vtt_cue(turn)}\n" for turn in turns)])


def format_vtt_cue(turn: Segment) -> str:
    start, end = round_to_milliseconds(turn)
    voice = "" if turn.speaker == UNKNOWN else f"<v {html.escape(turn.speaker, quote=False)}>"
    return (
        f"{format_clock(start, '.')} --> {format_clock(end, '.')}\n{voice}{html.escape(turn.words or '', quote=False)}"
    )
