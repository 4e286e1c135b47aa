"""A recording's timeline of emotions, and its files: JSON, CSV, SRT, TextGrid and an HTML page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from moodline.audio.recording import Gap, Recording, open_recording
from moodline.errors import MoodlineError
from moodline.io import write_text
from moodline.timeline.html import render_page
from moodline.timeline.timeline import UNCERTAIN, ModelFacts, TimelineContent, TimelineTurn
from moodline.timeline.writers import build_table, from_json, to_csv, to_json, to_srt, to_textgrid

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
        """Return ``to_table`` as a pandas.DataFrame. A missing pandas raises a MoodlineError."""
        try:
            import pandas  # noqa: F401
        except ModuleNotFoundError as error:
            sentence = "pandas is not installed. Run pip install pandas, or use to_table()."
            raise MoodlineError(sentence, code="timeline.no_pandas") from error
        return self.to_table().to_pandas()

    to_frame = to_pandas

    def to_json(self) -> str:
        """Return all of it, times in milliseconds; ``from_json`` reads it. docs/timeline.md has the schema."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote. Another text and a newer schema raise a MoodlineError."""
        return from_json(text, cls)

    def to_csv(self) -> str:
        """Return the columns of ``to_table``, and the recording, the model and the notices in each row."""
        return to_csv(self)

    def to_srt(self) -> str:
        """Return subtitles, a cue for each turn. Turns without times raise a MoodlineError."""
        return to_srt(self)

    def to_textgrid(self) -> str:
        """Return a Praat TextGrid, a tier of emotions and one of words for each speaker; errors as for ``to_srt``."""
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
            format: json, csv, srt, textgrid or html; None chooses by the file's ending
            audio: the recording of a page, as for ``to_html``
            sample_rate: of audio samples, in Hz

        Raises:
            MoodlineError: the format does not exist or needs times, or the file cannot be written
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
DEFAULT_SUFFIXES = {"json": ".json", "csv": ".csv", "srt": ".srt", "textgrid": ".TextGrid", "html": ".html"}
FORMAT_BY_SUFFIX = {suffix.lower(): name for name, suffix in DEFAULT_SUFFIXES.items()} | {".htm": "html"}


def find_format(path: Path) -> str:
    """Find the format of a file's ending, or raise a MoodlineError."""
    if path.suffix.lower() not in FORMAT_BY_SUFFIX:
        sentence = (
            f"{path} has an unknown ending (known: {', '.join(FORMAT_BY_SUFFIX)}). Rename it, or choose a format."
        )
        raise MoodlineError(sentence, code="timeline.unknown_format")
    return FORMAT_BY_SUFFIX[path.suffix.lower()]


def write_timeline(
    timeline: Timeline, path: Path, format: str | None = None, *, recording: Recording | None = None
) -> None:
    """Write a file as ``Timeline.save`` does; ``recording`` is for the player of a page."""
    name = format or find_format(path)
    if name not in FORMATS:
        sentence = f"unknown timeline format {name!r}. Choose one of {', '.join(FORMATS)}."
        raise MoodlineError(sentence, code="timeline.unknown_format")
    write_text(path, render_page(timeline, recording) if name == "html" else FORMATS[name](timeline))


__all__ = ["FORMATS", "UNCERTAIN", "Gap", "ModelFacts", "Timeline", "TimelineTurn", "find_format", "write_timeline"]
