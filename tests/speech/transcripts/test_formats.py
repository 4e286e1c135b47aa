"""A file's format by its content, its characters, and what is no transcript."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodline.errors import MoodlineError
from moodline.transcripts.formats import read_transcript
from tests.refusals import refuses
from tests.speech.transcripts import texts
from tests.speech.transcripts.texts import read, seen


@pytest.mark.parametrize("name", ["talk", "talk.txt", "talk.srt", "talk.JSON", "talk.csv", "talk.TextGrid"])
@pytest.mark.parametrize("kind", texts.ALL)
def test_the_content_tells_the_format_whatever_the_ending(tmp_path: Path, kind: str, name: str) -> None:
    assert read(tmp_path, texts.ALL[kind], name).format == kind


@pytest.mark.parametrize("kind", texts.ALL)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_unicode_make_no_difference(tmp_path: Path, kind: str, encoding: str) -> None:
    assert read(tmp_path, texts.ALL[kind].encode(encoding)) == read(tmp_path, texts.ALL[kind])


@pytest.mark.parametrize("kind", texts.ALL)
def test_line_ends_of_windows_make_no_difference(tmp_path: Path, kind: str) -> None:
    assert read(tmp_path, texts.ALL[kind].replace("\n", "\r\n")) == read(tmp_path, texts.ALL[kind])


def test_an_ending_of_another_format_is_noted(tmp_path: Path) -> None:
    assert "holds SRT" in read(tmp_path, texts.SRT, "talk.json").notes[0]
    assert not read(tmp_path, texts.SRT, "talk.srt").notes


def test_another_encoding_than_unicode_is_noted(tmp_path: Path) -> None:
    found = read(tmp_path, texts.SRT.replace("you", "Zoë").replace("♪", "").encode("latin-1"))
    assert found.turns[0].words == "Where were Zoë?"
    assert "Windows-1252" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "transcript.empty"),
        (b"\xef\xbb\xbf \r\n\r\n", "transcript.empty"),
        ("\n\n".encode("utf-16"), "transcript.empty"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "transcript.binary"),
        (b"ooBinaryFile\x08TextGrid\x00\x00", "transcript.binary"),
        (b"Dear Ann,\nall is well.\n", "transcript.unknown_format"),
        (b"\x0c\n", "transcript.unknown_format"),
        (b"WEBVTT\n", "transcript.no_turns"),
        (b'File type = "ooTextFile"\nObject class = "Pitch 1"\n', "transcript.unknown_format"),
    ],
)
def test_what_is_no_transcript_is_told(tmp_path: Path, content: bytes, code: str) -> None:
    with refuses(code, "talk.txt"):
        read(tmp_path, content)


def test_a_path_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with refuses("file.unreadable", tmp_path / "absent.srt", "No such file"):
        read_transcript(tmp_path / "absent.srt")


pieces = st.sampled_from([piece for text in texts.ALL.values() for piece in text.split(" ")])
ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)


@ANY
@given(st.data())
def test_a_damaged_file_gives_turns_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is cut out of a file or put into it."""
    text = data.draw(st.sampled_from(list(texts.ALL.values())))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    inserted = data.draw(st.one_of(st.text(max_size=8), st.lists(pieces, max_size=4).map(" ".join)))
    damaged = (text[:begin] + inserted + text[end:]).encode()
    try:
        found = read(tmp_path, damaged)
    except MoodlineError:
        with pytest.raises(MoodlineError, match=r"talk\.txt"):
            read(tmp_path, damaged)
        return
    starts = [start for start, _, _, _ in seen(found)]
    assert starts == sorted(starts)
    assert all(0 <= turn.start < turn.end and turn.words != "" for turn in found.turns)
