"""The timeline on a terminal: what a line says, at any width, with and without colour."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from moodline.timeline.style import assign_styles
from moodline.timeline.terminal import allocate_cells, print_timeline
from tests.inference.timeline.talks import SAID, talk, timelines

STEERING = re.compile(r"\x1b\[[0-9;]*m")


def printed(timeline, width=100, **terminal) -> str:
    out = io.StringIO()
    print_timeline(timeline, Console(file=out, width=width, **terminal))
    return out.getvalue()


def test_the_model_and_its_notes_stand_above_everything():
    lines = printed(talk()).splitlines()
    assert lines[0] == "Model: demo, trained on the demo corpus, licence Apache-2.0"
    assert lines[1] == "Note: trained on synthetic voices"
    assert "You said" in lines[-len(SAID)]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_line_a_turn_within_the_width(width):
    lines = printed(talk(), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    for line, (speaker, start, _, words, label) in zip(lines[-len(SAID) :], SAID, strict=True):
        assert re.match(rf"0:0{start:.1f}  {speaker}  {label} +\.\d\d  [A-Z]+", line)
        assert (words or "")[:10] in line


def test_the_bar_says_without_colour_which_class_has_how_much():
    (line,) = [line for line in printed(talk(), 120).splitlines() if "five" in line]
    letters = {sign.name: sign.letter for sign in assign_styles(talk().classes)}
    assert f"  {letters['anger'] * 16}" in line
    assert "\x1b" not in line


def test_colour_takes_nothing_away(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = printed(talk(), force_terminal=True, color_system="truecolor")
    assert "\x1b[" in coloured
    assert STEERING.sub("", coloured) == printed(talk())


def test_no_color_is_heeded(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*[34]8;", printed(talk(), force_terminal=True, color_system="truecolor"))


@settings(max_examples=50, deadline=None)
@given(timelines(), st.integers(60, 200))
def test_no_words_steer_the_terminal_or_break_a_line(one, width):
    text = printed(one, width)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    if one.turns:
        last = text.splitlines()[-len(one.turns) :]
        assert all(cell_len(line) <= width for line in last)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), st.floats(0, 1), min_size=1, max_size=8), st.integers(1, 30))
def test_a_bars_cells_are_all_given_and_by_the_probabilities(probabilities, cells):
    given_cells = allocate_cells(probabilities, cells)
    total = sum(probabilities.values())
    assert sum(given_cells.values()) == (cells if total else min(cells, len(probabilities)))
    if total:
        assert all(abs(given_cells[name] - value / total * cells) < 1 + 1e-9 for name, value in probabilities.items())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=40, unique=True))
def test_each_class_has_a_letter_and_a_pattern_of_its_own(classes):
    known = assign_styles(classes)
    assert len({sign.letter for sign in known}) == len({sign.pattern for sign in known}) == len(classes) + 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=8, unique=True))
def test_up_to_eight_classes_have_colours_of_their_own(classes):
    assert len({sign.colour for sign in assign_styles(classes)}) == len(classes) + 1
