"""A timeline as SRT subtitles: ``[anger .82] ANA: words``."""

from moodline.errors import MoodlineError
from moodline.inference.timeline.timeline import Timeline, TimelineTurn
from moodline.inference.timeline.times import in_milliseconds

NOTICE_SECONDS = 4.0


def to_srt(timeline: Timeline) -> str:
    """A cue a turn, in the order of their begins; overlapping ones are kept as they are.

    SRT has no comments: what stands above every output is a cue at the recording's begin.

    Raises:
        MoodlineError: the turns have no times
    """
    refuse_without_times(timeline, "SRT")
    turns = sorted(in_milliseconds(timeline).turns, key=lambda turn: turn.start or 0.0)
    cues = [(turn.start or 0.0, turn.end or 0.0, _said(turn)) for turn in turns]
    if timeline.notices:
        cues.insert(0, (0.0, NOTICE_SECONDS, one_line(f"[{timeline.model.name}] {'; '.join(timeline.notices)}")))
    return "\n".join(_cue(number, *cue) for number, cue in enumerate(cues, start=1))


def refuse_without_times(timeline: Timeline, what: str) -> None:
    if not timeline.timed:
        raise MoodlineError(
            f"{what} needs the turns' times, and {timeline.recording} has words alone: write JSON, CSV or HTML"
        )


def probability(value: float) -> str:
    """Two digits without the zero before them: ``.82``, ``1.0``."""
    return "1.0" if value >= 0.995 else f"{value:.2f}"[1:]


def one_line(text: str) -> str:
    """A blank line would end a cue, and the format's arrow is no word."""
    return " ".join(text.split()).replace("-->", "->")


def _said(turn: TimelineTurn) -> str:
    return one_line(f"[{turn.label} {probability(turn.probability)}] {turn.speaker}: {turn.words or ''}")


def _cue(number: int, start: float, end: float, text: str) -> str:
    return f"{number}\n{_time(start)} --> {_time(end)}\n{text}\n"


def _time(time: float) -> str:
    seconds, milliseconds = divmod(round(time * 1000), 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d},{milliseconds:03d}"
