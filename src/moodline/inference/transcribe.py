"""A recording's segments and their words: from a transcript, or by voice activity and a recogniser."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from moodline import asr as speech
from moodline.asr import open_recognition
from moodline.audio.recording import Recording, open_recording
from moodline.audio.vad import Channels, detect_turns
from moodline.conversation import Segment
from moodline.device import AUTO, recogniser_device
from moodline.errors import MoodlineError, format_count
from moodline.transcripts.formats import read_transcript, refuse_wordless_format, write_transcript
from moodline.transcripts.transcript import fit_to_duration

# Whose sound is in memory together: so many turns, or fewer that last so long.
MAX_TURNS_PER_BLOCK = 128
MAX_SECONDS_PER_BLOCK = 300.0
ASR_PROGRESS = "words heard"

ProgressCallback = Callable[[str, int, int], None]
"""Is told what was done, with how many turns, and of how many."""


def no_progress(done: str, turns: int, of: int) -> None:
    """Progress that nobody is told of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcription:
    """A recording's turns in order of their starts.

    Attributes:
        turns_from, words_from: as ``Timeline`` has them
        notes: sentences on what was left out or guessed
        language: of the words, as the transcript spells it; None where it does not tell
    """

    turns: tuple[Segment, ...]
    turns_from: str
    words_from: str | None = None
    notes: tuple[str, ...] = ()
    language: str | None = None

    @property
    def turns_with_words(self) -> tuple[Segment, ...]:
        """Those in which words were found."""
        return tuple(turn for turn in self.turns if (turn.words or "").strip())

    def write(self, path: str | Path) -> None:
        """Write the turns that have words as a transcript, in the format of the file's ending, whole or not at all.

        Raises:
            MoodlineError: the ending is of no format, or of one without words; or the file cannot be written
        """
        refuse_wordless_format(Path(path))
        write_transcript(Path(path), self.turns_with_words)


def find_turns(recording: Recording, transcript: Path | None, channels: Channels) -> Transcription:
    """A transcript's turns, or those that voice activity finds.

    Raises:
        MoodlineError: the transcript is none, or another recording's; there is no speech; see ``detect_turns``
    """
    if channels not in get_args(Channels):
        raise MoodlineError(f"channels are {' or '.join(get_args(Channels))}, not {channels!r}: name one of them")
    if transcript is None:
        by = "voice activity" if channels == "mixed" else "voice activity in each channel"
        return Transcription(turns=tuple(detect_turns(recording, channels)), turns_from=by)
    if channels != "mixed":
        raise MoodlineError(
            f"turns come from a transcript or from channels: with {transcript}, whose speakers it tells, leave out "
            f"--channels {channels}"
        )
    told = read_transcript(transcript)
    recording.read_through()  # a header may promise more than there is, and damage may lie after the last turn
    found = fit_to_duration(told, recording.duration)
    worded = any(turn.words is not None for turn in found.turns)
    return Transcription(
        turns=found.turns,
        turns_from=f"{transcript.name} ({found.format})",
        words_from=transcript.name if worded else None,
        notes=found.notes,
        language=found.language,
    )


def recognise_words(
    recording: Recording,
    spoken: Transcription,
    named: str | None,
    jobs: int,
    progress: ProgressCallback = no_progress,
    device: str = "auto",
) -> Transcription:
    """The same with a recogniser's words in the turns that have none yet, in which it may hear nothing.

    Args:
        named: see ``speech.recogniser.choose_recogniser``
        jobs: turns that are heard at a time
        device: see ``speech.recogniser.load_recogniser``

    Raises:
        MoodlineError: there is no such recogniser, or not one job
    """
    if jobs < 1:
        raise MoodlineError(f"jobs are 1 or more, not {jobs}")
    silent = [turn for turn in spoken.turns if turn.words is None]
    if not silent:
        return spoken
    chosen = speech.choose_recogniser(named)
    recogniser = speech.load_recogniser(chosen, device)
    heard: list[str] = []
    progress(ASR_PROGRESS, 0, len(silent))
    with open_recognition(recogniser, chosen, min(jobs, len(silent)), device) as recognise:
        for _, waveforms in iter_blocks(recording, silent, speech.SAMPLE_RATE):
            for words in recognise([SampledSpeech(waveform) for waveform in waveforms]):
                heard.append(words)
                progress(ASR_PROGRESS, len(heard), len(silent))
    found = iter(heard)
    turns = tuple(turn if turn.words is not None else replace(turn, words=next(found)) for turn in spoken.turns)
    by = f"{recogniser.name} {recogniser.version}"
    return replace(spoken, turns=turns, words_from=f"{spoken.words_from}, else {by}" if spoken.words_from else by)


@dataclass(frozen=True, slots=True)
class SampledSpeech:
    """Speech that is at hand, for a recogniser: (T,) at its sample rate."""

    waveform: np.ndarray

    @property
    def origin(self) -> Sequence[object]:
        return (self.waveform.tobytes(),)

    def samples(self) -> np.ndarray:
        return self.waveform


def iter_blocks(
    recording: Recording, turns: Sequence[Segment], sample_rate: int
) -> Iterator[tuple[Sequence[Segment], list[np.ndarray]]]:
    """Turns in order of their starts, some at a time, each with its waveform (T,), in one reading."""
    clips = recording.iter_clips([(turn.start, turn.end, turn.channel) for turn in turns], sample_rate)
    first = 0
    for last in range(1, len(turns) + 1):
        block = turns[first:last]
        # One turn may be longer than all that is held together otherwise; it is then held alone.
        full = (
            len(block) == MAX_TURNS_PER_BLOCK or sum(turn.end - turn.start for turn in block) >= MAX_SECONDS_PER_BLOCK
        )
        if full or last == len(turns):
            yield block, [next(clips) for _ in block]
            first = last


def transcribe(
    source: str | Path | np.ndarray,
    *,
    sample_rate: int | None = None,
    transcript: str | Path | None = None,
    channels: Channels = "mixed",
    recogniser: str | None = None,
    jobs: int = 1,
    device: str | torch.device = AUTO,
    progress: ProgressCallback = no_progress,
) -> Transcription:
    """The turns of a recording, in order of their starts, with their words; ``write`` makes a transcript of them.

    They are the turns and words that ``Predictor.recognise`` labels. Turns in which nothing is heard have no words.

    Args:
        source: a file; or samples (T,) or (T, channels), floats within [-1, 1] or integers of full scale
        sample_rate: of samples, in Hz
        transcript: a file of turns, such as RTTM; its words are kept, and turns without any are heard
        channels: ``mixed``, or ``speakers`` where each channel has a speaker of its own
        recogniser: pocketsphinx, or a model of faster-whisper; see ``speech.recogniser.choose_recogniser``
        jobs: turns whose words are recognised at a time
        device: of a recogniser that can use a GPU, Whisper: cpu, cuda or cuda:N; auto takes CUDA, else the CPU
        progress: is told of how many turns words are heard

    Raises:
        MoodlineError: nothing can be read, no speech or not a word is found; the transcript is another recording's; or
            there is no such recogniser or device
    """
    device = recogniser_device(device)
    recording = open_recording(source, sample_rate)
    found = find_turns(recording, None if transcript is None else Path(transcript), channels)
    spoken = recognise_words(recording, found, recogniser, jobs, progress, device)
    silent = len(spoken.turns) - len(spoken.turns_with_words)
    if not spoken.turns_with_words:
        raise MoodlineError(
            f"a transcript holds words, and none were found in the {format_count(len(spoken.turns), 'turn')} of "
            f"{recording.name} by {spoken.words_from}: take another --recogniser, or look whether it holds speech"
        )
    notes = [f"no words were found in {silent:,} of {format_count(len(spoken.turns), 'turn')}"] if silent else []
    return replace(spoken, notes=(*spoken.notes, *notes, *map(str, recording.gaps)))
