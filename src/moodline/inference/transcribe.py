"""A recording's turns and their words: from a transcript, or by voice activity and a recogniser."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from moodline import asr
from moodline.audio.recording import Recording, open_recording
from moodline.audio.vad import Channels, detect_turns
from moodline.conversation import Segment
from moodline.device import AUTO, recogniser_device
from moodline.errors import MoodlineError, format_count, format_option
from moodline.transcripts.formats import read_transcript, refuse_wordless_format, write_transcript
from moodline.transcripts.transcript import fit_to_duration

ProgressCallback = Callable[[str, int, int], None]
"""Receives the step, the number of finished turns, and their total."""


def no_progress(step: str, turns: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcription:
    """A recording's turns in order of their starts.

    Attributes:
        turns_from, words_from: as in ``Timeline``
        notes: sentences on omissions and guesses
        language: of the words, as the transcript spells it; None if it names none
    """

    turns: tuple[Segment, ...]
    turns_from: str
    words_from: str | None = None
    notes: tuple[str, ...] = ()
    language: str | None = None

    @property
    def turns_with_words(self) -> tuple[Segment, ...]:
        return tuple(turn for turn in self.turns if (turn.words or "").strip())

    def write(self, path: str | Path) -> None:
        """Write the turns that have words as a transcript, in the format of the file's ending, whole or not at all."""
        refuse_wordless_format(Path(path))
        write_transcript(Path(path), self.turns_with_words)


def transcribe(
    source: str | Path | np.ndarray,
    *,
    sample_rate: int | None = None,
    transcript: str | Path | None = None,
    channels: Channels = "mixed",
    recogniser: str | asr.SpeechRecogniser | None = None,
    jobs: int | None = 1,
    device: str | torch.device = AUTO,
    progress: ProgressCallback = no_progress,
) -> Transcription:
    """Find the turns of a recording, in order of their starts, and recognise their words.

    They are the turns and words that ``Model.predict`` reads. Turns without recognised words have none.

    Args:
        source: a file; or samples (T,) or (T, channels), floats within [-1, 1] or integers of full scale
        sample_rate: of samples, in Hz
        transcript: a file of turns, such as RTTM; words are recognised only in turns without any
        channels: ``mixed``, or ``speakers`` if each channel has its own speaker
        recogniser: pocketsphinx or a model of faster-whisper; a ``SpeechRecogniser`` is loaded once for many recordings
        jobs: processes of a named recogniser, see ``SpeechRecogniser``
        device: of a named recogniser that can use a GPU (Whisper): cpu, cuda or cuda:N; auto takes CUDA, else the CPU
        progress: receives the number of turns whose words are recognised

    Raises:
        MoodlineError: nothing can be read, no speech or no words are found, or an option does not fit
    """
    device = recogniser_device(device)
    recording = open_recording(source, sample_rate, separate=channels == "speakers")
    is_shared = isinstance(recogniser, asr.SpeechRecogniser)
    with nullcontext(recogniser) if is_shared else asr.SpeechRecogniser(recogniser, jobs, device) as loaded:
        found = find_turns(recording, transcript, channels, loaded, progress)
    turns, silent = format_count(len(found.turns), "turn"), len(found.turns) - len(found.turns_with_words)
    if not found.turns_with_words:
        raise MoodlineError(
            f"{found.words_from} found no words in the {turns} of {recording.name}: take another "
            f"{format_option('recogniser')}",
            code="asr.no_words",
        )
    notes = [f"no words were found in {silent:,} of {turns}"] if silent else []
    return replace(found, notes=(*found.notes, *notes, *map(str, recording.gaps)))


def find_turns(
    recording: Recording,
    transcript: str | Path | None,
    channels: Channels,
    recogniser: asr.SpeechRecogniser | None,
    progress: ProgressCallback,
) -> Transcription:
    """Read a transcript's turns, or find turns by voice activity; recognise words that are unknown, which may be none.

    Args:
        recogniser: None recognises no words
    """
    if channels not in get_args(Channels):
        known = " or ".join(get_args(Channels))
        raise MoodlineError(f"channels must be {known}, not {channels!r}", code="option.unknown_channels")
    if transcript is None:
        by = "voice activity" if channels == "mixed" else "voice activity in each channel"
        found = Transcription(turns=tuple(detect_turns(recording, channels)), turns_from=by)
    elif channels != "mixed":
        raise MoodlineError(
            f"the speakers come from {transcript}: leave out {format_option('channels', channels)}",
            code="option.unfit_channels",
        )
    else:
        name = Path(transcript).name
        read = fit_to_duration(read_transcript(Path(transcript)), recording.duration)
        found = Transcription(
            turns=read.turns,
            turns_from=f"{name} ({read.format})",
            words_from=name if any(turn.words is not None for turn in read.turns) else None,
            notes=read.notes,
            language=read.language,
        )
    unknown = [position for position, turn in enumerate(found.turns) if turn.words is None]
    if recogniser is None or not unknown:
        return found
    progress("words recognised", 0, len(unknown))
    turns = list(found.turns)
    segments = (turns[position] for position in unknown)
    sources = (recording.clip(one.start, one.end, asr.SAMPLE_RATE, one.channel) for one in segments)
    for done, words in enumerate(recogniser.recognise(sources)):
        turns[unknown[done]] = replace(turns[unknown[done]], words=words)
        progress("words recognised", done + 1, len(unknown))
    by = f"{recogniser.name} {recogniser.version}"
    return replace(
        found,
        turns=tuple(turns),
        words_from=f"{found.words_from}, else {by}" if found.words_from else by,
        notes=(*found.notes, *recogniser.notes),
    )
