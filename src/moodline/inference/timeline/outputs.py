"""The files that a timeline becomes, by their formats' names and their names' endings."""

from collections.abc import Callable, Mapping
from pathlib import Path

from moodline.audio.recording import Recording
from moodline.errors import MoodlineError
from moodline.files import write_text
from moodline.inference.timeline.page import html
from moodline.inference.timeline.praat import to_textgrid
from moodline.inference.timeline.rows import to_csv
from moodline.inference.timeline.schema import to_json
from moodline.inference.timeline.subtitles import to_srt
from moodline.inference.timeline.timeline import Timeline

FORMATS: Mapping[str, Callable[[Timeline], str]] = {
    "json": to_json,
    "csv": to_csv,
    "srt": to_srt,
    "textgrid": to_textgrid,
    "html": html,
}
ENDINGS = {".json": "json", ".csv": "csv", ".srt": "srt", ".textgrid": "textgrid", ".html": "html", ".htm": "html"}
# As Praat and most browsers' users write them.
USUAL_ENDINGS = {"json": ".json", "csv": ".csv", "srt": ".srt", "textgrid": ".TextGrid", "html": ".html"}


def format_of(path: Path) -> str:
    """The format that a file's name ends with.

    Raises:
        MoodlineError: it ends with none
    """
    if path.suffix.lower() not in ENDINGS:
        raise MoodlineError(
            f"a timeline's file ends with one of {', '.join(ENDINGS)}, and {path} does not: rename it, or name a format"
        )
    return ENDINGS[path.suffix.lower()]


def write(timeline: Timeline, path: Path, format: str | None = None, *, recording: Recording | None = None) -> None:
    """Write the timeline, whole or not at all.

    Args:
        format: one of ``FORMATS``; None takes the one that the path ends with
        recording: to be heard in the page

    Raises:
        MoodlineError: there is no such format, the timeline lacks what it needs, or the file cannot be written
    """
    name = format or format_of(path)
    if name not in FORMATS:
        raise MoodlineError(f"a timeline's format is one of {', '.join(FORMATS)}, not {name!r}")
    write_text(path, html(timeline, recording) if name == "html" else FORMATS[name](timeline))
