"""What SRT and WebVTT have in common: cues of a line of times and lines of text, with blank lines between them.

pysubs2 reads both, but takes a cue's name and a comment of WebVTT for words, and tells no line of a malformed cue.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from moodline.delimited import seconds_of
from moodline.errors import MoodlineError
from moodline.speech.turn import Turn

CLOCK = r"(?:\d+:)?\d+:\d+(?:[.,]\d+)?"
TIMES = re.compile(rf"\s*({CLOCK})\s*-+>\s*({CLOCK})(?:\s.*)?", re.ASCII)  # settings of the place may follow
MEANT_AS_TIMES = re.compile(rf".*-->|\s*{CLOCK}\s+\S*\s*{CLOCK}", re.ASCII)
NUMBER = re.compile(r"\s*\d+\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caption:
    """A cue as it is written; ``place`` is the file and the line of its times, which are in seconds."""

    place: str
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank; ``opens`` tells whether it is the first of its paragraph."""

    number: int
    text: str
    opens: bool


def captions(text: str, origin: str, passed_over: Sequence[str] = ()) -> list[Caption]:
    """The cues of a file, in its order. A paragraph without times is a further one of the cue before it.

    Args:
        origin: the file, for errors
        passed_over: words that open a paragraph that is no cue

    Raises:
        MoodlineError: a line that is meant as times does not tell them, or there is text or a number without times
    """
    lines = list(lines_of(text, passed_over))
    if not lines:
        return []
    times = {index: span for index, line in enumerate(lines) if (span := times_of(line, origin)) is not None}
    stamps = [-1, *times]
    begins = [after - is_named(lines, before, after) for before, after in pairwise(stamps)]
    alone = lines[0] if begins[:1] != [0] else number_at_the_end(lines, stamps[-1])
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


def lines_of(text: str, passed_over: Sequence[str]) -> Iterator[Line]:
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
            yield Line(number, line, opens)
        opens = False


def times_of(line: Line, origin: str) -> tuple[float, float] | None:
    """A line's start and end; None where it is text.

    Raises:
        MoodlineError: it is neither
    """
    found = TIMES.fullmatch(line.text)
    start, end = map(seconds_of, found.groups()) if found else (None, None)
    if start is not None and end is not None:
        return start, end
    if MEANT_AS_TIMES.match(line.text):
        raise MoodlineError(
            "a cue's times are written as 00:01:02,000 --> 00:01:03,500: "
            f"{origin}:{line.number} has {line.text.strip()!r}; correct that line"
        )
    return None


def is_named(lines: Sequence[Line], before: int, stamp: int) -> bool:
    """Whether the line above a cue's times, not the times ``before``, is its number or its name, and so no text.

    Files whose line ends were doubled have a blank line between a number and its times.
    """
    if stamp - 1 <= before:
        return False
    above = lines[stamp - 1]
    numbered = NUMBER.fullmatch(above.text) is not None
    return above.opens and numbered if lines[stamp].opens else above.opens or numbered


def number_at_the_end(lines: Sequence[Line], last: int) -> Line | None:
    """The number of a cue of which a file that was cut short has no more; ``last`` is where the last times are."""
    cut = len(lines) - 1 > last and lines[-1].opens and NUMBER.fullmatch(lines[-1].text)
    return lines[-1] if cut else None


def clock(milliseconds: int, point: str) -> str:
    """HH:MM:SS and three decimals after ``point``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def milliseconds(turn: Turn) -> tuple[int, int]:
    """A turn's start and end to the millisecond; a shorter turn lasts one, as none without a length is read."""
    start = round(1000 * turn.start)
    return start, max(round(1000 * turn.end), start + 1)
