"""Times as they are written: whole milliseconds, whatever the sums that they came from left behind them."""

from dataclasses import replace

from moodline.inference.timeline.timeline import Timeline, TimelineTurn

DECIMALS = 3  # of a second
SHORTEST = 10**-DECIMALS


def in_milliseconds(timeline: Timeline) -> Timeline:
    """The same timeline; a turn that would end where it begins is a millisecond long."""
    return replace(
        timeline,
        duration=None if timeline.duration is None else rounded(timeline.duration),
        turns=tuple(map(_turn, timeline.turns)),
        gaps=tuple(replace(gap, start=rounded(gap.start), end=rounded(gap.end)) for gap in timeline.gaps),
    )


def rounded(seconds: float) -> float:
    return round(seconds, DECIMALS)


def _turn(turn: TimelineTurn) -> TimelineTurn:
    if turn.start is None or turn.end is None:
        return turn
    start = rounded(turn.start)
    return replace(turn, start=start, end=max(rounded(turn.end), rounded(start + SHORTEST)))
