"""The reader of IEMOCAP: what it takes of a tree as the full release is; see test_iemocap_faults for broken ones."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.audio import io
from moodline.conversation import Conversation
from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from tests.trees import (
    append,
    audio_of,
    clutter,
    evaluation_of,
    transcription_of,
    write_tree,
)

IMPROVISED, SCRIPTED = "Ses01F_impro01", "Ses01M_script01_1"
TURN = f"{IMPROVISED}_F001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of one session, two conversations and eight turns, to break."""
    return write_tree(tmp_path / "tree", sessions=1, turns=4)


def refusal(root: Path) -> str:
    with pytest.raises(MoodlineError) as refused:
        iemocap.read(root)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def ids(corpus: Corpus) -> list[str]:
    return [utterance.id for utterance in corpus.utterances]


def test_every_field_of_a_conversation_is_read(tmp_path: Path) -> None:
    """A conversation written out by hand; turns stand neither in order of time nor all in both files."""
    name = "Ses03M_script02_2"
    session = tmp_path / "IEMOCAP_full_release" / "Session3"
    for folder in ("dialog/EmoEvaluation", "dialog/transcriptions", f"sentences/wav/{name}"):
        (session / folder).mkdir(parents=True)
    (session / f"dialog/EmoEvaluation/{name}.txt").write_bytes(
        b"% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\r\n\r\n"
        b"[8.2500 - 9.0000]\tSes03M_script02_2_M000\txxx\t[2.5000, 2.5000, 2.5000]\r\n"
        b"C-E2:\tNeutral;\t()\r\nC-F3:\tAnger; Frustration;\t(half)\r\nA-M3:\tval 3; act 2; dom  2;\t()\r\n\r\n"
        b"[6.0100 - 8.2300]\tSes03M_script02_2_F000\texc\t[4.0000, 3.5000, 3.0000]\n"
        b"C-E2:\tExcited;\t()\n\n"
        b"[9.1000 - 9.9000]\tSes03M_script02_2_F001\tang\t[1.0000, 4.0000, 4.0000]\r"
    )
    (session / f"dialog/transcriptions/{name}.txt").write_bytes(
        b"Ses03M_script02_2_F000 [006.0100-008.2300]: It\x92s here: the letter.\r\n"
        b"Ses03M_script02_2_MXX0 [008.2300-008.2500]: Oh.\n"
        b"M: (laughs)\n"
        b"Ses03M_script02_2_M000 [008.2500-009.0000]: Really?\r"
    )
    for turn, seconds in (("F000", 2.22), ("M000", 0.75), ("F001", 0.8)):
        path = session / f"sentences/wav/{name}/{name}_{turn}.wav"
        soundfile.write(path, np.full(round(seconds * 16_000), 0.1), 16_000)

    corpus = iemocap.read(tmp_path)

    assert corpus.reader == "iemocap"
    assert corpus.source == (tmp_path / "IEMOCAP_full_release").resolve()
    (conversation,) = corpus.conversations
    assert (conversation.id, conversation.session, conversation.part) == (name, "3", "scripted")
    first, second = conversation.utterances
    assert (first.id, first.speaker, first.label) == (f"{name}_F000", "Ses03F", "exc")
    assert (first.words, first.start, first.end) == ("It\u2019s here: the letter.", 6.01, 8.23)
    assert (second.id, second.speaker, second.label) == (f"{name}_M000", "Ses03M", "xxx")
    assert (second.words, second.start, second.end) == ("Really?", 8.25, 9.0)
    assert first.audio is not None
    assert first.audio.path == corpus.source / f"Session3/sentences/wav/{name}/{name}_F000.wav"
    assert (first.audio.offset, first.audio.sample_rate) == (0.0, 16_000)
    assert first.audio.duration == pytest.approx(2.22)
    assert dict(corpus.left_out) == {
        iemocap.UNNAMED_TURN: (f"{name}.txt:3",),
        iemocap.MISSING_WORDS: (f"{name}_F001",),
        iemocap.MISSING_EVALUATION: (f"{name}_MXX0",),
    }


def test_the_tree_is_read_whole(corpus: Corpus) -> None:
    assert len(corpus.conversations) == 10
    assert len(ids(corpus)) == 60
    assert not corpus.left_out
    assert {utterance.label for utterance in corpus.utterances} >= {"ang", "sad", "neu", "fru", "xxx"}
    for session in "12345":
        own = [one for one in corpus.conversations if one.session == session]
        assert {one.part for one in own} == {"improvised", "scripted"}
        assert {speaker for one in own for speaker in one.speakers} == {f"Ses0{session}F", f"Ses0{session}M"}


def test_the_part_goes_by_the_name(corpus: Corpus) -> None:
    parts = {one.id: one.part for one in corpus.conversations}
    assert parts == {id: "improvised" if "impro" in id else "scripted" for id in parts}


def test_the_speaker_is_who_speaks_not_who_wears_the_markers(corpus: Corpus) -> None:
    for utterance in corpus.utterances:
        gender = utterance.id.rsplit("_", 1)[1][0]
        assert utterance.speaker == f"{utterance.id[:5]}{gender}"
    assert len({utterance.speaker for utterance in corpus.conversation("Ses01M_script01_1").utterances}) == 2


def test_turns_come_in_order_of_time_whatever_the_files_order(root: Path) -> None:
    before = iemocap.read(root)
    for path in (evaluation_of(root, IMPROVISED), transcription_of(root, IMPROVISED)):
        separator = "\n\n" if "EmoEvaluation" in str(path) else "\n"
        header, *blocks = path.read_text().strip().split(separator)
        path.write_text(separator.join([header, *reversed(blocks)]) + "\n")
    after = iemocap.read(root)
    assert after.conversations == before.conversations
    for conversation in after.conversations:
        starts = [utterance.start or 0.0 for utterance in conversation.utterances]
        assert starts == sorted(starts)


def test_what_else_the_release_holds_is_passed_over(root: Path) -> None:
    before = iemocap.read(root)
    clutter(root)
    after = iemocap.read(root)
    assert after == before


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_line_ends_do_not_matter(root: Path, end: bytes) -> None:
    before = iemocap.read(root)
    for path in (evaluation_of(root, IMPROVISED), transcription_of(root, SCRIPTED)):
        path.write_bytes(path.read_bytes().replace(b"\n", end))
    assert iemocap.read(root) == before


def test_a_byte_order_mark_does_not_matter(root: Path) -> None:
    before = iemocap.read(root)
    path = transcription_of(root, IMPROVISED)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert iemocap.read(root) == before


def test_transcribed_turns_without_an_evaluation_are_left_out_and_named(root: Path) -> None:
    before = iemocap.read(root)
    strangers = (f"{IMPROVISED}_FXX0", f"{IMPROVISED}_MXX0")
    for turn in strangers:
        append(transcription_of(root, IMPROVISED), f"{turn} [001.0000-002.0000]: Mmhm.\n")
    after = iemocap.read(root)
    assert after.conversations == before.conversations
    assert dict(after.left_out) == {iemocap.MISSING_EVALUATION: strangers}


def test_a_conversation_without_a_usable_turn_is_left_out(root: Path) -> None:
    transcription_of(root, IMPROVISED).write_text("")
    corpus = iemocap.read(root)
    assert [one.id for one in corpus.conversations] == [SCRIPTED]
    assert corpus.left_out["a conversation without a usable turn"] == (IMPROVISED,)
    assert len(corpus.left_out[iemocap.MISSING_WORDS]) == 4


def test_a_file_that_is_named_like_no_conversation_is_left_out(root: Path) -> None:
    before = iemocap.read(root)
    (evaluation_of(root, IMPROVISED).parent / "notes.txt").write_text("[checked]")
    after = iemocap.read(root)
    assert after.conversations == before.conversations
    assert list(after.left_out.values()) == [("notes.txt",)]


def test_48_khz_stereo_is_taken(root: Path) -> None:
    seconds = np.arange(48_000) / 48_000
    left, right = np.sin(2 * np.pi * 200 * seconds), np.zeros(48_000)
    soundfile.write(audio_of(root, TURN), 0.5 * np.stack([left, right], axis=1), 48_000)
    corpus = iemocap.read(root)
    (clip,) = (utterance.audio for utterance in corpus.utterances if utterance.id == TURN)
    assert clip is not None
    assert (clip.sample_rate, clip.duration) == (48_000, 1.0)
    middle = slice(2_000, 14_000)
    mixed = 0.25 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(io.read_clip(clip, 16_000)[middle], mixed[middle], atol=1e-3)


def test_a_folder_that_is_not_iemocap_is_refused(tmp_path: Path) -> None:
    sentence = refusal(tmp_path)
    assert str(tmp_path) in sentence
    assert "Session1/dialog/EmoEvaluation" in sentence


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")


def test_a_release_without_conversations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Session1/dialog/EmoEvaluation").mkdir(parents=True)
    assert f"{tmp_path} has no usable conversation" in refusal(tmp_path)


def test_what_the_literature_expects_adds_up() -> None:
    assert sum(iemocap.EXPECTED_BY_SESSION.values()) == 5531
    assert list(iemocap.EXPECTED_BY_SESSION) == ["1", "2", "3", "4", "5"]


def test_conversations_come_in_order_of_session_and_name(corpus: Corpus) -> None:
    names = [one.id for one in corpus.conversations]
    assert names == sorted(names)
    assert all(isinstance(one, Conversation) for one in corpus.conversations)


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("Ses01F_script01_1", "script01_1"),
        ("Ses05M_script01_1b", "script01_1"),  # recorded a second time
        ("Ses03M_script02_2", "script02_2"),
        ("Ses01F_impro01", None),
        ("Ses02F_impro07b", None),
        ("dia0", None),
    ],
)
def test_the_script_is_in_the_name(name: str, script: str | None) -> None:
    assert iemocap.find_script(Conversation(id=name, utterances=())) == script
