"""TextGrids."""

from pathlib import Path

import pytest
from praatio import textgrid
from praatio.data_classes.interval_tier import IntervalTier

from moodline.conversation import Segment
from moodline.errors import MoodlineError
from moodline.transcripts.formats import write_transcript
from moodline.transcripts.transcript import Transcript
from tests.refusals import refuses
from tests.speech.transcripts import texts
from tests.speech.transcripts.texts import read, seen


def of_tiers(tmp_path: Path, form: str = "long_textgrid", **tiers: list[tuple[float, float, str]]) -> Transcript:
    """What is read of tiers that praatio wrote."""
    grid = textgrid.Textgrid(0, 100)
    for name, entries in tiers.items():
        grid.addTier(IntervalTier(name, entries, 0, 100))
    grid.save(str(tmp_path / "talk.TextGrid"), form, includeBlankSpaces=True)  # pyright: ignore[reportArgumentType]
    return read(tmp_path, (tmp_path / "talk.TextGrid").read_bytes(), "talk.TextGrid")


def test_each_tier_is_a_speaker_and_points_are_passed_over(tmp_path: Path) -> None:
    found = read(tmp_path, texts.TEXTGRID)
    assert seen(found) == [
        (1.25, 2.5, "Ann", 'She said "no". Twice.'),
        (2.0, 3.0, "Bob", "Never."),
        (2.5, 6.5, "Ann", "item [2]: 7"),
    ]
    assert any("1 tier of points" in note for note in found.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_short_form_with_one_tier_of_a_general_name(tmp_path: Path, encoding: str) -> None:
    found = read(tmp_path, texts.SHORT_TEXTGRID.encode(encoding), "talk.TextGrid")
    assert seen(found) == [(0.5, 2.0, "unknown", "Hello there.")]
    assert not found.notes


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
def test_what_praatio_writes_is_read(tmp_path: Path, form: str) -> None:
    found = of_tiers(tmp_path, form, Ann=[(1.5, 2, 'A "b" c')], Bob=[(0.25, 3, "Ümlaut ! 3 4")])
    assert seen(found) == [(0.25, 3.0, "Bob", "Ümlaut ! 3 4"), (1.5, 2.0, "Ann", 'A "b" c')]


def test_tiers_of_words_phones_and_remarks_are_passed_over_with_a_note(tmp_path: Path) -> None:
    abutting = [(n / 4, (n + 1) / 4, "word") for n in range(20)]
    others = {"Ann - words": [(0.0, 1.0, "a")], "phones": [(0.0, 1.0, "a")], "x": abutting, "Emotion": [(0, 1, "joy")]}
    found = of_tiers(tmp_path, Ann=[(0, 5, "Word word.")], **others)
    assert seen(found) == [(0.0, 5.0, "Ann", "Word word.")]
    assert len(found.notes) == len(others)
    assert all(any(repr(name) in note for note in found.notes) for name in others)


def test_short_answers_apart_from_each_other_are_no_tier_of_words(tmp_path: Path) -> None:
    answers = [(n + 0.1, n + 0.4, "Mhm.") for n in range(20)]
    assert len(of_tiers(tmp_path, Ann=answers).turns) == 20


def test_words_alone_are_refused(tmp_path: Path) -> None:
    with refuses("transcript.no_utterance_tier", "talk.TextGrid"):
        of_tiers(tmp_path, words=[(0, 1, "a")], phones=[(0, 1, "a")])


@pytest.mark.parametrize("cut", range(60, len(texts.TEXTGRID) - 4, 83))
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(MoodlineError) as refused:
        read(tmp_path, texts.TEXTGRID[:cut])
    assert refused.value.code in ("transcript.truncated", "transcript.invalid_line")  # a cut text has an open quote
    assert "talk.txt" in str(refused.value)


def test_a_size_beyond_any_file_is_refused(tmp_path: Path) -> None:
    with refuses("transcript.truncated", "talk.txt"):
        read(tmp_path, texts.TEXTGRID.replace("intervals: size = 1", "intervals: size = 1e999"))


def test_a_malformed_interval_is_told_with_its_line(tmp_path: Path) -> None:
    with refuses("transcript.invalid_line", "talk.txt:22", "an interval's end"):
        read(tmp_path, texts.TEXTGRID.replace("xmax = 2.5\n", "xmax = two\n", 1))


def test_overlaps_of_one_speaker_are_on_further_tiers(tmp_path: Path) -> None:
    turns = [Segment(start=n / 2, end=n / 2 + 1.25, speaker="Ann", words=str(n)) for n in range(6)]
    path = tmp_path / "talk.TextGrid"
    write_transcript(path, turns)
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="error")
    assert grid.tierNames == ("Ann", "Ann (2)", "Ann (3)")
    assert sorted(int(entry.label) for name in grid.tierNames for entry in grid.getTier(name).entries) == [*range(6)]
    assert seen(read(tmp_path, path.read_bytes())) == [(turn.start, turn.end, "Ann", turn.words) for turn in turns]
