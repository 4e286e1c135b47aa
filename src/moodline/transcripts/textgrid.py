"""Praat's TextGrids, long and short (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html)."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from moodline.conversation import Segment
from moodline.errors import MoodlineError, format_count
from moodline.transcripts.subtitles import round_to_milliseconds
from moodline.transcripts.transcript import Cue, ParsedTranscript

# Names without capitals and numbers. One of PARTS may be the last word of several, as in an aligner's "Ann - words".
UNIT_PATTERN = re.compile(r"words?|phon(?:e(?:me)?s?)?|syllables?|mau|kan")
ANNOTATION_PATTERN = re.compile(  # the speech, but not what is said
    r"comments?|notes?|emotions?|labels?|silences?|noise|events?|gestures?|topics?|pos|translation"
)
GENERAL_NAME_PATTERN = re.compile(
    r"utterances?|sentences?|segments?|transcript(?:ion)?|text|speech|turns?|ort(?:hography)?|tier|unknown|default"
)
NUMBERED_NAME = "{} ({})"  # a further tier of a speaker, who has one of the name alone
NUMBERED_NAME_PATTERN = re.compile(r"(?P<name>.+) \(\d+\)", re.DOTALL)
# A tier whatever its name is of words if it has as many intervals, nearly all of one word, most of them abutting.
ENOUGH, NEARLY_ALL, MOST, ABUTTING = 8, 0.95, 0.5, 0.005


@dataclass(frozen=True, slots=True)
class Interval:
    """Times in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Tier:
    name: str
    intervals: Sequence[Interval]


def select_utterance_tiers(tiers: Sequence[Tier], origin: str) -> tuple[list[Tier], list[str]]:
    """The tiers of utterances, and notes on the others.

    Raises:
        MoodlineError: there is none
    """
    chosen: list[Tier] = []
    notes: list[str] = []
    for tier in tiers:
        what = identify_other(tier)
        if what is None:
            chosen.append(tier)
        else:
            notes.append(f"tier {tier.name!r} passed over, as one of {what}")
    if not chosen:
        raise MoodlineError(
            f"a TextGrid tells turns by intervals of utterances, a tier a speaker: {origin} has none "
            f"({'; '.join(notes) or 'no tier of intervals'}); add a tier of utterances"
        )
    return chosen, notes


def identify_other(tier: Tier) -> str | None:
    """What a tier is of; None where it is of utterances."""
    letters = extract_letters(tier.name)
    if UNIT_PATTERN.fullmatch(letters.split(" ")[-1]) or is_word_tier(tier):
        return "words or phones"
    return "remarks" if ANNOTATION_PATTERN.fullmatch(letters) else None


def find_speakers(names: Sequence[str]) -> list[str]:
    """Each tier's speaker: its name, or none where that is a general one; a further tier is its first one's."""
    first = [
        found["name"] if (found := NUMBERED_NAME_PATTERN.fullmatch(name)) and found["name"] in names else name
        for name in names
    ]
    return ["" if GENERAL_NAME_PATTERN.fullmatch(extract_letters(name)) else name for name in first]


def extract_letters(name: str) -> str:
    """The words of a tier's name, without numbers and capitals."""
    return " ".join(re.findall(r"[^\W\d_]+", name.lower()))


def is_word_tier(tier: Tier) -> bool:
    spoken = [interval for interval in tier.intervals if interval.text.strip()]
    if len(spoken) < ENOUGH:
        return False
    single = sum(len(interval.text.split()) == 1 for interval in spoken)
    abutting = sum(after.start - before.end <= ABUTTING for before, after in pairwise(spoken))
    return single >= NEARLY_ALL * len(spoken) and abutting >= MOST * (len(spoken) - 1)


NAME = "TextGrid"
# A text, a number or a flag that stands free, and a quote without its partner; comments begin with !.
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
    """The intervals with a text of each tier of utterances; which these are, and whose: see ``tiers``.

    Raises:
        MoodlineError: the file is cut short or malformed, or has no tier of utterances
    """
    tiers, points = read_tiers(TokenReader(text, origin))
    chosen, notes = select_utterance_tiers(tiers, origin)
    if points:
        notes.append(f"{format_count(points, 'tier')} of points passed over")
    speakers = find_speakers([tier.name for tier in chosen])
    cues = [
        Cue(
            place=f"{origin}, tier {tier.name!r}, interval {number}",
            start=interval.start,
            end=interval.end,
            words=interval.text,
            speaker=speaker,
        )
        for tier, speaker in zip(chosen, speakers, strict=True)
        for number, interval in enumerate(tier.intervals, start=1)
        if interval.text.strip()  # the others are silence
    ]
    return ParsedTranscript(NAME, cues, notes)


class TokenReader:
    """What a TextGrid tells, one after the other."""

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
                f"a TextGrid has all the tiers and intervals that it counts: {self._origin} ends where {what} should "
                "be; save it again in Praat"
            )
        if found.lastgroup != kind:
            line = self._text.count("\n", 0, found.start()) + 1
            raise MoodlineError(
                f"a TextGrid has {what} here: {self._origin}:{line} has {found[0][:80]!r}; save it again in Praat"
            )
        return found[kind]


def read_tiers(tokens: TokenReader) -> tuple[list[Tier], int]:
    """The tiers of intervals, and how many there are of points."""
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
    """A tier a speaker, in praatio's long form, times to the millisecond.

    A tier holds no overlap: turns that overlap others of the same speaker are on further tiers, ``Ann (2)``. An
    interval without a text is silence, so that turns without words leave no trace.
    """
    from praatio.utilities import textgrid_io

    spoken = [turn for turn in turns if turn.words]
    end = max((round_to_milliseconds(turn)[1] for turn in spoken), default=0) / 1000
    tiers = [
        {"class": INTERVALS, "name": name, "xmin": 0, "xmax": end, "entries": entries}
        for name, entries in build_tiers(spoken)
    ]
    grid = {"xmin": 0, "xmax": end, "tiers": tiers}
    return textgrid_io.getTextgridAsStr(grid, "long_textgrid", includeBlankSpaces=True)


def build_tiers(turns: Sequence[Segment]) -> Iterator[tuple[str, list[tuple[float, float, str]]]]:
    """Name and intervals in seconds of each tier, the speakers in the order in which they begin."""
    tiers: dict[str, list[list[tuple[int, int, str]]]] = defaultdict(list)
    for turn in sorted(turns, key=lambda turn: turn.start):
        start, end = round_to_milliseconds(turn)
        own = tiers[turn.speaker]
        free = next((tier for tier in own if tier[-1][1] <= start), None)
        if free is None:
            own.append(free := [])
        free.append((start, end, turn.words or ""))
    for speaker, own in tiers.items():
        for number, tier in enumerate(own, start=1):
            name = speaker if number == 1 else NUMBERED_NAME.format(speaker, number)
            yield name, [(start / 1000, end / 1000, words) for start, end, words in tier]
