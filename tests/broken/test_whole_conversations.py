"""What is broken, or large, beyond a single turn: conversations, sessions, files, a whole source."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus, read_corpus
from moodline.corpora.validation import EMPTY_CONVERSATION
from tests.broken.cases import WHOLE
from tests.broken.model import predicted, trained
from tests.broken.talk import IemocapTree, Talk, conversation_turns, sound
from tests.system import moodline

FIRST = WHOLE[0].conversation
MANY_TURNS = 5_000
LONG = 600.0  # seconds


def prepared(talk: Talk, place: Path, *options: object) -> Corpus:
    """What ``moodline prepare`` makes of a talk."""
    if not (place / "tree").exists():
        IemocapTree().write(talk, place / "tree")
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus", *options)
    return read_corpus(place / "corpus")


def refusal(place: Path, capsys: pytest.CaptureFixture[str], source: Path) -> str:
    """The one sentence of a source that cannot be read at all; nothing is written."""
    capsys.readouterr()
    before = set(place.iterdir())
    with pytest.raises(SystemExit) as end:
        moodline("prepare", "iemocap", source, "-o", place / "corpus")
    assert end.value.code == 2
    assert set(place.iterdir()) == before
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("moodline: ")


def evaluation(place: Path) -> Path:
    return place / f"tree/Session1/dialog/EmoEvaluation/{FIRST}.txt"


def transcription(place: Path) -> Path:
    return place / f"tree/Session1/dialog/transcriptions/{FIRST}.txt"


def audio_folder(place: Path) -> Path:
    return place / f"tree/Session1/sentences/wav/{FIRST}"


def without_transcription(place: Path) -> None:
    transcription(place).unlink()


def without_audio(place: Path) -> None:
    audio_folder(place).rename(place / "elsewhere")


def in_utf_16(place: Path, path: Callable[[Path], Path] = evaluation) -> None:
    path(place).write_bytes(path(place).read_text().encode("utf-16"))


def transcribed_in_utf_16(place: Path) -> None:
    in_utf_16(place, transcription)


def of_zeros(place: Path) -> None:
    """As a crash leaves a file."""
    evaluation(place).write_bytes(bytes(evaluation(place).stat().st_size))


@pytest.mark.parametrize("change", [in_utf_16, transcribed_in_utf_16])
def test_a_file_in_utf_16_is_read(change: Callable[[Path], None], tmp_path: Path) -> None:
    IemocapTree().write(WHOLE, tmp_path / "tree")
    before = prepared(WHOLE, tmp_path)
    change(tmp_path)
    corpus = prepared(WHOLE, tmp_path)
    assert not corpus.faults
    assert list(corpus.utterances) == list(before.utterances)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (without_transcription, "has no transcription"),
        (without_audio, "has no audio"),
        (of_zeros, "zero byte"),
    ],
)
def test_a_broken_conversation_is_left_out_as_one(spoil: Callable[[Path], None], rule: str, tmp_path: Path) -> None:
    IemocapTree().write(WHOLE, tmp_path / "tree")
    spoil(tmp_path)
    corpus = prepared(WHOLE, tmp_path)
    (fault,) = corpus.faults
    assert fault.identity == FIRST
    assert rule in fault.sentence
    assert [turn.id for turn in corpus.utterances] == [turn.id for turn in WHOLE if turn.conversation != FIRST]
    assert not corpus.left_out


@pytest.mark.parametrize("path", [evaluation, transcription])
def test_an_empty_file_leaves_its_conversation_without_turns(path: Callable[[Path], Path], tmp_path: Path) -> None:
    IemocapTree().write(WHOLE, tmp_path / "tree")
    path(tmp_path).write_bytes(b"")
    corpus = prepared(WHOLE, tmp_path)
    assert corpus.left_out[EMPTY_CONVERSATION] == (FIRST,)
    reason = iemocap.MISSING_EVALUATION if path is evaluation else iemocap.MISSING_WORDS
    assert sorted(corpus.left_out[reason]) == sorted(turn.id for turn in WHOLE if turn.conversation == FIRST)
    assert [turn.id for turn in corpus.utterances] == [turn.id for turn in WHOLE if turn.conversation != FIRST]


def test_a_conversation_whose_turns_are_all_broken_is_left_out(tmp_path: Path) -> None:
    corpus = prepared(
        tuple(replace(turn, sound=None) if turn.conversation == FIRST else turn for turn in WHOLE), tmp_path
    )
    assert {fault.identity for fault in corpus.faults} == {turn.id for turn in WHOLE if turn.conversation == FIRST}
    assert dict(corpus.left_out) == {EMPTY_CONVERSATION: (FIRST,)}
    assert FIRST not in {conversation.id for conversation in corpus.conversations}


def nameless(talk: Talk, session: str) -> Talk:
    """Turns of a session whose ids do not tell who speaks."""
    return tuple(
        replace(turn, id=turn.id.replace("_F0", "_X0").replace("_M0", "_Y0")) if turn.session == session else turn
        for turn in talk
    )


def test_a_session_without_a_speaker_is_left_out(tmp_path: Path) -> None:
    corpus = prepared(nameless(WHOLE, "2"), tmp_path)
    assert {conversation.session for conversation in corpus.conversations} == {"1"}
    assert len(corpus.faults) == sum(turn.session == "2" for turn in WHOLE)
    assert all("Session2" in fault.identity for fault in corpus.faults)


def test_a_session_of_one_speaker_is_kept(tmp_path: Path) -> None:
    corpus = prepared(tuple(turn for turn in WHOLE if turn.session == "1" or turn.speaker == "F"), tmp_path)
    speakers = {turn.speaker for one in corpus.conversations if one.session == "2" for turn in one.utterances}
    assert speakers == {"Ses02F"}
    assert not corpus.faults


def test_nothing_usable_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    IemocapTree().write(tuple(replace(turn, sound=None) for turn in WHOLE), tmp_path / "tree")
    sentence = refusal(tmp_path, capsys, tmp_path / "tree")
    assert sentence.startswith(f"{tmp_path / 'tree'} has no usable conversation: an audio file must exist")
    assert sentence.endswith(f"(and {len(WHOLE) - 1} more faults in {tmp_path / 'tree'})")


def test_what_is_no_source_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"\0")
    for name, rule in (("folder", "is not IEMOCAP"), ("file", "is not a folder"), ("absent", "is not a folder")):
        assert rule in refusal(tmp_path, capsys, tmp_path / name)


def test_strict_refuses_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        prepared((replace(WHOLE[0], sound=b""), replace(WHOLE[1], label="joy"), *WHOLE[2:]), tmp_path, "--strict")
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is empty (0 bytes)" in line
    assert line.endswith(f"(and 1 more fault in {tmp_path / 'tree'})")
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_preparing_a_broken_source_again_leaves_the_corpus_as_it_is_until_it_is_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = (replace(WHOLE[0], sound=None), *WHOLE[1:])
    first = prepared(talk, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()}
    assert prepared(talk, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()} == before
    (audio_folder(tmp_path) / f"{WHOLE[0].id}.wav").write_bytes(sound())
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    assert "replaced the corpus" in capsys.readouterr().out
    mended = read_corpus(tmp_path / "corpus")
    assert WHOLE[0].id in {turn.id for turn in mended.utterances}
    assert not mended.faults


def test_inspect_tells_the_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = prepared(tuple(replace(turn, sound=None) if turn.session == "2" else turn for turn in WHOLE), tmp_path)
    capsys.readouterr()
    moodline("inspect", tmp_path / "corpus")
    printed = capsys.readouterr().out
    assert (
        f"left out for faults (utterances, whole conversations): {len(corpus.faults)}, listed in faults.csv\n"
        in printed
    )
    shown = [f"  {fault.identity}: {fault.sentence}\n" in printed for fault in corpus.faults]
    assert shown == [True] * 3 + [False] * (len(corpus.faults) - 3)


def test_conversations_of_one_turn_are_read_trained_on_and_predicted(tmp_path: Path) -> None:
    talk = tuple(
        replace(
            next(iter(conversation_turns(f"Ses0{session}F_impro{index:02d}", str(session), 1))),
            label=label,
            words=f"Word {index} of {session}.".encode(),  # the same words at the same time would be one conversation
        )
        for session in range(1, 6)
        for index, label in enumerate(("ang", "hap", "sad", "neu"))
    )
    corpus = prepared(talk, tmp_path)
    assert [len(conversation.utterances) for conversation in corpus.conversations] == [1] * len(talk)
    model = trained(tmp_path / "model", tree=tmp_path / "tree", options=("--modalities", "text"))
    for conversation in corpus.conversations:
        predicted(model, conversation)


@pytest.mark.slow
def test_ten_minutes_and_5000_turns_are_read_and_predicted(tmp_path: Path) -> None:
    """The long conversation's sound is one file under many names."""
    long = replace(WHOLE[0], sound=sound(LONG))
    many = tuple(replace(turn, sound=None) for turn in conversation_turns("Ses01F_impro09", "1", MANY_TURNS))
    IemocapTree().write((long, *WHOLE[1:], *many), tmp_path / "tree")
    folder = tmp_path / "tree/Session1/sentences/wav/Ses01F_impro09"
    (folder / f"{many[0].id}.wav").write_bytes(sound(0.01))
    for turn in many[1:]:
        os.link(folder / f"{many[0].id}.wav", folder / f"{turn.id}.wav")
    corpus = prepared(WHOLE, tmp_path)
    assert not corpus.faults
    first = corpus.conversation(FIRST)
    assert first.utterances[0].audio is not None
    assert first.utterances[0].audio.duration == LONG
    last = corpus.conversation("Ses01F_impro09")
    assert [turn.id for turn in last.utterances] == [turn.id for turn in many]
    predicted(trained(tmp_path / "both"), first)
    predicted(trained(tmp_path / "words", options=("--modalities", "text")), last)
