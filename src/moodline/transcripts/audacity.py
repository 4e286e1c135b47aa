"""Audacity's label tracks: a line for each label, with start, end and text between tabs, in seconds.

https://manual.audacityteam.org/man/importing_and_exporting_labels.html
"""

import re

from moodline.conversation import Segment
from moodline.errors import quote
from moodline.tabular import parse_seconds
from moodline.transcripts.subtitles import find_speakers
from moodline.transcripts.transcript import ParsedTranscript, build_error

NAME = "label track of Audacity"
PATTERN = re.compile(r"\s*\d+[.,]\d+\t\d+[.,]\d+(?:\t|\r?\n|$)", re.ASCII)
FREQUENCIES = "\\\t"  # the line below a label's, with the lowest and the highest frequency


def parse_label_track(text: str, origin: str) -> ParsedTranscript:
    """Parse each label as a turn; see ``find_speakers``."""
    cues: list[tuple[str, Segment]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith(FREQUENCIES):
            continue
        start, end, words = [*line.split("\t", 2), "", ""][:3]
        begin, stop = parse_seconds(start), parse_seconds(end)
        if begin is None or stop is None:
            raise build_error(
                f"{origin}:{number}", quote(line.strip()), "start, end and text, with tabs", "transcript.invalid_line"
            )
        cues.append((f"{origin}:{number}", Segment(start=begin, end=stop, words=words)))
    return ParsedTranscript(NAME, find_speakers(cues))
