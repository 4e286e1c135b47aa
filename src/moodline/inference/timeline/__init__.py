"""A recording's timeline of emotions and its outputs: terminal, JSON, CSV, SRT, TextGrid and a page."""

from moodline.inference.prediction import UNCERTAIN
from moodline.inference.timeline.outputs import FORMATS, format_of, write
from moodline.inference.timeline.timeline import Gap, ModelFacts, Timeline, TimelineTurn

__all__ = ["FORMATS", "UNCERTAIN", "Gap", "ModelFacts", "Timeline", "TimelineTurn", "format_of", "write"]
