"""Praat's TextGrids, long and short (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html).

Both are one sequence of numbers and texts in quotes, with anything for people between them; praatio, which writes them
here, ends without a word where a file is cut short, and tells no line.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from moodline.errors import MoodlineError
from moodline.speech.transcripts.cues import milliseconds
from moodline.speech.transcripts.tiers import FURTHER, Interval, Tier, speakers_of, utterance_tiers
from moodline.speech.transcripts.transcript import Cue, Told
from moodline.speech.turn import Turn
from moodline.wording import counted

NAME = "TextGrid"
# A text, a number or a flag that stands free, and a quote without its partner; comments begin with !.
TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?<!\S)(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?!\S)|(?P<flag><\w+>)|'
    r'(?P<open>")|(?<!\S)![^\n]*',
    re.ASCII,
)
HEAD = re.compile(r'\s*(?:File type\s*=\s*)?"ooTextFile"\s+(?:Object class\s*=\s*)?"TextGrid"')
INTERVALS, POINTS = "IntervalTier", "TextTier"


def is_meant(text: str) -> bool:
    return HEAD.match(text) is not None


def read(text: str, origin: str) -> Told:
    """The intervals with a text of each tier of utterances; which these are, and whose: see ``tiers``.

    Raises:
        MoodlineError: the file is cut short or malformed, or has no tier of utterances
    """
    tiers, points = tiers_of(Tokens(text, origin))
    chosen, notes = utterance_tiers(tiers, origin)
    if points:
        notes.append(f"{counted(points, 'tier')} of points passed over")
    speakers = speakers_of([tier.name for tier in chosen])
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
    return Told(NAME, cues, notes)


class Tokens:
    """What a TextGrid tells, one after the other."""

    def __init__(self, text: str, origin: str) -> None:
        self._text = text
        self._origin = origin
        self._found = TOKEN.finditer(text)

    def text(self, what: str) -> str:
        return self._next("text", what).replace('""', '"')

    def number(self, what: str) -> float:
        return float(self._next("number", what))

    def count(self, what: str) -> int:
        return int(self.number(what))

    def flag(self, what: str) -> str:
        return self._next("flag", what)

    def _next(self, kind: str, what: str) -> str:
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


def tiers_of(tokens: Tokens) -> tuple[list[Tier], int]:
    """The tiers of intervals, and how many there are of points."""
    tokens.text("the type of file")
    tokens.text("the class of object")
    tokens.number("its start")
    tokens.number("its end")
    tiers: list[Tier] = []
    points = 0
    if tokens.flag("<exists>") != "<exists>":
        return tiers, points
    for _ in range(tokens.count("the number of tiers")):
        kind, name = tokens.text("a tier's class"), tokens.text("a tier's name")
        tokens.number("a tier's start")
        tokens.number("a tier's end")
        size = tokens.count("a tier's size")
        if kind == INTERVALS:
            tiers.append(Tier(name, [interval_of(tokens) for _ in range(size)]))
        else:
            points += 1
            for _ in range(size):
                tokens.number("a point's time")
                tokens.text("a point's mark")
    return tiers, points


def interval_of(tokens: Tokens) -> Interval:
    return Interval(
        tokens.number("an interval's start"), tokens.number("an interval's end"), tokens.text("an interval's text")
    )


def written(turns: Sequence[Turn]) -> str:
    """A tier a speaker, in praatio's long form, times to the millisecond.

    A tier holds no overlap: turns that overlap others of the same speaker are on further tiers, ``Ann (2)``. An
    interval without a text is silence, so that turns without words leave no trace.
    """
    from praatio.utilities import textgrid_io

    spoken = [turn for turn in turns if turn.words]
    end = max((milliseconds(turn)[1] for turn in spoken), default=0) / 1000
    tiers = [
        {"class": INTERVALS, "name": name, "xmin": 0, "xmax": end, "entries": entries}
        for name, entries in tiers_to_write(spoken)
    ]
    grid = {"xmin": 0, "xmax": end, "tiers": tiers}
    return textgrid_io.getTextgridAsStr(grid, "long_textgrid", includeBlankSpaces=True)


def tiers_to_write(turns: Sequence[Turn]) -> Iterator[tuple[str, list[tuple[float, float, str]]]]:
    """Name and intervals in seconds of each tier, the speakers in the order in which they begin."""
    tiers: dict[str, list[list[tuple[int, int, str]]]] = defaultdict(list)
    for turn in sorted(turns, key=lambda turn: turn.start):
        start, end = milliseconds(turn)
        own = tiers[turn.speaker]
        free = next((tier for tier in own if tier[-1][1] <= start), None)
        if free is None:
            own.append(free := [])
        free.append((start, end, turn.words or ""))
    for speaker, own in tiers.items():
        for number, tier in enumerate(own, start=1):
            name = speaker if number == 1 else FURTHER.format(speaker, number)
            yield name, [(start / 1000, end / 1000, words) for start, end, words in tier]
