"""A turn of a recording: what a transcript, voice activity or a recogniser tells of it, before any emotion."""

from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A stretch of a recording in which one speaker speaks.

    Attributes:
        start, end: in seconds from the recording's begin
        speaker: as the source spells it; ``UNKNOWN`` where nothing tells
        words: None where nobody has heard them yet, empty where there are none
        channel: of the recording, from 0, that the speaker is on; None where it is the mean of all
    """

    start: float
    end: float
    speaker: str = UNKNOWN
    words: str | None = None
    channel: int | None = None
