"""A timeline as a Praat TextGrid: a tier of emotions and a tier of words for each speaker."""

from collections.abc import Iterator, Sequence
from itertools import count

from praatio.utilities.textgrid_io import getTextgridAsStr

from moodline.inference.timeline.subtitles import one_line, refuse_without_times
from moodline.inference.timeline.timeline import Timeline, TimelineTurn
from moodline.inference.timeline.times import in_milliseconds

Entry = tuple[float, float, str]


def to_textgrid(timeline: Timeline) -> str:
    """In the long text format. A tier holds one interval at a time: a speaker's overlapping turns go to further tiers.

    What stands above every output is the first tier's only interval.

    Raises:
        MoodlineError: the turns have no times
    """
    refuse_without_times(timeline, "a TextGrid")
    timeline = in_milliseconds(timeline)  # readers of TextGrids do not know the exponents of smaller numbers
    end = max([timeline.duration or 0.0, *(_span(turn)[1] for turn in timeline.turns)])
    tiers: dict[str, list[Entry]] = {}
    if timeline.notices:
        tiers["notices"] = [(0.0, end, one_line(f"{timeline.model.name}: {'; '.join(timeline.notices)}"))]
    for speaker in timeline.speakers:
        for turns in without_overlaps([turn for turn in timeline.turns if turn.speaker == speaker]):
            tiers[_unused(f"emotion: {speaker}", tiers)] = [_entry(turn, turn.label) for turn in turns]
            tiers[_unused(f"words: {speaker}", tiers)] = [_entry(turn, turn.words or "") for turn in turns]
    content = {
        "xmin": 0.0,
        "xmax": end,
        "tiers": [
            {"class": "IntervalTier", "name": one_line(name), "xmin": 0.0, "xmax": end, "entries": entries}
            for name, entries in (tiers or {"emotion": []}).items()
        ],
    }
    return getTextgridAsStr(content, "long_textgrid", includeBlankSpaces=True, minimumIntervalLength=0.0)


def without_overlaps(turns: Sequence[TimelineTurn]) -> list[list[TimelineTurn]]:
    """The turns in as few rows as hold them, each row's turns one after the other."""
    rows: list[list[TimelineTurn]] = []
    for turn in sorted(turns, key=_span):
        begin, _ = _span(turn)
        free = next((row for row in rows if _span(row[-1])[1] <= begin), None)
        if free is None:
            rows.append([turn])
        else:
            free.append(turn)
    return rows


def _span(turn: TimelineTurn) -> tuple[float, float]:
    return turn.start or 0.0, turn.end or 0.0


def _entry(turn: TimelineTurn, text: str) -> Entry:
    return (*_span(turn), one_line(text))


def _unused(name: str, taken: dict[str, list[Entry]]) -> str:
    return next(one for one in _numbered(name) if one not in taken)


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name} ({number})"
