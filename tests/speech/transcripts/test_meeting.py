"""What meeting programs save, as text and as Word documents."""

import math
import zipfile
from pathlib import Path

import pytest

from moodline.conversation import UNKNOWN
from moodline.transcripts.formats import is_chat, read_chat, read_transcript
from moodline.transcripts.transcript import fit_to_duration
from tests.refusals import refuses
from tests.speech.transcripts import texts
from tests.speech.transcripts.texts import read, seen

TURNS = [
    (3.0, 7.0, "Ann Lee", "Where were you? I waited until 10:30"),
    (7.0, 3609.0, "bob", "At the station."),
    (3609.0, math.inf, "Ann Lee", "Oh."),
]
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def write_docx(path: Path, *paragraphs: str) -> Path:
    """A document of paragraphs, a line of each after a break."""
    runs = ["</w:t><w:br/><w:t>".join(one.replace("&", "&amp;").split("\n")) for one in paragraphs]
    body = "".join(f"<w:p><w:r><w:t>{run}</w:t></w:r></w:p>" for run in runs)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>')
    return path


def read_named(tmp_path: Path, text: str) -> list[tuple[float, str, str | None]]:
    return [(turn.start, turn.speaker, turn.words) for turn in read(tmp_path, text).turns]


def test_turns_last_to_the_next_start_and_the_last_one_to_the_end(tmp_path: Path) -> None:
    text = texts.MEETING.replace("bob  0:07", "bob  0:07", 1).replace("bob", "Bob")
    expected = [(start, end, speaker.replace("bob", "Bob"), words) for start, end, speaker, words in TURNS]
    found = read(tmp_path, text)
    assert seen(found) == expected
    assert len(found.notes) == 1
    fitted = fit_to_duration(found, 3612.5)
    assert fitted.turns[-1].end == 3612.5
    assert len(fitted.notes) == 1
    chat = read_chat(tmp_path / "talk.txt").conversation.utterances
    assert [(one.start, one.end) for one in chat] == [(3.0, 7.0), (7.0, 3609.0), (3609.0, None)]


@pytest.mark.parametrize(
    "line",
    [
        "{name} {time}",
        "{name}\t{time}",
        "[{name}] 00:{time}",
        "{name} ({time}):",
        "{name} - {time}",
        "{name}, 0:{time}",
    ],
)
@pytest.mark.parametrize("names", [("Ann Lee", "Éva Ő."), ("speaker 1", "speaker 2")])
def test_a_line_of_a_name_and_a_time_begins_a_turn(tmp_path: Path, line: str, names: tuple[str, str]) -> None:
    said = [(3.0, names[0], "Hello: you."), (65.5, names[1], "Oh?"), (70.0, names[0], "Yes."), (72.0, names[1], "No.")]
    times = ["00:03", "01:05.5", "01:10", "01:12"]
    rows = zip(said, times, strict=True)
    text = "\n\n".join(f"{line.format(name=name, time=time)}\n{words}" for (_, name, words), time in rows)
    assert read_named(tmp_path, text) == said


@pytest.mark.parametrize("line", ["[{time}] {name}: {words}", "({time}) {name}: {words}", "{time} - {name}: {words}"])
def test_words_may_follow_on_the_line(tmp_path: Path, line: str) -> None:
    said = [("00:00:03", "Ann", "Hello."), ("00:00:05", "Ben", "Oh?"), ("00:00:09", "Ann", "At 10:30: yes.")]
    text = "\n".join(line.format(time=time, name=name, words=words) for time, name, words in said)
    assert read_named(tmp_path, text) == [(3.0, "Ann", "Hello."), (5.0, "Ben", "Oh?"), (9.0, "Ann", "At 10:30: yes.")]


def test_lines_of_speakers_without_times_are_words_alone(tmp_path: Path) -> None:
    text = "Call\n\n00:05:00\n\nAnn: Hello.\nHow are you?\nBen: Well.\nAnn: Good.\nBen: Yes.\n"
    (tmp_path / "talk.txt").write_text(text)
    chat = read_chat(tmp_path / "talk.txt")
    assert [(one.speaker, one.words) for one in chat.conversation.utterances] == [
        ("Ann", "Hello. How are you?"),
        ("Ben", "Well."),
        ("Ann", "Good."),
        ("Ben", "Yes."),
    ]
    with refuses("transcript.no_times", "talk.txt"):
        read_transcript(tmp_path / "talk.txt")
    with refuses("transcript.unknown_format", "letter.txt"):
        read(tmp_path, "Dear Ann: hello.\nAll is well at 10:30\n", "letter.txt")


def test_turns_of_one_second_share_the_time_to_the_next(tmp_path: Path) -> None:
    text = "Ann 0:05\nYes.\nBob 0:05\nNo, never.\nAnn 0:09\nOh.\nBob 0:08\nAh.\n"
    assert seen(read(tmp_path, text)) == [
        (5.0, pytest.approx(5 + 4 * 4 / 14, abs=0.001), "Ann", "Yes."),
        (pytest.approx(5 + 4 * 4 / 14, abs=0.001), 9.0, "Bob", "No, never."),
        (9.0, 10.0, "Ann", "Oh."),
        (10.0, math.inf, "Bob", "Ah."),
    ]


def test_one_who_speaks_once_has_a_name_and_a_sentence_is_none(tmp_path: Path) -> None:
    text = "Ann 0:05\nSee you at 10:30\nRoy McDonald 0:09\nNo.\nAnn 0:12\nOh.\n"
    assert read_named(tmp_path, text) == [
        (5.0, "Ann", "See you at 10:30"),
        (9.0, "Roy McDonald", "No."),
        (12.0, "Ann", "Oh."),
    ]
    with refuses("transcript.unknown_format", "talk.txt"):
        read(tmp_path, "Lunch 12:30\nDinner 18:30\n")
    (tmp_path / "talk.txt").write_text("Ann: Hello.\nOne more thing: we need milk.\nBen: Yes.\nAnn: Good.\nBen: Bye.\n")
    chat = read_chat(tmp_path / "talk.txt").conversation.utterances
    assert [one.speaker for one in chat] == ["Ann", "Ben", "Ann", "Ben"]
    assert chat[0].words == "Hello. One more thing: we need milk."


def test_word_documents_are_read_as_their_text(tmp_path: Path) -> None:
    path = write_docx(
        tmp_path / "talk.docx",
        "Call & more",
        "Ann Lee   0:03\nWhere were you?",
        "Bob  0:07\nThere.",
        "Ann Lee   0:09\nOh.",
    )
    assert is_chat(path)
    assert seen(read_transcript(path)) == [
        (3.0, 7.0, "Ann Lee", "Where were you?"),
        (7.0, 9.0, "Bob", "There."),
        (9.0, math.inf, "Ann Lee", "Oh."),
    ]
    arrows = [
        "0:0:1.0 --> 0:0:2.5\nAnn Lee\nYes.",
        "0:0:3.0 --> 0:0:4.0\nBob\nNo.",
        "0:0:5.0 --> 0:0:6.0\nAnn Lee\nOh.",
    ]
    path = write_docx(tmp_path / "teams.docx", *arrows, "0:0:7.0 --> 0:0:8.0\nBob\nAh.")
    assert [(turn.speaker, turn.words) for turn in read_transcript(path).turns] == [
        ("Ann Lee", "Yes."),
        ("Bob", "No."),
        ("Ann Lee", "Oh."),
        ("Bob", "Ah."),
    ]


def test_documents_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    whole = write_docx(tmp_path / "talk.docx", "Ann 0:03\nYes.").read_bytes()
    broken = {
        "cut.docx": whole[: len(whole) // 2],
        "xml.docx": whole.replace(b"</w:body>", b"</w:head>"),
    }
    with zipfile.ZipFile(tmp_path / "other.docx", "w") as archive:
        archive.writestr("content.txt", "Ann 0:03\nYes.")
    broken["other.docx"] = (tmp_path / "other.docx").read_bytes()
    with zipfile.ZipFile(tmp_path / "flipped.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "<document>" + "words " * 1_000 + "</document>")
    flipped = bytearray((tmp_path / "flipped.docx").read_bytes())
    flipped[60:70] = bytes(10)
    broken["flipped.docx"] = bytes(flipped)
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with refuses("transcript.invalid_docx", name):
            read_transcript(tmp_path / name)


def test_a_document_without_text_is_refused(tmp_path: Path) -> None:
    empty = write_docx(tmp_path / "talk.docx")
    for read_file in (read_chat, read_transcript):
        with refuses("transcript.empty", "talk.docx"):
            read_file(empty)


def test_names_on_lines_of_their_own_need_a_second_speaker(tmp_path: Path) -> None:
    cues = ["Ann Lee\nYes.", "Smith, John\nNo.", "Ann Lee\nOh.", "Ann Lee\nAh."]
    clocks = (f"00:00:0{n},000 --> 00:00:0{n},900\n" for n in range(4))
    named = "\n\n".join(clock + cue for clock, cue in zip(clocks, cues, strict=True))
    assert [turn.speaker for turn in read(tmp_path, named).turns] == ["Ann Lee", "Smith, John", "Ann Lee", "Ann Lee"]
    song = named.replace("Smith, John", "Ann Lee")
    assert {turn.speaker for turn in read(tmp_path, song).turns} == {UNKNOWN}


def test_lines_that_begin_with_dashes_are_turns_of_two_speakers(tmp_path: Path) -> None:
    cue = "00:00:01,000 --> 00:00:03,000\n- Hello you.\n<i>\u2013 No!</i>\n\n00:00:04,000 --> 00:00:05,000\n- Yes.\n"
    hyphens = "00:00:01,000 --> 00:00:03,000\n- It's a well-known e-mail - yes.\n- No-one says so.\n"
    words = [turn.words for turn in read(tmp_path, hyphens).turns]
    assert words == ["It's a well-known e-mail - yes.", "No-one says so."]
    assert seen(read(tmp_path, cue)) == [
        (1.0, pytest.approx(1 + 2 * 10 / 17, abs=0.001), UNKNOWN, "Hello you."),
        (pytest.approx(1 + 2 * 10 / 17, abs=0.001), 3.0, UNKNOWN, "No!"),
        (4.0, 5.0, UNKNOWN, "- Yes."),
    ]
