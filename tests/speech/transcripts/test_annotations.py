"""Formats of annotation programs and of speech recognition's tools: ELAN, Audacity, STM, CTM, Kaldi."""

from pathlib import Path

import pytest

from moodline.transcripts.formats import read_chat, read_transcript
from tests.refusals import refuses
from tests.speech.transcripts import texts
from tests.speech.transcripts.texts import read, seen


def test_elan_has_a_speaker_for_each_tier_and_times_between_known_ones(tmp_path: Path) -> None:
    found = read(tmp_path, texts.ELAN, "talk.eaf")
    assert seen(found) == [(0.1, 0.7, "Ann", "Where & when?"), (1.3, 2.25, "Bob", "At the station.")]
    assert len(found.notes) == 1
    assert "Bob-en" in found.notes[0]


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ('TIME_VALUE="100"', 'TIME_VALUE="soon"', "transcript.invalid_time"),
        ('TIME_VALUE="100"', f'TIME_VALUE="{"9" * 5_000}"', "transcript.invalid_time"),
        ('TIME_SLOT_REF1="ts1"', 'TIME_SLOT_REF1="ts9"', "transcript.invalid_time"),
        ("</TIER>\n<TIER", "<TIER", "transcript.invalid_xml"),
        ("TIER>", "ROW>", "transcript.invalid_xml"),
        (' PARTICIPANT="Ann"', ' PARENT_REF="Bob"', None),
    ],
)
def test_a_damaged_elan_file_is_refused(tmp_path: Path, before: str, after: str, code: str | None) -> None:
    text = texts.ELAN.replace(before, after, 1)
    if code is None:
        assert [turn.speaker for turn in read(tmp_path, text).turns] == ["Bob"]
        return
    with refuses(code, "talk.txt"):
        read(tmp_path, text)


def test_an_elan_file_without_utterances_is_refused(tmp_path: Path) -> None:
    start = texts.ELAN.index("<TIER")
    with refuses("transcript.no_utterance_tier", "talk.txt"):
        read(tmp_path, texts.ELAN[:start] + "</ANNOTATION_DOCUMENT>")


def test_labels_of_audacity_have_speakers_before_their_words(tmp_path: Path) -> None:
    assert seen(read(tmp_path, texts.LABELS)) == [
        (0.1, 1.3, "Ann", "Where were you?"),
        (1.5, 2.25, "Bob", "At the station."),
        (3.0, 3.5, "Ann", "Oh."),
        (4.0, 4.5, "Bob", "Yes."),
    ]
    commas = texts.LABELS.replace(".000000", ",000000").replace(".100000", ",100000")
    assert seen(read(tmp_path, commas)) == seen(read(tmp_path, texts.LABELS))
    with refuses("transcript.invalid_line", "talk.txt:2"):
        read(tmp_path, "0.5\t1.5\tYes\nno times\n")


def test_stm_leaves_out_what_scoring_ignores(tmp_path: Path) -> None:
    found = read(tmp_path, texts.STM, "talk.stm")
    assert seen(found) == [(0.1, 1.3, "ann", "where were you"), (1.5, 2.25, "7", "at the station")]
    assert len(found.notes) == 1


def test_ctm_gives_turns_that_end_with_sentences_and_at_pauses(tmp_path: Path) -> None:
    found = read(tmp_path, texts.CTM, "talk.ctm")
    assert seen(found) == [
        (0.1, 0.9, "unknown", "Where were you?"),
        (0.95, 1.25, "unknown", "Well"),
        (3.0, 3.2, "unknown", "7"),
    ]
    both = texts.CTM + "talk B 0.50 0.20 No 0.90\ntalk B 0.70 0.10 [noise] 1.00 non-lex\n"
    assert [(turn.speaker, turn.words) for turn in read(tmp_path, both).turns] == [
        ("channel A", "Where were you?"),
        ("channel B", "No"),
        ("channel A", "Well"),
        ("channel A", "7"),
    ]


def test_kaldis_folder_has_words_and_speakers_beside_its_segments(tmp_path: Path) -> None:
    bare = read(tmp_path, texts.SEGMENTS, "segments")
    assert seen(bare) == [(0.1, 1.3, "unknown", None), (1.5, 2.25, "unknown", None)]
    assert len(bare.notes) == 1
    (tmp_path / "text").write_text("ann-1 where were you\nbob-1 at the station\n")
    (tmp_path / "utt2spk").write_text("ann-1 ann\nbob-1 bob\n")
    whole = read_transcript(tmp_path)
    assert seen(whole) == [(0.1, 1.3, "ann", "where were you"), (1.5, 2.25, "bob", "at the station")]
    assert not whole.notes
    assert [turn.words for turn in read_chat(tmp_path / "segments").conversation.utterances] == [
        "where were you",
        "at the station",
    ]


@pytest.mark.parametrize("kind", ["STM", "CTM", "Kaldi's segments"])
def test_lines_of_several_recordings_and_malformed_ones_are_refused(tmp_path: Path, kind: str) -> None:
    text = texts.ALL[kind]
    with refuses("transcript.several_recordings", "talk.txt"):
        read(tmp_path, text + text.replace("talk", "other"))
    with refuses("transcript.invalid_line", f"talk.txt:{text.count(chr(10)) + 1}"):
        read(tmp_path, text + "talk 1 soon\n")


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with refuses("transcript.folder", tmp_path):
        read_transcript(tmp_path)
