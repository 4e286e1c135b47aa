"""Writing turns as a transcript, in the format of the file's ending."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from moodline.errors import MoodlineError
from moodline.files import write_text
from moodline.speech.transcripts import rttm, srt, table, textgrid, vtt, whisper_json
from moodline.speech.turn import Turn

Written = Callable[[Sequence[Turn]], str]

WRITERS: Mapping[str, Written] = {
    ".srt": srt.written,
    ".vtt": vtt.written,
    ".textgrid": textgrid.written,
    ".json": whisper_json.written,
    ".csv": table.written_as_csv,
    ".jsonl": table.written_as_json_lines,
    ".rttm": rttm.written,
}


WITHOUT_WORDS = frozenset({".rttm"})


def write_transcript(path: Path, turns: Sequence[Turn]) -> None:
    """Write turns whole or not at all; ``reading.read_transcript`` reads them again, times to the millisecond.

    What a format cannot hold is told where it is written: RTTM has no words, a TextGrid no turns without words.
    Channels are in none.

    Raises:
        MoodlineError: the ending is of none of the formats, or the file cannot be written
    """
    writer_for(path)
    write_text(path, written_as(path.suffix, turns))


def written_as(ending: str, turns: Sequence[Turn]) -> str:
    """What a file of one of the endings of ``WRITERS`` would hold."""
    return WRITERS[ending.lower()]([on_one_line(turn) for turn in turns])


def on_one_line(turn: Turn) -> Turn:
    words = None if turn.words is None else " ".join(turn.words.split())
    return replace(turn, speaker=" ".join(turn.speaker.split()), words=words)


def writer_for(path: Path) -> Written:
    """What writes the format of a file's ending.

    Raises:
        MoodlineError: there is none
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise MoodlineError(
            f"a transcript's ending tells its format, one of {', '.join(WRITERS)}: {path} has "
            f"{path.suffix or 'none'}; name it so"
        )
    return writer


def refuse_without_words(path: Path) -> None:
    """Refuse a file that could not hold what is said.

    Raises:
        MoodlineError: its ending is of no format, or of one that has turns without words
    """
    writer_for(path)
    if path.suffix.lower() in WITHOUT_WORDS:
        worded = ", ".join(ending for ending in WRITERS if ending not in WITHOUT_WORDS)
        raise MoodlineError(
            f"{path} is to hold words, and {path.suffix} has turns without any: name it with one of {worded}"
        )
