"""Text for people: numbers in sentences, and text that cannot steer a terminal."""

import ast
import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from moodline.cli.main import main
from moodline.cli.predict import format_json, format_table
from moodline.console import create_console, dump_json, flatten_text, format_path, print_data, print_line
from moodline.errors import MAX_QUOTED, MAX_SENTENCE, MoodlineError, format_count, quote
from moodline.timeline.timeline import ConversationPrediction, UtterancePrediction

# Sets the terminal's title; the 8-bit introducer of the same; clears; reverses what follows; deletes; returns.
STEERING = "\x1b]0;owned\x07 \x9b2J \u202eabc\u2066 \x7f \rbegin"
ANY = st.text(st.characters(codec="utf-8"))


def controls(text: str) -> str:
    return "".join(sign for sign in text if unicodedata.category(sign)[0] == "C" and sign not in "\n\t")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 turns"), (1, "1 turn"), (2, "2 turns"), (999, "999 turns"), (12345, "12,345 turns")]
)
def test_one_is_told_as_one(number: int, told: str) -> None:
    assert format_count(number, "turn") == told


@given(ANY)
def test_what_is_said_steers_nothing(text: str) -> None:
    out = io.StringIO()
    print_line(text, out)
    assert not controls(out.getvalue())
    assert not controls(flatten_text(text))


def test_data_are_as_they_are_for_a_file_and_steer_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for out in (io.StringIO(), Screen()):
        monkeypatch.setattr(sys, "stdout", out)
        print_data(f"a\t{STEERING}\nb")
        if out.isatty():
            assert out.getvalue() == "a\t]0;owned 2J abc  begin\nb\n"
        else:
            assert out.getvalue() == f"a\t{STEERING}\nb\n"


@given(ANY)
def test_json_is_the_same_and_steers_nothing(text: str) -> None:
    for indent in (None, 1):
        written = dump_json({"words": [text, "\U000e0001"]}, indent=indent)
        assert json.loads(written) == {"words": [text, "\U000e0001"]}
        assert not controls(written)


def test_tables_and_lines_of_others_texts_steer_nothing_and_are_no_markup() -> None:
    out = io.StringIO()
    console = create_console(file=out, force_terminal=True, width=60)
    table = Table(title=STEERING)
    table.add_column(STEERING)
    table.add_row(f"[/red]{STEERING}")
    console.print(f"[/b] {STEERING}")
    console.print(Text(STEERING, style="bold"))
    console.print(table)
    shown = out.getvalue()
    assert "[/b]" in shown
    assert "[/red]" in shown
    assert "\x1b]" not in shown  # rich's own sequences are colours alone
    assert not controls(shown.replace("\x1b[", ""))


def test_the_labels_of_a_corpus_steer_nothing() -> None:
    prediction = UtterancePrediction(
        id=STEERING,
        speaker=STEERING,
        start=None,
        end=None,
        words=f"one\n{STEERING}",
        label=STEERING,
        best=STEERING,
        probabilities={STEERING: 1.0},
        by_stage={"fusion": {STEERING: 1.0}},
    )
    conversation = ConversationPrediction(conversation_id=f"a\n{STEERING}", utterances=(prediction,))
    lines = list(format_table(iter([conversation]), (STEERING,)))
    assert len(lines) == 2  # one for the conversation, one for the utterance
    assert not controls("".join(lines))
    assert not any("\n" in line for line in lines)
    assert not controls("".join(format_json(iter([conversation]), (STEERING,))))


def test_an_error_about_a_name_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", f"/nowhere/{STEERING.replace('/', '')}"])
    shown = capsys.readouterr().err
    assert "/nowhere/" in shown
    assert not controls(shown)


def test_a_path_that_is_passed_on_shows_no_folder_above_the_working_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert format_path(tmp_path / "project" / "runs" / "one") == "runs/one"
    assert format_path(tmp_path / "corpora" / "iemocap") == "iemocap"
    assert format_path("runs/one") == "runs/one"
    assert format_path("../../ann/one") == "one"
    monkeypatch.chdir("/")
    assert format_path(tmp_path / "one") == "one"


@given(st.text(max_size=300))
def test_a_quoted_value_is_short_and_printable(value: str) -> None:
    assert quote(value).isprintable()
    assert len(quote(value)) <= MAX_QUOTED
    if len(repr(value)) <= MAX_QUOTED:
        assert ast.literal_eval(quote(value)) == value


def test_a_sentence_is_one_line_and_keeps_its_remedy() -> None:
    error = MoodlineError(f"the file holds {STEERING * 1000}. Check it.")
    assert str(error).isprintable()
    assert str(error).startswith("the file holds ")
    assert str(error).endswith(" Check it.")
    assert len(str(error)) <= MAX_SENTENCE + len(" ... ")
