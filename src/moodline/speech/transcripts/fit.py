"""A transcript beside its recording: what lies past the recording's end."""

from dataclasses import replace

from moodline.errors import MoodlineError
from moodline.speech.transcripts.transcript import Transcript
from moodline.wording import counted

ROUNDED = 0.001  # seconds: transcripts have times to the millisecond, and so an end may come after the recording's
MOST = 0.5  # of the turns past the end: with more of them it is another recording's transcript


def fit(transcript: Transcript, duration: float) -> Transcript:
    """The turns that begin before the recording's end, none of them longer than it; what is changed is noted.

    Args:
        duration: of the recording, in seconds

    Raises:
        MoodlineError: more than half of the turns begin past the end
    """
    past = [turn for turn in transcript.turns if turn.start >= duration]
    last = max(turn.end for turn in transcript.turns)
    if len(past) > MOST * len(transcript.turns):
        raise MoodlineError(
            f"this is a transcript of another recording: {len(past):,} of its {counted(len(transcript.turns), 'turn')} "
            f"begin{'s' * (len(past) == 1)} after the recording's end, at {duration:.1f} s, and the last ends at "
            f"{last:.1f} s; give the recording's own transcript"
        )
    turns = [turn for turn in transcript.turns if turn.start < duration]
    long = [turn for turn in turns if turn.end > duration + ROUNDED]
    notes = [*transcript.notes]
    if past:
        notes.append(
            f"{counted(len(past), 'turn')} of the transcript left out, from {past[0].start:.1f} s on, as the recording "
            f"ends at {duration:.1f} s"
        )
    if long:
        notes.append(
            f"{counted(len(long), 'turn')} cut at the recording's end, at {duration:.1f} s, the first from "
            f"{long[0].start:.1f} s to {long[0].end:.1f} s"
        )
    cut = tuple(replace(turn, end=min(turn.end, duration)) for turn in turns)
    return replace(transcript, turns=cut, notes=tuple(notes))
