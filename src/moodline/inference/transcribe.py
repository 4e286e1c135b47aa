"""A recording's segments and their words: from a transcript, or by voice activity and a recogniser."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from moodline import asr as speech
from moodline.asr import Samples, SpeechRecogniser
from moodline.audio.recording import Recording, open_recording
from moodline.audio.vad import Channels, detect_turns
from moodline.conversation import Segment
from moodline.device import AUTO, recogniser_device
from moodline.errors import MoodlineError, format_count
from moodline.transcripts.formats import read_transcript, refuse_wordless_format, write_transcript
from moodline.transcripts.transcript import fit_to_duration

RECOGNISED = "words recognised"

ProgressCallback = Callable[[str, int, int], None]
"""Receives what is done, for how many turns, and of how many."""


def no_progress(done: str, turns: int, of: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcription:
    """A recording's turns in order of their starts.

    Attributes:
        turns_from, words_from: as ``Timeline`` has them
        notes: sentences on what was left out or guessed
        language: of the words, as the transcript spells it; None where it has none
    """

    turns: tuple[Segment, ...]
    turns_from: str
    words_from: str | None = None
    notes: tuple[str, ...] = ()
    language: str | None = None

    @property
    def turns_with_words(self) -> tuple[Segment, ...]:
        """The turns that have words."""
        return tuple(turn for turn in self.turns if (turn.words or "").strip())

    def write(self, path: str | Path) -> None:
        """Write the turns that have words as a transcript, in the format of the file's ending, whole or not at all.

        Raises:
            MoodlineError: the ending is of no format, or of one without words; or the file cannot be written
        """
        refuse_wordless_format(Path(path))
        write_transcript(Path(path), self.turns_with_words)


def transcribe(
    source: str | Path | np.ndarray,
    *,
    sample_rate: int | None = None,
    transcript: str | Path | None = None,
    channels: Channels = "mixed",
    recogniser: str | SpeechRecogniser | None = None,
    jobs: int | None = 1,
    device: str | torch.device = AUTO,
    progress: ProgressCallback = no_progress,
) -> Transcription:
    """Give the turns of a recording, in order of their starts, with their words; ``write`` makes a transcript of them.

    They are the turns and words that ``Model.recognise`` labels. Turns without recognised words have none.

    Args:
        source: a file; or samples (T,) or (T, channels), floats within [-1, 1] or integers of full scale
        sample_rate: of samples, in Hz
        transcript: a file of turns, such as RTTM; its words are kept, and those of turns without any are recognised
        channels: ``mixed``, or ``speakers`` where each channel has a speaker of its own
        recogniser: pocketsphinx, or a model of faster-whisper, see ``speech.recogniser.choose_recogniser``; or a
            ``SpeechRecogniser``, which is loaded once for many recordings
        jobs: processes of a recogniser that is named, see ``SpeechRecogniser``
        device: of a recogniser that is named and can use a GPU, Whisper: cpu, cuda or cuda:N; auto takes CUDA, else the
            CPU
        progress: receives how many turns' words are recognised

    Raises:
        MoodlineError: nothing can be read, no speech or not a word is found; the transcript is another recording's; or
            there is no such recogniser or device
    """
    chosen = recogniser_device(device)
    recording = open_recording(source, sample_rate, separate=channels == "speakers")
    is_shared = isinstance(recogniser, SpeechRecogniser)
    with nullcontext(recogniser) if is_shared else SpeechRecogniser(recogniser, jobs, chosen) as loaded:
        spoken = recognise_words(recording, find_turns(recording, transcript, channels), loaded, progress)
    silent = len(spoken.turns) - len(spoken.turns_with_words)
    if not spoken.turns_with_words:
        raise MoodlineError(
            f"a transcript holds words, and none were found in the {format_count(len(spoken.turns), 'turn')} of "
            f"{recording.name} by {spoken.words_from}: take another --recogniser, or check whether it holds speech"
        )
    notes = [f"no words were found in {silent:,} of {format_count(len(spoken.turns), 'turn')}"] if silent else []
    return replace(spoken, notes=(*spoken.notes, *notes, *map(str, recording.gaps)))


def find_turns(recording: Recording, transcript: str | Path | None, channels: Channels) -> Transcription:
    """Read a transcript's turns, or find turns by voice activity.

    Raises:
        MoodlineError: the transcript is malformed, or another recording's; there is no speech; see ``detect_turns``
    """
    if channels not in get_args(Channels):
        raise MoodlineError(f"channels are {' or '.join(get_args(Channels))}, not {channels!r}: name one of them")
    if transcript is None:
        by = "voice activity" if channels == "mixed" else "voice activity in each channel"
        return Transcription(turns=tuple(detect_turns(recording, channels)), turns_from=by)
    if channels != "mixed":
        raise MoodlineError(
            f"turns come from a transcript or from channels: with {transcript}, which has its own speakers, leave out "
            f"--channels {channels}"
        )
    name = Path(transcript).name
    found = fit_to_duration(read_transcript(Path(transcript)), recording.duration)
    return Transcription(
        turns=found.turns,
        turns_from=f"{name} ({found.format})",
        words_from=name if any(turn.words is not None for turn in found.turns) else None,
        notes=found.notes,
        language=found.language,
    )


def recognise_words(
    recording: Recording, spoken: Transcription, recogniser: SpeechRecogniser, progress: ProgressCallback = no_progress
) -> Transcription:
    """Recognise the words of the turns whose words are unknown; they may have none.

    Raises:
        MoodlineError: there is no such recogniser, or it is not installed
    """
    unknown = [turn for turn in spoken.turns if turn.words is None]
    if not unknown:
        return spoken
    progress(RECOGNISED, 0, len(unknown))
    sounds = (Samples(recording.clip(one.start, one.end, speech.SAMPLE_RATE, one.channel)) for one in unknown)
    recognised: list[str] = []
    for words in recogniser.recognise(sounds):
        recognised.append(words)
        progress(RECOGNISED, len(recognised), len(unknown))
    found = iter(recognised)
    turns = tuple(turn if turn.words is not None else replace(turn, words=next(found)) for turn in spoken.turns)
    by = f"{recogniser.name} {recogniser.version}"
    return replace(spoken, turns=turns, words_from=f"{spoken.words_from}, else {by}" if spoken.words_from else by)
