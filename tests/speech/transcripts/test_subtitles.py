"""SRT and WebVTT."""

from pathlib import Path

import pysubs2
import pytest

from moodline.conversation import Segment
from moodline.errors import MoodlineError
from moodline.transcripts.formats import read_transcript, write_transcript
from tests.speech.transcripts import texts
from tests.speech.transcripts.texts import read, seen


def cues(*words: str) -> str:
    return "\n".join(f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n{text}\n" for n, text in enumerate(words, start=1))


def speakers(tmp_path: Path, *words: str) -> list[tuple[str, str | None]]:
    return [(turn.speaker, turn.words) for turn in read(tmp_path, cues(*words)).turns]


def test_srt_has_times_and_words_without_markup(tmp_path: Path) -> None:
    assert seen(read(tmp_path, texts.SRT)) == [
        (1.0, 2.5, "unknown", "Where were you?"),
        (2.75, 4.0, "unknown", "I was at the station."),
        (3604.0, 3605.25, "unknown", "La la la"),
    ]


def test_times_and_words_are_those_that_pysubs2_reads(tmp_path: Path) -> None:
    events = pysubs2.SSAFile.from_string(texts.SRT, "srt")
    assert [(start, end) for start, end, _, _ in seen(read(tmp_path, texts.SRT))] == [
        (event.start / 1000, event.end / 1000) for event in events
    ]


def test_vtt_has_voices_and_nothing_of_names_notes_and_styles(tmp_path: Path) -> None:
    found = read(tmp_path, texts.VTT)
    assert found.language == "en"
    assert seen(found) == [
        (1.0, 2.5, "Ann Lee", "Fish & chips"),
        (2.75, 4.0, "Bob", "I was at the station."),
        (5.0, 6.0, "Ann Lee", "Oh."),
        (5.0, 6.0, "Bob", "Ah."),
    ]


@pytest.mark.parametrize(
    ("text", "ends"),
    [(texts.SRT, "\r\n"), (texts.SRT, "\r\r\n"), (texts.SRT, "\r"), (texts.VTT, "\r\n"), (texts.VTT, "\r")],
)
def test_line_ends_of_other_systems_and_doubled_ones(tmp_path: Path, text: str, ends: str) -> None:
    assert seen(read(tmp_path, text.replace("\n", ends))) == seen(read(tmp_path, text))


def test_numbers_may_be_missing_and_blank_lines_too(tmp_path: Path) -> None:
    bare = "00:00:01.0 --> 00:00:02.0\n42\n\n00:00:03 --> 00:00:04\nYes.\n3\n00:05 --> 00:06\nNo.\n\nNo!"
    assert seen(read(tmp_path, bare)) == [
        (1.0, 2.0, "unknown", "42"),
        (3.0, 4.0, "unknown", "Yes."),
        (5.0, 6.0, "unknown", "No. No!"),
    ]


def test_turns_are_in_order_and_overlapping_ones_all_kept(tmp_path: Path) -> None:
    text = "1\n00:05,0 --> 00:09,0\nA\n\n2\n00:01,0 --> 00:08,0\nB\n\n3\n00:01,0 --> 00:08,0\nB\n"
    assert [turn.words for turn in read(tmp_path, text).turns] == ["B", "B", "A"]


def test_empty_cues_are_counted_and_cues_without_a_length_told_by_their_line(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:02,000 --> 00:00:03,000\n♪♪\n\n"
        "3\n00:00:05,000 --> 00:00:04,000\nBack.\n\n4\n00:00:06,000 --> 00:00:07,000\nYes.\n"
    )
    found = read(tmp_path, text)
    assert [turn.words for turn in found.turns] == ["Yes."]
    empty, backwards = found.notes
    assert empty.startswith("2 cues without words")
    assert "talk.txt:2, " in empty
    assert backwards.startswith("1 cue whose end is not after the start")
    assert "talk.txt:9;" in backwards


@pytest.mark.parametrize("form", ["{}: {}", "[{}] {}", "[{}]: {}"])
def test_names_that_recur_before_most_cues_are_speakers(tmp_path: Path, form: str) -> None:
    said = [("Ann", "Hi."), ("Bob", "Where: there?"), ("Ann", "No."), ("Bob", "Oh.")]
    assert speakers(tmp_path, *(form.format(*one) for one in said), "Bye.") == [*said, ("unknown", "Bye.")]


@pytest.mark.parametrize(
    "said",
    [
        ["Listen: it rings.", "One thing: no."],  # none recurs
        ["[laughs] Yes.", "[laughs] No.", "I see.", "You do.", "Do I?"],  # fewer than half
        ["10:30", "At 10:30 then.", "10:30"],
        ["Ann:", "Ann:"],
    ],
)
def test_other_beginnings_are_words(tmp_path: Path, said: list[str]) -> None:
    assert speakers(tmp_path, *said) == [("unknown", words) for words in said]


def test_a_name_with_bracket_and_colon_is_a_speaker_even_once(tmp_path: Path) -> None:
    assert speakers(tmp_path, "[SPEAKER_00]: Hi.", "Hm.", "Yes.") == [
        ("SPEAKER_00", "Hi."),
        ("unknown", "Hm."),
        ("unknown", "Yes."),
    ]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("1\n00:00:01,000 --> 00:00:02,000\nA\n\n2\n00:00:xx,000 --> 00:00:04,000\nB\n", "invalid_time", 6),
        ("1\n00:00:01,000 --> \nA\n", "invalid_time", 2),
        ("1\n00:00:01,000 --> 00:00:02,000\nA\n\n2\n00:00:03,000 00:00:04,000\nB\n", "invalid_time", 6),
        ("1\n00:00:01,000 --> 00:00:02,000\nA\n\n2\n", "text_without_times", 5),
        ("Subtitles\nby me\n00:00:01,000 --> 00:00:02,000\nA\n", "text_without_times", 1),
        ("WEBVTT\n\nloose words\n\n00:01.000 --> 00:02.000\nA\n", "text_without_times", 3),
        ("WEBVTT\n\n00:01.000 --> 00:02,x\nA\n", "invalid_time", 3),
    ],
)
def test_malformed_cues_are_refused_with_their_line(tmp_path: Path, text: str, code: str, line: int) -> None:
    with pytest.raises(MoodlineError) as refused:
        read(tmp_path, text)
    assert refused.value.code == f"transcript.{code}"
    assert f"talk.txt:{line} " in str(refused.value)


def test_no_arrow_in_words_is_taken_for_times(tmp_path: Path) -> None:
    write_transcript(tmp_path / "talk.srt", [Segment(start=0, end=1, words="a --> b ---> c -> d")])
    assert [turn.words for turn in read_transcript(tmp_path / "talk.srt").turns] == ["a -> b -> c -> d"]
