"""Anyone's tables: what a person may reasonably hand over is read as it is meant, and anything else refused."""

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moodline.corpora import table
from moodline.corpora.corpus import Corpus, read_corpus, write_corpus
from moodline.corpora.table import COLUMN_ALIASES, recognise_columns
from moodline.errors import MoodlineError
from tests.corpora.files import record, written
from tests.refusals import refuses
from tests.system import moodline, refused


def read(folder: Path, text: str, **options: str) -> Corpus:
    return table.read(written(folder, text, **options))


def refusal(folder: Path, text: str, **options: str) -> str:
    with pytest.raises(MoodlineError) as error:
        read(folder, text, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def fault(folder: Path, text: str, **options: str) -> str:
    """The sentence of the one fault of a table, of which the rest is read."""
    corpus = read(folder, text, **options)
    (found,) = corpus.faults
    assert len(list(corpus.utterances)) == 1
    return found.sentence


def test_all_columns_are_read(tmp_path: Path) -> None:
    record(tmp_path / "audio" / "a.wav")
    corpus = read(
        tmp_path,
        "conversation,utterance,speaker,words,audio,offset,duration,start,end,label,session,part,split\n"
        'c1,u1,Ann,"Hello, you.",audio/a.wav,0.5,0.75,10,10.75,joy,s1,scripted,dev\n',
    )
    (conversation,) = corpus.conversations
    (turn,) = conversation.utterances
    assert (conversation.id, conversation.session, conversation.part, conversation.split) == (
        "c1",
        "s1",
        "scripted",
        "validation",
    )
    assert (turn.id, turn.speaker, turn.words, turn.label) == ("u1", "Ann", "Hello, you.", "joy")
    assert (turn.start, turn.end) == (10.0, 10.75)
    assert turn.audio is not None
    assert (turn.audio.path, turn.audio.offset, turn.audio.duration) == (tmp_path / "audio/a.wav", 0.5, 0.75)
    assert corpus.left_out == {}


def test_words_and_labels_are_enough(tmp_path: Path) -> None:
    corpus = read(tmp_path, "text,emotion\nHi.,joy\nNo.,\n")
    assert [(u.words, u.label) for u in corpus.utterances] == [("Hi.", "joy"), ("No.", None)]
    assert len(corpus.conversations) == len({u.speaker for u in corpus.utterances}) == 2
    assert corpus.left_out == {}
    assert corpus.notes == (table.DEFAULT_NOTES["conversation"], table.DEFAULT_NOTES["speaker"])


def test_recordings_are_enough(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 1.5)
    (turn,) = read(tmp_path, "File\na.wav\n").utterances
    assert turn.words == ""
    assert turn.audio is not None
    assert (turn.audio.offset, turn.audio.duration) == (0.0, 1.5)


@pytest.mark.parametrize(
    ("column", "name"), [(column, name) for column, names in COLUMN_ALIASES.items() for name in names]
)
def test_every_documented_name_is_that_column(column: str, name: str) -> None:
    for spelling in (name, name.upper(), f" {name.title()} ", "_".join(name)):
        assert recognise_columns([spelling, "words", "audio"])[column] in (spelling, column)
        assert recognise_columns(["season", spelling, "sentence", "wav"])[column] in (spelling, "sentence", "wav")


def test_utterance_is_the_words_where_nothing_else_is(tmp_path: Path) -> None:
    (turn,) = read(tmp_path, "Utterance,Utterance_ID\nHi.,7\n").utterances
    assert (turn.words, turn.id) == ("Hi.", "7")
    (turn,) = read(tmp_path, "Utterance,Text\n7,Hi.\n").utterances
    assert (turn.words, turn.id) == ("Hi.", "7")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_encodings_and_line_ends(tmp_path: Path, delimiter: str, encoding: str, end: str) -> None:
    words = 'Caf\xe9, "no"; \u201cyes\u201d'
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerows([["Speaker", "Transcript", "Note"], ["Ann", words, "x"]])
    corpus = read(tmp_path, text.getvalue(), encoding=encoding)
    assert [(u.speaker, u.words) for u in corpus.utterances] == [("Ann", words)]
    assert corpus.notes == (
        "1 ignored column: 'Note'",
        table.DEFAULT_NOTES["conversation"],
        table.DEFAULT_NOTES["label"],
    )


def test_turns_come_by_their_start_and_else_as_they_stand(tmp_path: Path) -> None:
    text = 'dialogue,text,start\na,third,00:01:02.5\nb,one,\na,first,1\na,second,"2,5"\nb,two,1\n'
    corpus = read(tmp_path, text)
    assert {one.id: [u.words for u in one.utterances] for one in corpus.conversations} == {
        "a": ["first", "second", "third"],
        "b": ["one", "two"],
    }
    assert [u.start for u in corpus.conversations[0].utterances] == [1.0, 2.5, 62.5]


def test_ids_that_two_conversations_share_get_the_conversations_name(tmp_path: Path) -> None:
    corpus = read(tmp_path, "dialogue,id,text\na,0,x\na,1,y\nb,0,z\n")
    assert [u.id for u in corpus.utterances] == ["a_0", "a_1", "b_0"]
    corpus = read(tmp_path, "dialogue,id,text\na,0,x\na,1,y\nb,2,z\n")
    assert [u.id for u in corpus.utterances] == ["0", "1", "2"]
    corpus = read(tmp_path, "dialogue,text\na,x\na,y\nb,z\n")
    assert [u.id for u in corpus.utterances] == ["a_0", "a_1", "b"]


def test_ids_that_are_made_up_are_no_other_rows(tmp_path: Path) -> None:
    corpus = read(tmp_path, "dialogue,text\na,x\na,y\na_1,z\n")
    assert [u.words for u in corpus.utterances] == ["x", "y", "z"]
    assert not corpus.faults
    corpus = read(tmp_path, "dialogue,id,text\na,b,x\na,,y\nb,,z\n")
    assert [u.words for u in corpus.utterances] == ["x", "y", "z"]


def test_a_recording_of_a_conversation_is_cut_by_the_turns_times(tmp_path: Path) -> None:
    record(tmp_path / "talk.wav", 3.0)
    record(tmp_path / "alone.wav", 2.0)
    text = "dialogue,wav,start,end,text\na,talk.wav,0,1,x\na,talk.wav,1,2.5,y\nb,alone.wav,60,62,z\n"
    clips = [u.audio for u in read(tmp_path, text).utterances if u.audio]
    assert [(clip.offset, clip.duration) for clip in clips] == [(0, 1), (1, 1.5), (0, 2)]


@pytest.mark.parametrize(
    ("offset", "times", "expected"),
    [
        ("0", "0,2", (0.0, 2.0)),
        ("0", "4,6", (0.0, 2.0)),
        ("0.1", "4,6", (0.1, 2.0)),
        ("0", ",", (0.0, 9.0)),
        ("4", "4,", (4.0, 5.0)),
    ],
)
def test_an_offset_of_0_is_one(tmp_path: Path, offset: str, times: str, expected: tuple[float, float]) -> None:
    """The first turn of a recording is as long as any other is by its times."""
    record(tmp_path / "talk.wav", 9.0)
    text = f"dialogue,wav,offset,start,end,text\na,talk.wav,{offset},{times},x\nb,talk.wav,6,6,8,y\n"
    clips = [u.audio for u in read(tmp_path, text).utterances if u.audio]
    assert [(clip.offset, clip.duration) for clip in clips] == [expected, (6.0, 2.0)]


def test_a_recordings_end_may_be_rounded(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 1.234)
    (turn,) = read(tmp_path, "wav,offset,duration\na.wav,0.2,1.04\n").utterances
    assert turn.audio is not None
    assert turn.audio.offset + turn.audio.duration == pytest.approx(1.234)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("season,episode\n1,2\n", ["words", "audio", "'season', 'episode'"]),
        ("", ["talks.csv is empty", "the first row names the columns"]),
        ("text\n", ["no row"]),
        ("text,label\nHi, you,joy\n", ["talks.csv:2", "3 cells for 2 columns", "quotes"]),
        ('text,label\n"Hi,joy\nNo,joy\n', ["talks.csv:2", "quote"]),
        ("text,start\nHi,soon\n", ["start must be a time", "'soon'", "talks.csv:2"]),
        ("text,start\nHi,-1\n", ["not negative", "'-1'", "talks.csv:2"]),
        ("text,start\nHi,1e999\n", ["start must be a time", "talks.csv:2"]),
        ("text,start,end\nHi,2,1\n", ["must end after it starts", "2.0 to 1.0 s", "talks.csv:2"]),
        ("text,wav\nHi,none.wav\n", ["no file", "none.wav", "talks.csv:2"]),
        ("text,wav\nHi,letter.wav\n", ["must be WAV", "letter.wav"]),
        ("wav,offset,duration\na.wav,1.5,1\n", ["a.wav has 2.000 s", "1.500 to 2.500"]),
        ("wav,offset\na.wav,2\n", ["a.wav has 2.000 s"]),
        ("dialogue,text\n,x\n", ["names no conversation", "talks.csv:2"]),
        ("dialogue,text,split\na,x,learn\n", ["train, validation or test", "'learn'", "talks.csv:2"]),
        (f"wav\n{'a' * 5000}\n", ["no file", "talks.csv:2"]),
        ("wav\na\0b\n", ["cannot be shown", "talks.csv:2"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    record(tmp_path / "a.wav", 2.0)
    (tmp_path / "letter.wav").write_text("Dear Sir")
    sentence = refusal(tmp_path, text)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dialogue,id,text\na,1,x\na,1,y\n", ["1 occurs a second time", "talks.csv:3"]),
        ("dialogue,text,session\na,x,1\na,y,2\n", ["session: '1' and '2'", "'a'", "talks.csv:3"]),
    ],
)
def test_what_contradicts_the_rows_before_is_left_out(tmp_path: Path, text: str, words: list[str]) -> None:
    sentence = fault(tmp_path, text)
    assert all(word in sentence for word in words), sentence


def test_empty_rows_are_left_out(tmp_path: Path) -> None:
    corpus = read(tmp_path, "text,label\nHi,joy\n,,\n,joy\n")
    assert [u.words for u in corpus.utterances] == ["Hi"]
    assert corpus.left_out[table.EMPTY_ROW] == (f"{tmp_path / 'talks.csv'}:4",)


@pytest.mark.parametrize("name", ["talks.xlsx", "talks"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with refuses("corpus.wrong_source", name, ".csv, "):
        table.read(written(tmp_path, "text\nHi\n", name))


@pytest.mark.parametrize("name", ["none.csv", "none.xlsx", "folder.csv", "folder"])
def test_a_table_that_is_not_there_is_refused_for_that(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder").mkdir()
    with refuses("corpus.no_source", tmp_path / name):
        table.read(tmp_path / name)


def test_json_lines_of_which_none_can_be_read_are_told_as_that(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "text\nHi\n", name="talks.jsonl")
    assert "talks.jsonl:1 is not a JSON object" in sentence
    assert "and 1 more fault in" in sentence
    assert "no column of words" not in sentence


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("text", ["a JSON object", "talks.jsonl:2"]),
        ("[1]", ["a JSON object", "list"]),
        ('{"text": ["Hi"]}', ["a list: it must be a text or a number", "talks.jsonl:2"]),
        ('{"text": "\\ud800"}', ["half a character", "talks.jsonl:2"]),
        ("[" * 100_000, ["a JSON object", "talks.jsonl:2"]),
    ],
)
def test_what_is_wrong_in_json_lines_is_told(tmp_path: Path, line: str, words: list[str]) -> None:
    sentence = fault(tmp_path, f'{{"text": "Hi", "start": 1}}\n{line}\n', name="talks.jsonl")
    assert all(word in sentence for word in words), sentence


def test_a_corpus_own_table_is_a_table(corpus: Corpus, tmp_path: Path) -> None:
    """Exported and read again, but for the folder that its files are told from."""
    write_corpus(corpus, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "utterances.parquet").to_pylist()
    for row in rows:
        row["audio_file"] = str(corpus.source / row["audio_file"])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mine.parquet")
    again = table.read(tmp_path / "mine.parquet")
    assert again.conversations == corpus.conversations
    write_corpus(again, tmp_path / "again")
    assert read_corpus(tmp_path / "again") == again


def test_prepare_names_what_it_passes_over_and_assumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "Text,Emotion,Season\nHi,joy,1\nNo,anger,2\n")
    moodline("prepare", "table", path, "-o", tmp_path / "out")
    told = capsys.readouterr().out
    assert "2 conversations, 2 utterances" in told
    assert "left out: 0" in told
    notes = (
        "1 ignored column: 'Season'",
        table.DEFAULT_NOTES["conversation"],
        table.DEFAULT_NOTES["speaker"],
    )
    assert all(note in told for note in notes)
    moodline("inspect", tmp_path / "out")
    told = capsys.readouterr().out
    assert all(note in told for note in ("joy", "left out: nothing", *notes))


def test_a_column_that_lacks_is_told_with_the_one_that_looks_like_it(tmp_path: Path) -> None:
    (label,) = read(tmp_path, "text,emotoin,dialogue,speaker,note\nHi,joy,1,Ann,x\n").notes[1:]
    assert label == f"{table.DEFAULT_NOTES['label']}; unknown column 'emotoin': did you mean 'emotion'?"
    notes = read(tmp_path, "text,Emotion_Label,Dialogues,Speaker Name\nHi,joy,1,Ann\n").notes[1:]
    meant = {"conversation": ("Dialogues", "dialogue"), "speaker": ("Speaker Name", "speaker")}
    meant["label"] = ("Emotion_Label", "emotion")
    assert notes == tuple(
        f"{table.DEFAULT_NOTES[column]}; unknown column {name!r}: did you mean {known!r}?"
        for column, (name, known) in meant.items()
    )


def test_turns_without_a_speaker_are_noted_and_belong_to_one_of_the_conversations_name(tmp_path: Path) -> None:
    corpus = read(tmp_path, "dialogue,speaker,text\na,Ann,x\na,,y\nb,,z\n")
    assert [u.speaker for u in corpus.utterances] == ["Ann", "a", "b"]
    assert any(note.startswith("2 rows ") for note in corpus.notes)


def test_one_conversation_of_one_utterance_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moodline("prepare", "table", written(tmp_path, "text\nHi\n"), "-o", tmp_path / "out")
    assert "out: 1 conversation, 1 utterance; left out: 0" in capsys.readouterr().out
    moodline("inspect", tmp_path / "out")
    assert "1 conversation, 1 utterance, 1 speaker, " in capsys.readouterr().out


def test_a_corrected_table_takes_the_place_of_the_old_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def prepare(name: str, text: str) -> str:
        moodline("prepare", "table", written(tmp_path, text, name), "-o", tmp_path / "out")
        return capsys.readouterr().out

    assert "replaced" not in prepare("talks.csv", "text,emotion\nHi,joy\n")
    assert "replaced" in prepare("talks.csv", "text,emotion\nHi,anger\n")
    assert [turn.label for turn in read_corpus(tmp_path / "out").utterances] == ["anger"]
    with pytest.raises(SystemExit):
        prepare("others.csv", "text,emotion\nHi,joy\n")
    assert "its table is talks.csv, here it is others.csv" in capsys.readouterr().err


@pytest.mark.realdata
def test_a_published_table_is_read_as_it_is(shared: Path) -> None:
    """nEMO's, with its columns file, emotion, text, speaker, gender, age."""
    corpus = table.read(shared / "corpora" / "nemo" / "data.tsv")
    turns = list(corpus.utterances)
    assert len(turns) == 2425
    assert len({turn.speaker for turn in turns}) == 9
    assert len({turn.label for turn in turns}) == 6
    assert sum(turn.audio.duration for turn in turns if turn.audio) / 60 == pytest.approx(100, abs=5)
    assert corpus.notes[0] == "2 ignored columns: 'gender', 'age'"


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('a,"Hello\nb,No\nc,Yes\n', 2),  # closed nowhere
        ('a,"Hello\nb,"No" he said\n', 2),  # "closed" by the quote of the next row
        ('a,Hello\nb,"No\nc,Yes\n', 3),
        ('a,"Two\nlines"\nb,"No\nc,Yes\n', 4),
        ('a,"No" he said\nb,Yes\n', 2),
        ('"a\nb","No\nc,Yes\n', 3),  # in a row whose first cell has two lines
    ],
)
def test_an_open_quote_is_named_by_the_line_where_it_opens(tmp_path: Path, rows: str, line: int) -> None:
    with refuses("file.bad_quote", f"talks.csv:{line} "):
        read(tmp_path, f"speaker,words\n{rows}")


def test_binary_content_is_not_quoted(tmp_path: Path) -> None:
    data = bytes(range(256)) * 400
    for content in (data, data.replace(b'"', b""), data.replace(b"\n", b",").replace(b'"', b"")):
        (tmp_path / "talks.csv").write_bytes(content)
        with pytest.raises(MoodlineError) as refused:
            table.read(tmp_path / "talks.csv")
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 600 + len(str(tmp_path))


def test_long_names_of_columns_are_quoted_shortly(tmp_path: Path) -> None:
    name = "\x1b[31m" + "long" * 10_000
    with refuses("corpus.missing_column", "'\\x1b[31mlong", "..."):
        read(tmp_path, f"{name},other\nx,y\n")
    notes = read(tmp_path, f"words,{name}\nyes,y\n").notes
    assert "...'" in notes[0]
    assert max(map(len, notes)) < 200


def test_training_names_the_corpus_as_it_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tables").mkdir()
    written(tmp_path / "tables", "speaker,words,label\nann,yes,hap\nben,no,sad\n")
    monkeypatch.chdir(tmp_path)
    moodline("prepare", "table", "tables/talks.csv", "-o", "prepared")
    for protocol, code in (
        ("session5", "corpus.no_session"),
        ("kfold5", "corpus.unfit_protocol"),
        ("cv5-script-disjoint", "corpus.no_script"),
    ):
        given = ("train", "prepared", "--recipe", "iemocap", "--protocol", protocol, "-o", "run", "--modalities=text")
        error = refused(capsys, *given)
        assert error.code == code
        assert "prepared" in str(error)
        assert "tables" not in str(error)
