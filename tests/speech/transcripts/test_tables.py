"""CSV, JSON lines and RTTM."""

from pathlib import Path

import pytest

from moodline.errors import MoodlineError
from moodline.transcripts.formats import read_chat
from tests.refusals import refuses
from tests.speech.transcripts import texts
from tests.speech.transcripts.texts import read, seen

LINE = "SPEAKER a 1 0 1 <NA> <NA> x <NA> <NA>\n"


def test_csv_has_columns_by_any_of_their_names_and_times_by_the_clock(tmp_path: Path) -> None:
    assert seen(read(tmp_path, texts.CSV)) == [
        (1.5, 2.75, "Ann", "Well; yes"),
        (60.0, 61.25, "unknown", "No."),
    ]


def test_a_duration_stands_for_an_end_and_words_may_be_missing(tmp_path: Path) -> None:
    assert seen(read(tmp_path, "onset\tduration\n0.1\t0.2\n")) == [(0.1, 0.3, "unknown", None)]


def test_json_lines(tmp_path: Path) -> None:
    assert seen(read(tmp_path, texts.JSON_LINES)) == [(0.5, 1.0, "Ann", "Yes."), (2.0, 3.5, "7", "No.")]


def test_one_json_line_is_a_table_of_one_turn(tmp_path: Path) -> None:
    found = read(tmp_path, '{"start": 0.5, "end": 1, "speaker": "Ann", "transcription": "Yes."}', "talk.jsonl")
    assert (seen(found), found.notes) == ([(0.5, 1.0, "Ann", "Yes.")], ())


def test_rttm_has_speakers_and_no_words(tmp_path: Path) -> None:
    found = read(tmp_path, texts.RTTM)
    assert seen(found) == [(0.1, 0.3, "ann", None), (0.25, 1.25, "bob", None)]
    assert found.notes[0].startswith("1 line of other types")


def test_whispers_own_table_is_in_milliseconds(tmp_path: Path) -> None:
    found = read(tmp_path, "start\tend\ttext\n0\t1500\tWhere were you?\n1500\t3000\tHere.\n", "talk.tsv")
    assert seen(found) == [(0.0, 1.5, "unknown", "Where were you?"), (1.5, 3.0, "unknown", "Here.")]
    assert "milliseconds" in found.notes[0]


def test_whole_seconds_are_seconds(tmp_path: Path) -> None:
    found = read(tmp_path, "start\tend\ttext\n0\t15\tWhere were you?\n15\t30\tHere.\n", "talk.tsv")
    assert seen(found)[1] == (15.0, 30.0, "unknown", "Here.")


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        ("start,end,text\n0,1,A\none,2,B\n", "invalid_time", "talk.txt:3 has 'one' as start"),
        ("start,end,text\n0,,A\n", "invalid_time", "talk.txt:2 has '' as end"),
        ("start,end,text\n-3,1,A\n", "invalid_time", "talk.txt:2 has the time -3.0"),
        ("start,end,text\n0,1,A\n1,2,B, C\n", "too_many_cells", "talk.txt:3 has 4 cells for 3"),
        ("start,end,text\n", "no_turns", "talk.txt"),
        ("speaker,text\nAnn,Hi\n", "no_times", "'speaker', 'text'"),
        ('{"start": 0, "end": 1, "text": "A"}\n{"start": 1, "end"\n', "invalid_json", "talk.txt:2 "),
        ('{"start": 0, "end": 1, "text": "A"}\n[1]\n', "invalid_json", "talk.txt:2 has a list"),
        ('{"start": 0, "end": 1, "text": "A"}\n{"start": 1, "text": "A"}\n', "invalid_time", "talk.txt:2 has None"),
        ('{"start": true, "end": 1, "text": "A"}\n', "invalid_time", "talk.txt:1 has True"),
        (f"{LINE}SPEAKER a 1 0 y <NA> <NA> x <NA> <NA>\n", "invalid_line", "talk.txt:2 has 'SPEAKER a 1 0 y"),
        (f"{LINE}SPEAKER a 1 0 1\n", "invalid_line", "talk.txt:2 has 'SPEAKER a 1 0 1'"),
        ("SPEAKER a 1 0 nan <NA> <NA> x <NA> <NA>\n", "invalid_time", "talk.txt:1 has the time nan"),
        (f"{LINE}SPEAKER b 1 0 1 <NA> <NA> x <NA>\n", "several_recordings", "2 recordings (a, b)"),
    ],
)
def test_malformed_rows_are_refused_with_their_line(tmp_path: Path, text: str, code: str, found: str) -> None:
    with pytest.raises(MoodlineError) as refused:
        read(tmp_path, text)
    assert refused.value.code == f"transcript.{code}"
    assert found in str(refused.value)


def test_an_unclosed_quote_is_refused_with_its_line(tmp_path: Path) -> None:
    with refuses("file.bad_quote", "talk.txt:2 "):
        read(tmp_path, 'start,end,text\n0,1,"A\n')


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        ("Sprecher;text", ["Ann;Ja.", "Ben;Nein.", "Cem;Doch."], "'Sprecher' (perhaps speaker: name it so)"),
        ("wer;text", ["Ann;Ja.", "Ben;Nein.", "Ann;Doch.", "Ben;Ja."], "'wer' (perhaps speaker: name it so)"),
        ("emotion;text", ["happy;Ja.", "sad;Nein.", "happy;Doch.", "sad;Ja."], "'emotion'"),
        ("Anna;text", ["1;Ja.", "2;Nein.", "1;Doch.", "2;Ja."], "'Anna'"),
        ("von;bis;text", ["0;1;Ja."], "'von' (perhaps start: name it so), 'bis' (perhaps end: name it so)"),
        ("Satz;speaker;name;text", ["x;ann;b;Ja."], "'Satz', 'name'"),
        ("speaker;empty;text", ["ann;;Ja."], None),
    ],
)
def test_columns_that_are_not_read_are_told_with_what_they_may_be(
    tmp_path: Path, header: str, rows: list[str], told: str | None
) -> None:
    (tmp_path / "talk.csv").write_text("\n".join([header, *rows]))
    notes = [note.split("not read: ")[-1] for note in read_chat(tmp_path / "talk.csv").notes]
    assert notes == ([] if told is None else [told])
    timed = "\n".join([f"start;end;{header}", *(f"{n};{n + 1};{row}" for n, row in enumerate(rows))])
    if "von" not in header:
        assert [note.split("not read: ")[-1] for note in read(tmp_path, timed, "talk.csv").notes] == notes
