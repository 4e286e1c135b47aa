"""A recording's timeline of emotions, and its files: JSON, CSV, SRT, TextGrid and an HTML page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from moodline.audio.recording import Recording, open_recording
from moodline.errors import MoodlineError
from moodline.io import write_text
from moodline.timeline.html import render_page
from moodline.timeline.schema import from_json, to_json
from moodline.timeline.timeline import UNCERTAIN, Gap, ModelFacts, TimelineContent, TimelineTurn
from moodline.timeline.writers import build_table, to_csv, to_srt, to_textgrid

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline(TimelineContent):
    """A recording's turns with their emotions; ``TimelineContent`` lists the attributes."""

    def to_table(self) -> "pa.Table":
        """Return a row for each turn: start, end, speaker, channel, label, ``p_<class>`` for each class, words."""
        return build_table(self)

    def to_pandas(self) -> Any:
        """Return ``to_table`` as a pandas.DataFrame.

        Raises:
            MoodlineError: pandas is not installed
        """
        try:
            import pandas  # noqa: F401
        except ModuleNotFoundError as error:
            raise MoodlineError(
                "pandas is not installed: pip install pandas, or use to_table()", code="timeline.no_pandas"
            ) from error
        return self.to_table().to_pandas()

    to_frame = to_pandas

    def to_json(self) -> str:
        """Return all of it, times in milliseconds; ``from_json`` reads it. docs/timeline.md has the schema."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            MoodlineError: the text is no timeline, or has a newer schema
        """
        return from_json(text, cls)

    def to_csv(self) -> str:
        """Return the columns of ``to_table``, and the recording, the model and the notices in each row."""
        return to_csv(self)

    def to_srt(self) -> str:
        """Return subtitles, a cue for each turn.

        Raises:
            MoodlineError: the turns have no times
        """
        return to_srt(self)

    def to_textgrid(self) -> str:
        """Return a Praat TextGrid, a tier of emotions and a tier of words for each speaker.

        Raises:
            MoodlineError: the turns have no times
        """
        return to_textgrid(self)

    def to_html(self, audio: "str | Path | np.ndarray | None" = None, *, sample_rate: int | None = None) -> str:
        """Return one self-contained page.

        Args:
            audio: the recording, which the page plays and draws: a file, or samples (T,) or (T, channels), floats
                within [-1, 1] or integers of full scale
            sample_rate: of samples, in Hz

        Raises:
            MoodlineError: the recording cannot be read; samples come without their rate, or a file with one
        """
        return render_page(self, None if audio is None else open_recording(audio, sample_rate))

    def save(
        self,
        path: str | Path,
        format: str | None = None,
        *,
        audio: "str | Path | np.ndarray | None" = None,
        sample_rate: int | None = None,
    ) -> None:
        """Write the timeline to a file, whole or not at all.

        Args:
            format: json, csv, srt, textgrid or html; None takes the one of the file's ending
            audio: the recording of a page, as for ``to_html``
            sample_rate: of audio samples, in Hz

        Raises:
            MoodlineError: there is no such format, the format needs times, or the file cannot be written
        """
        recording = None if audio is None else open_recording(audio, sample_rate)
        write_timeline(self, Path(path), format, recording=recording)


FORMATS: Mapping[str, Callable[[TimelineContent], str]] = {
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
    """Find the format of a file's ending.

    Raises:
        MoodlineError: no format has this ending
    """
    if path.suffix.lower() not in FORMAT_BY_SUFFIX:
        raise MoodlineError(
            f"{path} has an unknown ending (known: {', '.join(FORMAT_BY_SUFFIX)}); rename it, or choose a format",
            code="timeline.unknown_format",
        )
    return FORMAT_BY_SUFFIX[path.suffix.lower()]


def write_timeline(
    timeline: Timeline, path: Path, format: str | None = None, *, recording: Recording | None = None
) -> None:
    """Write the timeline, whole or not at all.

    Args:
        format: one of ``FORMATS``; None takes the one that the path ends with
        recording: that the page plays

    Raises:
        MoodlineError: there is no such format, the timeline lacks what it needs, or the file cannot be written
    """
    name = format or find_format(path)
    if name not in FORMATS:
        raise MoodlineError(
            f"unknown timeline format {name!r}; choose one of {', '.join(FORMATS)}", code="timeline.unknown_format"
        )
    write_text(path, render_page(timeline, recording) if name == "html" else FORMATS[name](timeline))


__all__ = ["FORMATS", "UNCERTAIN", "Gap", "ModelFacts", "Timeline", "TimelineTurn", "find_format", "write_timeline"]
