"""CSV, SRT and TextGrid as other programs' libraries read them."""

import csv
import io
from dataclasses import replace
from itertools import pairwise

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from moodline.tabular import restore_cell
from moodline.timeline import UNCERTAIN, write_timeline
from moodline.timeline.timeline import round_to_milliseconds
from moodline.timeline.writers import to_csv, to_srt, to_textgrid
from tests.inference.timeline.talks import SAID, talk, timelines
from tests.refusals import refuses

# Letters that SRT's readers take for no markup of theirs.
PLAIN = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "Zs", "Zl"], include_characters="\n\r.'\"[]:"), max_size=20
)


@settings(max_examples=50, deadline=None)
@given(timelines())
def test_csv_has_the_words_and_the_numbers_as_they_are(one):
    rows = list(csv.DictReader(io.StringIO(to_csv(one), newline="")))
    assert len(rows) == len(one.turns)
    for row, turn in zip(rows, one.turns, strict=True):
        found = tuple(restore_cell(row[name]) for name in ("words", "speaker", "label"))
        assert found == (turn.words or "", turn.speaker, turn.label)
        assert {name: float(row[f"p_{name}"]) for name in one.classes} == turn.probabilities


def test_csv_says_in_each_row_which_model_and_what_must_be_known():
    rows = list(csv.DictReader(io.StringIO(to_csv(talk()))))
    assert {row["model"] for row in rows} == {"demo"}
    assert all(row["notices"].startswith("trained on synthetic voices; ") for row in rows)


def test_srt_has_a_cue_for_each_turn_with_its_label():
    notice, *cues = pysubs2.SSAFile.from_string(to_srt(talk()), format_="srt").events
    assert "trained on synthetic voices" in notice.text
    assert [cue.text for cue in cues[:3]] == [
        "[anger .82] ANA: You said five o'clock!",
        "[neutral .82] BEN: I know.",
        f"[{UNCERTAIN} .40] ANA: And nobody called me, nobody.",
    ]
    assert [(cue.start, cue.end) for cue in cues] == [
        (round(start * 1000), round(end * 1000)) for _, start, end, *_ in SAID
    ]


@settings(max_examples=50, deadline=None)
@given(timelines(timed=st.just(True), words=PLAIN))
def test_no_words_break_a_cue(one):
    bare = replace(one, model=replace(one.model, notes=()), warnings=(), gaps=())
    cues = pysubs2.SSAFile.from_string(to_srt(bare), format_="srt").events if bare.turns else []
    expected = sorted(round_to_milliseconds(bare).turns, key=lambda turn: turn.start)
    assert [round(turn.start * 1000) for turn in expected] == [cue.start for cue in cues]
    for cue, turn in zip(cues, expected, strict=True):
        assert cue.text.endswith(" ".join((turn.words or "").split()))
        assert cue.end > cue.start


def tiers(text, tmp_path):
    path = tmp_path / "one.TextGrid"
    path.write_text(text, encoding="utf-8")
    return textgrid.openTextgrid(str(path), includeEmptyIntervals=False)


def test_textgrid_has_emotions_and_words_of_each_speaker_and_loses_no_overlap(tmp_path):
    read = tiers(to_textgrid(talk()), tmp_path)
    assert read.tierNames == (
        "notices",
        *("emotion: ANA", "words: ANA", "emotion: ANA (2)", "words: ANA (2)", "emotion: BEN", "words: BEN"),
    )
    emotions = [
        (*entry, name[9:12]) for name in read.tierNames if "emotion" in name for entry in read.getTier(name).entries
    ]
    assert sorted(emotions) == sorted((start, end, label, who) for who, start, end, _, label in SAID)
    words = [(*entry, name[7:10]) for name in read.tierNames if "words" in name for entry in read.getTier(name).entries]
    assert sorted(words) == sorted((start, end, said, who) for who, start, end, said, _ in SAID if said)
    assert "trained on synthetic voices" in read.getTier("notices").entries[0].label


@settings(max_examples=50, deadline=None)
@given(timelines(timed=st.just(True), words=PLAIN))
def test_a_tiers_intervals_follow_each_other_from_the_first_second_to_the_last(one):
    read = textgrid.textgrid_io.parseTextgridStr(to_textgrid(one), includeEmptyIntervals=True)
    found = []
    for tier in read["tiers"]:
        times = [(float(start), float(end)) for start, end, _ in tier["entries"]]
        assert times[0][0] == 0
        assert times[-1][1] == pytest.approx(float(read["xmax"]))
        assert all(end == start for (_, end), (start, _) in pairwise(times))
        found += [label for *_, label in tier["entries"] if tier["name"].startswith("emotion")]
    expected = [" ".join(turn.label.split()) for turn in one.turns]
    assert sorted(filter(None, found)) == sorted(filter(None, expected))


@pytest.mark.parametrize("text", [to_srt, to_textgrid])
def test_words_alone_have_no_subtitles_and_no_tiers(text):
    with refuses("timeline.no_times", "talk.wav"):
        text(talk(timed=False))


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.srt", "a.TextGrid", "a.html"])
def test_a_files_ending_says_its_format(name, tmp_path):
    write_timeline(talk(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    begins = {"json": "{", "csv": "recording,start,", "srt": "1\n", "TextGrid": "File type", "html": "<!DOCTYPE"}[
        name[2:]
    ]
    assert (tmp_path / name).read_text(encoding="utf-8").lstrip().startswith(begins)


def test_other_endings_and_formats_are_refused_and_nothing_is_written(tmp_path):
    for timeline, name, named, code in (
        (talk(), "a.docx", None, "timeline.unknown_format"),
        (talk(), "a.csv", "docx", "timeline.unknown_format"),
        (talk(timed=False), "a.srt", None, "timeline.no_times"),
    ):
        with refuses(code, "docx" if code == "timeline.unknown_format" else "talk.wav"):
            write_timeline(timeline, tmp_path / name, named)
    assert list(tmp_path.iterdir()) == []
