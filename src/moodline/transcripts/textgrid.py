"""Praat's TextGrids, long and short (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html)."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

from moodline.conversation import Segment
from moodline.errors import MoodlineError, format_count
from moodline.transcripts.subtitles import round_to_milliseconds
from moodline.transcripts.transcript import Cue, ParsedTranscript

# Names in lower case without numbers. A unit may be the last of several words, as in an aligner's "Ann - words".
UNIT_PATTERN = re.compile(r"words?|phon(?:e(?:me)?s?)?|syllables?|mau|kan")
ANNOTATION_PATTERN = re.compile(  # of the speech, other than its words
    r"comments?|notes?|emotions?|labels?|silences?|noise|events?|gestures?|topics?|pos|translation"
)
GENERAL_NAME_PATTERN = re.compile(
    r"utterances?|sentences?|segments?|transcript(?:ion)?|text|speech|turns?|ort(?:hography)?|tier|unknown|default"
)
NUMBERED_NAME = "{} ({})"  # a further tier of a speaker, who has one of the name alone
NUMBERED_NAME_PATTERN = re.compile(r"(?P<name>.+) \(\d+\)", re.DOTALL)
# A tier of any name holds single words if it has at least so many intervals, nearly all of one word, most abutting.
ENOUGH, NEARLY_ALL, MOST, ABUTTING = 8, 0.95, 0.5, 0.005


class Interval(NamedTuple):
    """Label a stretch of time, in seconds."""

    start: float
    end: float
    text: str


class Tier(NamedTuple):
    """Hold intervals in order, none of which overlap."""

    name: str
    intervals: Sequence[Interval]


def select_utterance_tiers(tiers: Sequence[Tier], origin: str) -> tuple[list[Tier], list[str]]:
    """Select the tiers of utterances, and note the others.

    Raises:
        MoodlineError: the file has no such tier
    """
    chosen: list[Tier] = []
    notes: list[str] = []
    for tier in tiers:
        what = identify_other(tier)
        if what is None:
            chosen.append(tier)
        else:
            notes.append(f"tier {tier.name!r} skipped: it holds {what}")
    if not chosen:
        raise MoodlineError(
            f"{origin} has no tier of utterances ({'; '.join(notes) or 'no tier of intervals'}). Add a tier of "
            "utterances for each speaker.",
            code="transcript.no_utterance_tier",
        )
    return chosen, notes


def identify_other(tier: Tier) -> str | None:
    """Identify the content of a tier without utterances; None for a tier of utterances."""
    letters = extract_letters(tier.name)
    if UNIT_PATTERN.fullmatch(letters.split(" ")[-1]) or is_word_tier(tier):
        return "words or phones"
    return "remarks" if ANNOTATION_PATTERN.fullmatch(letters) else None


def find_speakers(names: Sequence[str]) -> list[str]:
    """Find each tier's speaker: its name, or empty for a general one; a numbered tier belongs to its first tier."""
    first = [
        found["name"] if (found := NUMBERED_NAME_PATTERN.fullmatch(name)) and found["name"] in names else name
        for name in names
    ]
    return ["" if GENERAL_NAME_PATTERN.fullmatch(extract_letters(name)) else name for name in first]


def extract_letters(name: str) -> str:
    """Extract the words of a tier's name in lower case, without numbers."""
    return " ".join(re.findall(r"[^\W\d_]+", name.lower()))


def is_word_tier(tier: Tier) -> bool:
    spoken = [interval for interval in tier.intervals if interval.text.strip()]
    if len(spoken) < ENOUGH:
        return False
    single = sum(len(interval.text.split()) == 1 for interval in spoken)
    abutting = sum(after.start - before.end <= ABUTTING for before, after in pairwise(spoken))
    return single >= NEARLY_ALL * len(spoken) and abutting >= MOST * (len(spoken) - 1)


NAME = "TextGrid"
# A text, a number or a flag between blanks, or an unclosed quote; comments begin with !. Of praatio only the writer is
# used: its reader drops what follows a malformed interval, names no line, and splits texts that contain "item [".
TOKEN_PATTERN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?<!\S)(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?!\S)|(?P<flag><\w+>)|'
    r'(?P<open>")|(?<!\S)![^\n]*',
    re.ASCII,
)
HEADER_PATTERN = re.compile(r'\s*(?:File type\s*=\s*)?"ooTextFile"\s+(?:Object class\s*=\s*)?"TextGrid"')
INTERVALS, POINTS = "IntervalTier", "TextTier"


def is_textgrid(text: str) -> bool:
    return HEADER_PATTERN.match(text) is not None


def parse_textgrid(text: str, origin: str) -> ParsedTranscript:
    """Parse the labelled intervals of each tier of utterances.

    Raises:
        MoodlineError: the file is truncated or malformed, or has no tier of utterances
    """
    tiers, points = read_tiers(TokenReader(text, origin))
    chosen, notes = select_utterance_tiers(tiers, origin)
    if points:
        notes.append(f"{format_count(points, 'tier')} of points skipped")
    speakers = find_speakers([tier.name for tier in chosen])
    cues = [
        Cue(
            f"{origin}, tier {tier.name!r}, interval {number}",
            Segment(start=interval.start, end=interval.end, words=interval.text, speaker=speaker),
        )
        for tier, speaker in zip(chosen, speakers, strict=True)
        for number, interval in enumerate(tier.intervals, start=1)
        if interval.text.strip()  # an empty interval is silence
    ]
    return ParsedTranscript(NAME, cues, notes)


class TokenReader:
    """Read a TextGrid's tokens in order."""

    def __init__(self, text: str, origin: str) -> None:
        self._text = text
        self._origin = origin
        self._found = TOKEN_PATTERN.finditer(text)

    def text(self, what: str) -> str:
        return self._read_next("text", what).replace('""', '"')

    def number(self, what: str) -> float:
        return float(self._read_next("number", what))

    def count(self, what: str) -> int:
        return int(self.number(what))

    def read_flag(self, what: str) -> str:
        return self._read_next("flag", what)

    def _read_next(self, kind: str, what: str) -> str:
        found = next((one for one in self._found if one.lastgroup), None)
        if found is None:
            raise MoodlineError(
                f"{self._origin} is truncated: it ends before {what}. Save it again in Praat.",
                code="transcript.truncated",
            )
        if found.lastgroup != kind:
            line = self._text.count("\n", 0, found.start()) + 1
            raise MoodlineError(
                f"{self._origin}:{line} has {found[0][:80]!r}, expected {what}. Save it again in Praat.",
                code="transcript.invalid_line",
            )
        return found[kind]


def read_tiers(tokens: TokenReader) -> tuple[list[Tier], int]:
    """Read the tiers of intervals, and count the tiers of points."""
    tokens.text("the type of file")
    tokens.text("the class of object")
    tokens.number("its start")
    tokens.number("its end")
    tiers: list[Tier] = []
    points = 0
    if tokens.read_flag("<exists>") != "<exists>":
        return tiers, points
    for _ in range(tokens.count("the number of tiers")):
        kind, name = tokens.text("a tier's class"), tokens.text("a tier's name")
        tokens.number("a tier's start")
        tokens.number("a tier's end")
        size = tokens.count("a tier's size")
        if kind == INTERVALS:
            tiers.append(Tier(name, [read_interval(tokens) for _ in range(size)]))
        else:
            points += 1
            for _ in range(size):
                tokens.number("a point's time")
                tokens.text("a point's mark")
    return tiers, points


def read_interval(tokens: TokenReader) -> Interval:
    return Interval(
        tokens.number("an interval's start"), tokens.number("an interval's end"), tokens.text("an interval's text")
    )


def format_textgrid(turns: Sequence[Segment]) -> str:
    """Format a tier for each speaker, in the order in which they begin; times to the millisecond.

    A speaker's overlapping turns go to further tiers, ``Ann (2)``. An interval without a text is silence: turns
    without words are lost.
    """
    spans = [(round_to_milliseconds(turn), turn) for turn in turns if turn.words]
    by_speaker: dict[str, list[Interval]] = defaultdict(list)
    for (start, end), turn in sorted(spans, key=lambda span: span[1].start):
        by_speaker[turn.speaker].append(Interval(start / 1000, end / 1000, turn.words or ""))
    tiers = [
        Tier(speaker if number == 1 else NUMBERED_NAME.format(speaker, number), row)
        for speaker, own in by_speaker.items()
        for number, row in enumerate(split_overlaps(own, lambda interval: interval[:2]), start=1)
    ]
    return format_tiers(tiers, max((end for (_, end), _ in spans), default=0) / 1000)


def format_tiers(tiers: Iterable[Tier], end: float) -> str:
    """Format tiers from 0 s to ``end`` in praatio's long form; intervals in seconds, without overlap within a tier."""
    from praatio.utilities import textgrid_io

    content = [
        {"class": INTERVALS, "name": tier.name, "xmin": 0.0, "xmax": end, "entries": [*map(tuple, tier.intervals)]}
        for tier in tiers
    ]
    return textgrid_io.getTextgridAsStr(
        {"xmin": 0.0, "xmax": end, "tiers": content},
        "long_textgrid",
        includeBlankSpaces=True,
        minimumIntervalLength=0.0,
    )


Item = TypeVar("Item")


def split_overlaps(items: Iterable[Item], get_span: Callable[[Item], tuple[float, float]]) -> list[list[Item]]:
    """Distribute items, in order of their starts, over as few rows as hold them without overlap."""
    rows: list[list[Item]] = []
    for item in items:
        start, _ = get_span(item)
        free = next((row for row in rows if get_span(row[-1])[1] <= start), None)
        if free is None:
            rows.append([item])
        else:
            free.append(item)
    return rows
