"""SubRip (.srt) and WebVTT (.vtt, https://www.w3.org/TR/webvtt1/) subtitles."""

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
class TextLine:
    """Hold a line that is not blank."""

    number: int
    text: str
    starts_paragraph: bool


def parse_cues(text: str, origin: str, skipped: Sequence[str] = ()) -> list[Cue]:
    """Parse the cues of a file, in order. A paragraph without times continues the cue before it.

    pysubs2 skips malformed cues silently, and knows neither lines nor WebVTT's voices and notes.

    Args:
        origin: the file, for errors
        skipped: first words of paragraphs that are not cues

    Raises:
        MoodlineError: a line of times is malformed, or text or a number lacks times
    """
    lines = list(iter_lines(text, skipped))
    if not lines:
        return []
    times = {index: span for index, line in enumerate(lines) if (span := parse_times(line, origin)) is not None}
    stamps = [-1, *times]
    begins = [after - is_named(lines, before, after) for before, after in pairwise(stamps)]
    alone = lines[0] if begins[:1] != [0] else find_trailing_number(lines, stamps[-1])
    if alone is not None:
        raise MoodlineError(
            f"{origin}:{alone.number} has {alone.text.strip()!r} without times such as 00:01:02,000 --> 00:01:03,500 "
            "above it. Add them, or remove that line.",
            code="transcript.text_without_times",
        )
    ends = [*begins[1:], len(lines)]
    return [
        Cue(
            f"{origin}:{lines[stamp].number}",
            Segment(start=start, end=stop, words="\n".join(line.text for line in lines[stamp + 1 : end])),
        )
        for (stamp, (start, stop)), end in zip(times.items(), ends, strict=True)
    ]


def iter_lines(text: str, skipped: Sequence[str]) -> Iterator[TextLine]:
    """Yield the lines that are not blank, without the skipped paragraphs."""
    opens = True
    passing = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            opens = True
            continue
        if opens:
            passing = line.split()[0] in skipped
        if not passing:
            yield TextLine(number, line, opens)
        opens = False


def parse_times(line: TextLine, origin: str) -> tuple[float, float] | None:
    """Parse a line's start and end; None if it is text.

    Raises:
        MoodlineError: the line is neither
    """
    found = TIMES_PATTERN.fullmatch(line.text)
    start, end = map(parse_seconds, found.groups()) if found else (None, None)
    if start is not None and end is not None:
        return start, end
    if BROKEN_TIMES_PATTERN.match(line.text):
        raise MoodlineError(
            f"{origin}:{line.number} has {line.text.strip()!r}, expected times such as 00:01:02,000 --> 00:01:03,500. "
            "Correct that line.",
            code="transcript.invalid_time",
        )
    return None


def is_named(lines: Sequence[TextLine], before: int, stamp: int) -> bool:
    """Check whether the line above a cue's times, after the times ``before``, is its number or name, not text.

    Files with doubled line ends have a blank line between a number and its times.
    """
    if stamp - 1 <= before:
        return False
    above = lines[stamp - 1]
    numbered = NUMBER_PATTERN.fullmatch(above.text) is not None
    return above.starts_paragraph and numbered if lines[stamp].starts_paragraph else above.starts_paragraph or numbered


def find_trailing_number(lines: Sequence[TextLine], last: int) -> TextLine | None:
    """Find a number without a cue at the end of a truncated file; ``last`` is the line of the last times."""
    cut = len(lines) - 1 > last and lines[-1].starts_paragraph and NUMBER_PATTERN.fullmatch(lines[-1].text)
    return lines[-1] if cut else None


def format_clock(milliseconds: int, point: str) -> str:
    """Format HH:MM:SS and three decimals after ``point``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def round_to_milliseconds(turn: Segment) -> tuple[int, int]:
    """Round a turn's start and end to milliseconds, at least one apart: readers drop turns without a length."""
    start = round(1000 * turn.start)
    return start, max(round(1000 * turn.end), start + 1)


MAX_NAME_LENGTH = 40  # letters
BRACKETED_PREFIX = re.compile(r"\s*\[(?P<name>.+?)\]:(?:\s+|$)(?P<words>.*)", re.DOTALL)
PREFIX_PATTERN = re.compile(
    rf"\s*(?:\[(?P<name>[^\[\]\n]{{1,{MAX_NAME_LENGTH}}})\]"
    rf"|(?P<bare>[^\W\d_][^\n:.,;!?\[\]]{{0,{MAX_NAME_LENGTH - 1}}}):)"
    r"\s+(?P<words>.+)",
    re.DOTALL,
)


def parse_prefixes(cues: Sequence[Cue]) -> list[Cue]:
    """Move speakers from the beginning of words, ``[Ann]: `` or ``Ann: ``, to the segments.

    ``[Ann]: `` is always a speaker. Other prefixes count if their name recurs, and if at least half of the cues with
    words have a prefix.
    """
    sure = [BRACKETED_PREFIX.fullmatch(cue.segment.words or "") for cue in cues]
    likely = [
        None if found else PREFIX_PATTERN.fullmatch(cue.segment.words or "")
        for found, cue in zip(sure, cues, strict=True)
    ]
    begun = Counter(get_name(found) for found in (*sure, *likely) if found)
    recurring = {name for name, count in begun.items() if count > 1}
    believed = [found if found and get_name(found) in recurring else None for found in likely]
    spoken = sum(bool((cue.segment.words or "").strip()) for cue in cues)
    if 2 * sum(found is not None for found in (*sure, *believed)) < spoken:
        believed = [None] * len(cues)
    return [
        Cue(cue.place, replace(cue.segment, speaker=get_name(found), words=found["words"]))
        if (found := certain or guessed)
        else cue
        for cue, certain, guessed in zip(cues, sure, believed, strict=True)
    ]


def get_name(found: re.Match[str]) -> str:
    return " ".join((found["name"] or found["bare"]).split())


SRT = "SRT"


def parse_srt(text: str, origin: str) -> ParsedTranscript:
    """Parse SubRip; see ``parse_cues`` and ``parse_prefixes``."""
    cues = [
        Cue(place, replace(turn, words=MARKUP_PATTERN.sub("", turn.words or "")))
        for place, turn in parse_cues(text, origin)
    ]
    return ParsedTranscript(SRT, parse_prefixes(cues))


def format_srt(turns: Sequence[Segment]) -> str:
    """Format turns, times to the millisecond and ``[speaker]: `` before the words of a known speaker."""
    return format_srt_cues(
        (*round_to_milliseconds(turn), f"{'' if turn.speaker == UNKNOWN else f'[{turn.speaker}]: '}{turn.words or ''}")
        for turn in turns
    )


def format_srt_cues(cues: Iterable[tuple[int, int, str]]) -> str:
    """Format cues of start and end in milliseconds, and a text on one line; SubRip cannot hold ``-->`` in it."""
    return "\n".join(
        f"{number}\n{format_clock(start, ',')} --> {format_clock(end, ',')}\n{text.replace('-->', '->')}\n"
        for number, (start, end, text) in enumerate(cues, start=1)
    )


VTT = "WebVTT"
SIGNATURE = "WEBVTT"
SKIPPED_BLOCKS = (SIGNATURE, "NOTE", "STYLE", "REGION")
LANGUAGE_PATTERN = re.compile(
    r"^Language:\s*(\S+)", re.MULTILINE | re.IGNORECASE
)  # in the header, as YouTube writes it
VOICE_PATTERN = re.compile(r"<v(?:\.[^\s<>]*)?(?:\s+([^<>]*))?>")
TAG_PATTERN = re.compile(r"</?[a-zA-Z][^<>]*>|</>|<\d[\d:.]*>")


def parse_vtt(text: str, origin: str) -> ParsedTranscript:
    """Parse WebVTT: a cue of several voices gives a turn each; without voices see ``parse_prefixes``."""
    cues = [part for cue in parse_cues(text, origin, SKIPPED_BLOCKS) for part in split_voices(cue)]
    if all(cue.segment.speaker == UNKNOWN for cue in cues):
        cues = parse_prefixes(cues)
    header, *_ = re.split(r"\r?\n\r?\n", text, maxsplit=1)
    language = LANGUAGE_PATTERN.search(header)
    return ParsedTranscript(VTT, cues, language=language[1] if language else None)


def split_voices(cue: Cue) -> Iterator[Cue]:
    """Yield a cue for each voice."""
    before, *rest = VOICE_PATTERN.split(cue.segment.words or "")
    spoken = [("", before), *zip(rest[::2], rest[1::2], strict=True)]
    for speaker, text in spoken[1:] if rest and not remove_tags(before).strip() else spoken:
        yield Cue(
            cue.place, replace(cue.segment, speaker=html.unescape(speaker or "") or UNKNOWN, words=remove_tags(text))
        )


def remove_tags(text: str) -> str:
    return html.unescape(TAG_PATTERN.sub("", text))


def format_vtt(turns: Sequence[Segment]) -> str:
    """Format turns, times to the millisecond and a voice for a known speaker."""
    return "\n".join([f"{SIGNATURE}\n", *(f"{format_vtt_cue(turn)}\n" for turn in turns)])


def format_vtt_cue(turn: Segment) -> str:
    start, end = round_to_milliseconds(turn)
    voice = "" if turn.speaker == UNKNOWN else f"<v {html.escape(turn.speaker, quote=False)}>"
    return (
        f"{format_clock(start, '.')} --> {format_clock(end, '.')}\n{voice}{html.escape(turn.words or '', quote=False)}"
    )
