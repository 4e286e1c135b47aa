"""What a recording's turns are and what is said in them: from a transcript, or found and heard."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from moodline.audio.recording import Recording
from moodline.errors import MoodlineError
from moodline.speech import recogniser as speech
from moodline.speech.parallel import recognising
from moodline.speech.transcripts.fit import fit
from moodline.speech.transcripts.reading import read_transcript
from moodline.speech.transcripts.writing import refuse_without_words, write_transcript
from moodline.speech.turn import Turn
from moodline.speech.turns import Channels, turns_of

# Whose sound is in memory together: so many turns, or fewer that last so long.
TURNS_AT_ONCE = 128
SECONDS_AT_ONCE = 300.0
HEARING = "words heard"

Progress = Callable[[str, int, int], None]
"""Is told what was done, with how many turns, and of how many."""


def untold(done: str, turns: int, of: int) -> None:
    """Progress that nobody is told of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpokenTurns:
    """A recording's turns in order of their starts.

    Attributes:
        turns_from, words_from: as ``Timeline`` has them
        notes: sentences on what was left out or guessed
        language: of the words, as the transcript spells it; None where it does not tell
    """

    turns: tuple[Turn, ...]
    turns_from: str
    words_from: str | None = None
    notes: tuple[str, ...] = ()
    language: str | None = None

    @property
    def worded(self) -> tuple[Turn, ...]:
        """Those in which words were found."""
        return tuple(turn for turn in self.turns if (turn.words or "").strip())

    def write(self, path: str | Path) -> None:
        """Write the turns that have words as a transcript, in the format of the file's ending, whole or not at all.

        Raises:
            MoodlineError: the ending is of no format, or of one without words; or the file cannot be written
        """
        refuse_without_words(Path(path))
        write_transcript(Path(path), self.worded)


def find_turns(recording: Recording, transcript: Path | None, channels: Channels) -> SpokenTurns:
    """A transcript's turns, or those that voice activity finds.

    Raises:
        MoodlineError: the transcript is none, or another recording's; there is no speech; see ``turns_of``
    """
    if channels not in get_args(Channels):
        raise MoodlineError(f"channels are {' or '.join(get_args(Channels))}, not {channels!r}: name one of them")
    if transcript is None:
        by = "voice activity" if channels == "mixed" else "voice activity in each channel"
        return SpokenTurns(turns=tuple(turns_of(recording, channels)), turns_from=by)
    if channels != "mixed":
        raise MoodlineError(
            f"turns come from a transcript or from channels: with {transcript}, whose speakers it tells, leave out "
            f"--channels {channels}"
        )
    told = read_transcript(transcript)
    recording.read_through()  # a header may promise more than there is, and damage may lie after the last turn
    found = fit(told, recording.duration)
    worded = any(turn.words is not None for turn in found.turns)
    return SpokenTurns(
        turns=found.turns,
        turns_from=f"{transcript.name} ({found.format})",
        words_from=transcript.name if worded else None,
        notes=found.notes,
        language=found.language,
    )


def hear_words(
    recording: Recording, spoken: SpokenTurns, named: str | None, jobs: int, progress: Progress = untold
) -> SpokenTurns:
    """The same with a recogniser's words in the turns that have none yet, in which it may hear nothing.

    Args:
        named: see ``speech.recogniser.choose``
        jobs: turns that are heard at a time

    Raises:
        MoodlineError: there is no such recogniser, or not one job
    """
    if jobs < 1:
        raise MoodlineError(f"jobs are 1 or more, not {jobs}")
    silent = [turn for turn in spoken.turns if turn.words is None]
    if not silent:
        return spoken
    chosen = speech.choose(named)
    recogniser = speech.load(chosen)
    heard: list[str] = []
    progress(HEARING, 0, len(silent))
    with recognising(recogniser, chosen, min(jobs, len(silent))) as recognise:
        for _, waveforms in in_blocks(recording, silent, speech.SAMPLE_RATE):
            for words in recognise([Samples(waveform) for waveform in waveforms]):
                heard.append(words)
                progress(HEARING, len(heard), len(silent))
    found = iter(heard)
    turns = tuple(turn if turn.words is not None else replace(turn, words=next(found)) for turn in spoken.turns)
    by = f"{recogniser.name} {recogniser.version}"
    return replace(spoken, turns=turns, words_from=f"{spoken.words_from}, else {by}" if spoken.words_from else by)


@dataclass(frozen=True, slots=True)
class Samples:
    """Speech that is at hand, for a recogniser: (T,) at its sample rate."""

    waveform: np.ndarray

    @property
    def origin(self) -> Sequence[object]:
        return (self.waveform.tobytes(),)

    def samples(self) -> np.ndarray:
        return self.waveform


def in_blocks(
    recording: Recording, turns: Sequence[Turn], sample_rate: int
) -> Iterator[tuple[Sequence[Turn], list[np.ndarray]]]:
    """Turns in order of their starts, some at a time, each with its waveform (T,), in one reading."""
    clips = recording.clips([(turn.start, turn.end, turn.channel) for turn in turns], sample_rate)
    first = 0
    for last in range(1, len(turns) + 1):
        block = turns[first:last]
        # One turn may be longer than all that is held together otherwise; it is then held alone.
        full = len(block) == TURNS_AT_ONCE or sum(turn.end - turn.start for turn in block) >= SECONDS_AT_ONCE
        if full or last == len(turns):
            yield block, [next(clips) for _ in block]
            first = last
