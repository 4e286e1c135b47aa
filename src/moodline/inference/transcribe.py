"""A recording's turns and what is said in them, without their emotions."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from moodline.audio.recording import recording_of
from moodline.errors import MoodlineError
from moodline.inference.spoken_turns import Progress, SpokenTurns, find_turns, hear_words, untold
from moodline.speech.turns import Channels
from moodline.wording import counted


def transcribe(
    source: str | Path | np.ndarray,
    *,
    sample_rate: int | None = None,
    transcript: str | Path | None = None,
    channels: Channels = "mixed",
    recogniser: str | None = None,
    jobs: int = 1,
    progress: Progress = untold,
) -> SpokenTurns:
    """The turns of a recording, in order of their starts, with their words; ``write`` makes a transcript of them.

    They are the turns and words that ``Predictor.recognise`` labels. Turns in which nothing is heard have no words.

    Args:
        source: a file; or samples (T,) or (T, channels), floats within [-1, 1] or integers of full scale
        sample_rate: of samples, in Hz
        transcript: a file of turns, such as RTTM; its words are kept, and turns without any are heard
        channels: ``mixed``, or ``speakers`` where each channel has a speaker of its own
        recogniser: pocketsphinx, or a model of faster-whisper; see ``speech.recogniser.choose``
        jobs: turns whose words are recognised at a time
        progress: is told of how many turns words are heard

    Raises:
        MoodlineError: nothing can be read, no speech or not a word is found; the transcript is another recording's; or
            there is no such recogniser
    """
    recording = recording_of(source, sample_rate)
    found = find_turns(recording, None if transcript is None else Path(transcript), channels)
    spoken = hear_words(recording, found, recogniser, jobs, progress)
    silent = len(spoken.turns) - len(spoken.worded)
    if not spoken.worded:
        raise MoodlineError(
            f"a transcript holds words, and none were found in the {counted(len(spoken.turns), 'turn')} of "
            f"{recording.name} by {spoken.words_from}: take another --recogniser, or look whether it holds speech"
        )
    notes = [f"no words were found in {silent:,} of {counted(len(spoken.turns), 'turn')}"] if silent else []
    return replace(spoken, notes=(*spoken.notes, *notes, *map(str, recording.gaps)))
