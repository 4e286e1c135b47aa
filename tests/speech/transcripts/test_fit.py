"""A transcript beside a recording that is shorter."""

from hypothesis import given
from hypothesis import strategies as st

from moodline.conversation import Segment
from moodline.transcripts.transcript import Transcript, fit_to_duration
from tests.refusals import refuses

tenths = st.integers(0, 600).map(lambda tenth: tenth / 10)
turns = st.builds(lambda start, length: Segment(start=start, end=start + length + 0.1, words="a"), tenths, tenths)
transcripts = st.lists(turns, min_size=1).map(
    lambda some: Transcript(tuple(sorted(some, key=lambda turn: turn.start)), "SRT", ("noted",), "en")
)


@given(transcripts, tenths)
def test_what_is_within_the_recording_is_kept_and_the_rest_told(transcript: Transcript, duration: float) -> None:
    within = [turn for turn in transcript.turns if turn.start < duration]
    past = len(transcript.turns) - len(within)
    if past > len(within):
        with refuses("transcript.other_recording", f" {past} of its {len(transcript.turns)} turn"):
            fit_to_duration(transcript, duration)
        return
    fitted = fit_to_duration(transcript, duration)
    assert [(turn.start, turn.words) for turn in fitted.turns] == [(turn.start, turn.words) for turn in within]
    assert [turn.end for turn in fitted.turns] == [min(turn.end, duration) for turn in within]
    cut = any(turn.end > duration for turn in within)
    assert len(fitted.notes) == 1 + (past > 0) + cut
    assert (fitted.format, fitted.language, fitted.notes[0]) == ("SRT", "en", "noted")


def test_the_sentences_have_counts_and_times() -> None:
    ends = Transcript(tuple(Segment(start=n, end=n + 2, words="a") for n in range(4)), "SRT")
    left_out, cut = fit_to_duration(ends, 2.5).notes
    assert left_out == "1 turn of the transcript left out, from 3.0 s on, as the recording ends at 2.5 s"
    assert cut == "2 turns cut at the recording's end, at 2.5 s, the first from 1.0 s to 3.0 s"
    with refuses("transcript.other_recording", "3 of its 4", "0.5 s", "3.0 s"):
        fit_to_duration(ends, 0.5)
