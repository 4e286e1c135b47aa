"""Words without a recording: how they are told from one, and what is read of a table in any form."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from moodline.conversation import Segment
from moodline.errors import MoodlineError
from moodline.transcripts.formats import is_chat, read_chat, write_transcript
from tests.speech.transcripts import texts

CHAT = [("ann", "Hello, you"), ("ben", 'I "never" said; that'), ("ann", "You\tdid | did")]
TIMED = [
    Segment(start=0.5, end=1.5, speaker="ann", words="well hello"),
    Segment(start=1.25, end=2.75, speaker="ben", words="good bye"),
]
letters = st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="<>{}")
said = st.tuples(st.sampled_from(["ann", "ben"]), st.text(letters, min_size=1, max_size=30).filter(str.strip))


def as_csv(chat: Sequence[tuple[str, str]], delimiter: str = ",", shuffled: bool = False) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    rows = [("Speaker", "mood", "Text"), *((speaker, "", words) for speaker, words in chat)]
    writer.writerows(row[::-1] if shuffled else row for row in rows)
    return file.getvalue()


def as_json_lines(chat: Sequence[tuple[str, str]]) -> str:
    return "\n".join(json.dumps({"text": words, "speaker": speaker}) for speaker, words in chat)


def read(place: Path, text: str, name: str = "chat.csv", named: str | None = None) -> list[tuple[str, str]]:
    (place / name).write_text(text, encoding="utf-8", newline="")
    assert is_chat(place / name)
    return [(turn.speaker, turn.words) for turn in read_chat(place / name, named).conversation.utterances]


@given(chat=st.lists(said, min_size=1, max_size=5), delimiter=st.sampled_from(",;\t|"), shuffled=st.booleans())
def test_columns_order_delimiter_and_form_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, chat: list[tuple[str, str]], delimiter: str, shuffled: bool
) -> None:
    place = tmp_path_factory.mktemp("chat")
    expected = [(speaker, " ".join(words.split())) for speaker, words in chat]
    assert read(place, as_csv(chat, delimiter, shuffled)) == expected
    assert read(place, as_json_lines(chat), "chat.jsonl") == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_chat_has_no_times_and_is_known_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "chat.csv"
    path.write_text(as_csv([("jürgen", "schön ✓")]), encoding=encoding)
    chat = read_chat(path)
    (turn,) = chat.conversation.utterances
    assert (turn.speaker, turn.words, turn.start, turn.end) == ("jürgen", "schön ✓", None, None)
    assert (chat.format, chat.notes, chat.conversation.id) == ("CSV", (), "chat")


def test_a_column_of_words_alone_may_have_commas_without_quotes(tmp_path: Path) -> None:
    assert read(tmp_path, "text\nHello, you\nNo; never\n") == [("unknown", "Hello, you"), ("unknown", "No; never")]
    assert read(tmp_path, '{"words": "Hello"}', "one.json") == [("unknown", "Hello")]


def test_letters_that_are_guessed_and_rows_without_words_are_noted(tmp_path: Path) -> None:
    (tmp_path / "chat.csv").write_bytes(b"speaker,text\nann,\xc4h\nben,\nann, \n")
    chat = read_chat(tmp_path / "chat.csv")
    assert [turn.words for turn in chat.conversation.utterances] == ["Äh"]
    guessed, silent = chat.notes
    assert "Windows-1252" in guessed
    assert silent.startswith("2 rows without words left out: ")
    assert "chat.csv:3" in silent


@pytest.mark.parametrize("ending", [".srt", ".vtt", ".TextGrid", ".json", ".csv", ".jsonl"])
def test_a_transcript_in_its_recordings_place_keeps_its_times(tmp_path: Path, ending: str) -> None:
    write_transcript(tmp_path / f"talk{ending}", TIMED)
    assert is_chat(tmp_path / f"talk{ending}")
    turns = read_chat(tmp_path / f"talk{ending}").conversation.utterances
    assert [(one.start, one.end, one.speaker, one.words) for one in turns] == [
        (one.start, one.end, one.speaker, one.words) for one in TIMED
    ]


def test_one_of_several_conversations_is_named(tmp_path: Path) -> None:
    several = "Dialogue_ID,speaker,text\n1,ann,Hello\n2,ben,No\n1,ben,Yes\n"
    assert read(tmp_path, several, named="1") == [("ann", "Hello"), ("ben", "Yes")]
    single = "speaker,text\nann,Hello\n"
    for text, named, code, found in (
        (several, None, "several_conversations", "'Dialogue_ID' has '1', '2'"),
        (several, "3", "unknown_conversation", "'3'"),
        (single, "1", "unnamed_conversation", "--conversation 1"),
        (texts.SRT, "1", "unnamed_conversation", "--conversation 1"),
    ):
        with pytest.raises(MoodlineError) as refused:
            read(tmp_path, text, named=named)
        assert refused.value.code == f"transcript.{code}"
        assert found in str(refused.value)
    assert read(tmp_path, "conversation,text\nx,Hello\n") == [("unknown", "Hello")]


def test_of_several_conversations_with_times_the_one_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "talks.csv").write_text("conversation,text,start,end\na,second,2,3\nb,no,0,9\na,first,0,0:01.5\n")
    turns = read_chat(tmp_path / "talks.csv", "a").conversation.utterances
    assert [(one.words, one.start, one.end) for one in turns] == [("first", 0.0, 1.5), ("second", 2.0, 3.0)]


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        (b"who,said\nann,Hi\n", "transcript.no_words_column", "'who', 'said'"),
        (b"Ann: hi\nBen: no\n", "transcript.no_words_column", "'Ann: hi'"),
        (b"speaker,text\nann,\nben,\n", "transcript.no_words", "2 rows"),
        (b"speaker,text\n", "transcript.no_words", "header"),
        (b"speaker,text\nann,Hi, you\n", "transcript.too_many_cells", "chat.csv:2"),
        (b"start,end,speaker\n0,1,ann\n", "transcript.no_words", "(CSV)"),
        (b"SPEAKER talk 1 0.1 0.2 <NA> <NA> ann <NA> <NA>\n", "transcript.no_words", "(RTTM)"),
        (b"", "transcript.empty", "chat.csv"),
        (b"text\n\x00\x01\x02", "transcript.binary", "chat.csv"),
    ],
)
def test_what_holds_no_words_is_refused(tmp_path: Path, content: bytes, code: str, place: str) -> None:
    (tmp_path / "chat.csv").write_bytes(content)
    assert is_chat(tmp_path / "chat.csv")
    with pytest.raises(MoodlineError) as refused:
        read_chat(tmp_path / "chat.csv")
    assert refused.value.code == code
    assert place in str(refused.value)


def test_words_are_told_from_recordings_by_what_they_hold(tmp_path: Path) -> None:
    for name in ("talk.wav", "talk.flac", "talk.ogg", "talk.mp3"):
        soundfile.write(tmp_path / name, np.random.default_rng(0).uniform(-0.3, 0.3, 16_000), 16_000)
        assert not is_chat(tmp_path / name)
    (tmp_path / "talk.flac").rename(tmp_path / "without ending")
    (tmp_path / "chat").write_text(as_csv(CHAT), encoding="utf-16")
    (tmp_path / "broken.wav").write_text("no sound")
    assert not is_chat(tmp_path / "without ending")
    assert is_chat(tmp_path / "chat")
    assert not is_chat(tmp_path / "broken.wav")
    assert not is_chat(tmp_path / "gone.csv")
    assert not is_chat(tmp_path)


def test_a_name_that_no_file_can_have_is_no_chat(tmp_path: Path) -> None:
    assert not is_chat(tmp_path / f"{'a' * 300}.csv")
