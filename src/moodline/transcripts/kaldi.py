"""Kaldi's data folders: segments (utterance, recording, start, end), and beside it text and utt2spk.

https://kaldi-asr.org/doc/data_prep.html
"""

import re
from pathlib import Path

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError, quote
from moodline.tabular import read_text
from moodline.transcripts.nist import refuse_several_recordings
from moodline.transcripts.transcript import ParsedTranscript, build_error

NAME, SEGMENTS, TEXT, SPEAKERS = "Kaldi's segments", "segments", "text", "utt2spk"
TIME = r"\d+(?:\.\d*)?"
PATTERN = re.compile(rf"\s*\S+[^\S\r\n]+\S+[^\S\r\n]+{TIME}[^\S\r\n]+{TIME}[^\S\r\n]*(?:[\r\n]|$)", re.ASCII)


def parse_segments(text: str, origin: str) -> ParsedTranscript:
    """Parse the segments of the file's one recording, with the words and speakers of the files beside it."""
    folder = Path(origin).parent
    words, speakers = (read_values(folder / name) for name in (TEXT, SPEAKERS))
    cues: list[tuple[str, Segment]] = []
    recordings: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{origin}:{number}"
        try:
            utterance, recording, start, end = line.split()
            begin, stop = float(start), float(end)
        except ValueError:
            raise build_error(
                place, quote(line.strip()), "utterance recording start end", "transcript.invalid_line"
            ) from None
        recordings.append(recording)
        said = words.get(utterance, "") if words else None  # a folder without words has turns alone
        cues.append((place, Segment(start=begin, end=stop, speaker=speakers.get(utterance, UNKNOWN), words=said)))
    refuse_several_recordings(recordings, origin)
    notes = [] if words else [f"there is no file {TEXT} beside {origin}, so its segments have no words"]
    return ParsedTranscript(NAME, cues, notes)


def read_values(path: Path) -> dict[str, str]:
    """Read the rest of each line by its first word; nothing of a file that does not exist."""
    if not path.is_file():
        return {}
    rows = (line.strip().split(maxsplit=1) for line in read_text(path).splitlines())
    return {row[0]: row[1] if len(row) > 1 else "" for row in rows if row}


def find_segments(folder: Path) -> Path:
    """Find the segments of a folder; refuse a folder that holds none."""
    path = folder / SEGMENTS
    if not path.is_file():
        raise MoodlineError(
            f"{folder} is a folder without Kaldi's file {SEGMENTS}. Give a file, or a folder that Kaldi reads.",
            code="transcript.folder",
        )
    return path
