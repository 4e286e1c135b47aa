"""What is written is read again, here and by others."""

import re
from pathlib import Path

import pysubs2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from praatio import textgrid

from moodline.conversation import UNKNOWN, Segment
from moodline.transcripts.formats import WRITERS, read_transcript, write_transcript
from tests.refusals import refuses

ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
# Words and names of any letters; marks that SRT takes for markup, names or times are for the other formats.
LETTERS = st.characters(categories=("L", "Nd"), max_codepoint=0x2FFF)
PLAIN = st.text(LETTERS | st.sampled_from(" .,'?!-\"&;|\\#%"), min_size=1)
# Every format loses the tags of subtitles, which are no words.
TAG = re.compile(r"</?(?:br|i|b|u|s|em|strong|font|span)\b", re.IGNORECASE)
RICH = st.text(LETTERS | st.sampled_from(" .,'?!-\"&;:<>[]{}()=\t\n"), min_size=1).filter(
    lambda text: not TAG.search(text)
)
NAMES = st.just(UNKNOWN) | st.text(LETTERS, min_size=1, max_size=8).map(lambda name: f"Mr {name}")


def one_line(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return texts.map(lambda text: " ".join(text.split())).filter(bool)


def turns_of(words: st.SearchStrategy[str | None]) -> st.SearchStrategy[list[Segment]]:
    """Turns in order, overlapping or not, to the millisecond."""
    turn = st.builds(
        lambda start, length, speaker, said: Segment(
            start=start / 1000, end=(start + length) / 1000, speaker=speaker, words=said
        ),
        st.integers(0, 5_000_000),
        st.integers(1, 20_000),
        NAMES,
        words,
    )
    return st.lists(turn, min_size=1, max_size=12).map(lambda some: sorted(some, key=lambda one: one.start))


def order(turn: Segment) -> tuple[float, float, str, str]:
    return turn.start, turn.end, turn.speaker, turn.words or ""


def assert_read_again(path: Path, turns: list[Segment]) -> None:
    """All turns, to half a millisecond; those with one start in any order, as a TextGrid has them by tiers."""
    write_transcript(path, turns)
    found = sorted(read_transcript(path).turns, key=lambda turn: (round(turn.start, 3), *order(turn)[1:]))
    assert [(turn.speaker, turn.words) for turn in found] == [
        (turn.speaker, turn.words) for turn in sorted(turns, key=order)
    ]
    for again, turn in zip(found, sorted(turns, key=order), strict=True):
        assert (again.start, again.end) == pytest.approx((turn.start, turn.end), abs=5e-4)


@ANY
@given(turns_of(one_line(PLAIN)))
@pytest.mark.parametrize("ending", [".srt", ".vtt", ".TextGrid", ".json", ".csv", ".jsonl"])
def test_turns_are_read_again(tmp_path: Path, ending: str, turns: list[Segment]) -> None:
    assert_read_again(tmp_path / f"talk{ending}", turns)


@ANY
@given(turns_of(one_line(RICH)))
@pytest.mark.parametrize("ending", [".vtt", ".TextGrid", ".json", ".csv", ".jsonl"])
def test_marks_in_words_stay(tmp_path: Path, ending: str, turns: list[Segment]) -> None:
    assert_read_again(tmp_path / f"talk{ending}", turns)


@ANY
@given(turns_of(st.none()))
@pytest.mark.parametrize("ending", [".json", ".csv", ".jsonl", ".rttm"])
def test_turns_whose_words_nobody_has_heard(tmp_path: Path, ending: str, turns: list[Segment]) -> None:
    named = [Segment(start=turn.start, end=turn.end, speaker=turn.speaker.replace(" ", "_")) for turn in turns]
    assert_read_again(tmp_path / f"talk{ending}", named)


@ANY
@given(turns_of(one_line(PLAIN)))
def test_pysubs2_reads_the_same_subtitles(tmp_path: Path, turns: list[Segment]) -> None:
    for ending, prefix in ((".srt", "[{}]: "), (".vtt", "")):
        path = tmp_path / f"talk{ending}"
        write_transcript(path, turns)
        events = pysubs2.load(str(path))
        assert [(event.start, event.end) for event in events] == [
            (round(1000 * turn.start), round(1000 * turn.end)) for turn in turns
        ]
        if prefix:
            names = ["" if turn.speaker == UNKNOWN else prefix.format(turn.speaker) for turn in turns]
            said = [f"{name}{turn.words}" for name, turn in zip(names, turns, strict=True)]
            assert [event.text for event in events] == said


@ANY
@given(turns_of(one_line(RICH)))
def test_praatio_reads_the_same_intervals(tmp_path: Path, turns: list[Segment]) -> None:
    path = tmp_path / "talk.TextGrid"
    write_transcript(path, turns)
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="error")
    found = [entry for name in grid.tierNames for entry in grid.getTier(name).entries]
    assert sorted((entry.start, entry.end, entry.label) for entry in found) == sorted(
        (turn.start, turn.end, turn.words) for turn in turns
    )


def test_a_turn_shorter_than_a_millisecond_is_not_lost(tmp_path: Path) -> None:
    for ending in WRITERS:
        path = tmp_path / f"talk{ending}"
        write_transcript(path, [Segment(start=1.0001, end=1.0002, speaker="Ann", words="A")])
        assert [(turn.start, turn.end) for turn in read_transcript(path).turns] == [(1.0, 1.001)], ending


def test_another_ending_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with refuses("transcript.unknown_ending", "talk.doc"):
        write_transcript(tmp_path / "talk.doc", [])
    assert not list(tmp_path.iterdir())
