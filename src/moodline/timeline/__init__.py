"""A recording's timeline of emotions, and its files: JSON, CSV, SRT, TextGrid and an HTML page."""

from collections.abc import Callable, Mapping
from pathlib import Path

from moodline.audio.recording import Recording
from moodline.errors import MoodlineError
from moodline.io import write_text
from moodline.timeline.html import render_page
from moodline.timeline.schema import to_json
from moodline.timeline.timeline import UNCERTAIN, Gap, ModelFacts, Timeline, TimelineTurn
from moodline.timeline.writers import to_csv, to_srt, to_textgrid

FORMATS: Mapping[str, Callable[[Timeline], str]] = {
    "json": to_json,
    "csv": to_csv,
    "srt": to_srt,
    "textgrid": to_textgrid,
    "html": render_page,
}
FORMAT_BY_SUFFIX = {
    ".json": "json",
    ".csv": "csv",
    ".srt": "srt",
    ".textgrid": "textgrid",
    ".html": "html",
    ".htm": "html",
}
# As Praat and most browsers' users write them.
DEFAULT_SUFFIXES = {"json": ".json", "csv": ".csv", "srt": ".srt", "textgrid": ".TextGrid", "html": ".html"}


def find_format(path: Path) -> str:
    """The format that a file's name ends with.

    Raises:
        MoodlineError: it ends with none
    """
    if path.suffix.lower() not in FORMAT_BY_SUFFIX:
        raise MoodlineError(
            f"a timeline's file ends with one of {', '.join(FORMAT_BY_SUFFIX)}, and {path} does not: rename it, or "
            f"name a format"
        )
    return FORMAT_BY_SUFFIX[path.suffix.lower()]


def write_timeline(
    timeline: Timeline, path: Path, format: str | None = None, *, recording: Recording | None = None
) -> None:
    """Write the timeline, whole or not at all.

    Args:
        format: one of ``FORMATS``; None takes the one that the path ends with
        recording: to be heard in the page

    Raises:
        MoodlineError: there is no such format, the timeline lacks what it needs, or the file cannot be written
    """
    name = format or find_format(path)
    if name not in FORMATS:
        raise MoodlineError(f"a timeline's format is one of {', '.join(FORMATS)}, not {name!r}")
    write_text(path, render_page(timeline, recording) if name == "html" else FORMATS[name](timeline))


__all__ = ["FORMATS", "UNCERTAIN", "Gap", "ModelFacts", "Timeline", "TimelineTurn", "find_format", "write_timeline"]
