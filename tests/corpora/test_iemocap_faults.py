"""Faults of an IEMOCAP tree: each is told with its file and line or its id, and leaves out that and no more."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from tests.trees import (
    append,
    audio_of,
    change,
    evaluated,
    evaluation_of,
    line_of,
    shorten,
    transcription_of,
    write_tree,
)

IMPROVISED, SCRIPTED = "Ses01F_impro01", "Ses01M_script01_1"
TURN = f"{IMPROVISED}_F001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of one session, two conversations and eight turns, to break."""
    return write_tree(tmp_path / "tree", sessions=1, turns=4)


def ids(corpus: Corpus) -> list[str]:
    return [utterance.id for utterance in corpus.utterances]


def whole(root: Path) -> list[str]:
    """The ids of the unbroken tree's turns."""
    return ids(iemocap.read(write_tree(root.with_name("whole"), sessions=1, turns=4)))


def fault(root: Path, identity: str = TURN) -> str:
    """The sentence of the tree's only fault, which leaves out what is named, and nothing but that."""
    corpus = iemocap.read(root)
    (one,) = corpus.faults
    assert one.identity == identity
    assert "\n" not in one.sentence
    assert ids(corpus) == [turn for turn in whole(root) if not turn.startswith(identity)]
    assert not corpus.left_out
    return one.sentence


def without_audio(root: Path) -> None:
    audio_of(root, TURN).unlink()


def with_empty_audio(root: Path, turn: str = TURN) -> None:
    audio_of(root, turn).write_bytes(b"")


def with_no_samples(root: Path) -> None:
    soundfile.write(audio_of(root, TURN), np.zeros(0), 16_000)


def with_truncated_audio(root: Path) -> None:
    shorten(audio_of(root, TURN), 4_000)


def with_unreadable_audio(root: Path) -> None:
    audio_of(root, TURN).write_text("this is no sound " * 100)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (without_audio, "must exist"),
        (with_empty_audio, "empty (0 bytes)"),
        (with_no_samples, "must hold samples"),
        (with_truncated_audio, "must be complete"),
        (with_unreadable_audio, "must be WAV"),
    ],
)
def test_bad_audio_is_told_by_its_file(root: Path, spoil: Callable[[Path], None], rule: str) -> None:
    spoil(root)
    sentence = fault(root)
    assert rule in sentence
    assert str(audio_of(root, TURN)) in sentence


def test_a_transcription_without_audio_is_a_fault(root: Path) -> None:
    folder = audio_of(root, TURN).parent
    folder.rename(folder.with_name("elsewhere"))
    sentence = fault(root, IMPROVISED)
    assert str(evaluation_of(root, IMPROVISED)) in sentence
    assert f"{folder} is missing" in sentence


def test_an_evaluation_without_a_transcription_is_a_fault(root: Path) -> None:
    transcription_of(root, IMPROVISED).unlink()
    sentence = fault(root, IMPROVISED)
    assert str(evaluation_of(root, IMPROVISED)) in sentence
    assert f"{transcription_of(root, IMPROVISED)} is missing" in sentence


def test_a_file_that_the_system_does_not_give_leaves_out_its_conversation(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden, read_bytes = transcription_of(root, IMPROVISED), Path.read_bytes

    def guarded(path: Path) -> bytes:
        if path == forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    assert f"{forbidden} cannot be read: Permission denied" in fault(root, IMPROVISED)


def first_turn(root: Path) -> tuple[Path, int, list[str]]:
    """The evaluation file, the line of its second woman's turn and that line's fields."""
    path = evaluation_of(root, IMPROVISED)
    number = line_of(path, TURN)
    return path, number, path.read_text().splitlines()[number - 1].split("\t")


def test_an_unknown_label_is_a_fault(root: Path) -> None:
    path, number, (_, _, label, _) = first_turn(root)
    change(path, number, f"\t{label}\t", "\tjoy\t")
    sentence = fault(root)
    assert "'joy'" in sentence
    assert TURN in sentence
    assert f"{path}:{number}" in sentence
    assert all(known in sentence for known in ("ang", "hap", "xxx"))


@pytest.mark.parametrize(("start", "end"), [("9.5000", "4.2500"), ("4.2500", "4.2500")])
def test_times_that_do_not_ascend_are_faults(root: Path, start: str, end: str) -> None:
    path, number, (times, *_) = first_turn(root)
    change(path, number, times, f"[{start} - {end}]")
    sentence = fault(root)
    assert TURN in sentence
    assert f"has the times {float(start)} to {float(end)} s" in sentence
    assert f"{path}:{number}" in sentence


def test_times_that_are_no_numbers_are_faults(root: Path) -> None:
    path, number, (times, *_) = first_turn(root)
    change(path, number, times, "[1.2.3 - 4.5000]")
    sentence = fault(root)
    assert "1.2.3" in sentence
    assert f"{path}:{number}" in sentence


def test_a_line_in_another_format_is_a_fault(root: Path) -> None:
    path, number, (*_, dimensions) = first_turn(root)
    change(path, number, f"\t{dimensions}", "")
    sentence = fault(root)
    assert "[start - end] TURN LABEL [V, A, D]" in sentence
    assert f"{path}:{number}" in sentence


def test_a_turns_line_that_does_not_begin_as_one_is_a_fault(root: Path) -> None:
    """Not one of the annotators' lines, which are passed over: it names a turn."""
    path, number, (times, *_) = first_turn(root)
    change(path, number, times, times.replace("[", "("))
    assert f"at {path}:{number}" in fault(root)


def test_a_turn_of_another_conversation_is_a_fault(root: Path) -> None:
    path, number, _ = first_turn(root)
    change(path, number, IMPROVISED, SCRIPTED)
    corpus = iemocap.read(root)
    assert [one.identity for one in corpus.faults] == [f"{path}:{number}"]
    assert ids(corpus) == [turn for turn in whole(root) if turn != TURN]
    assert dict(corpus.left_out) == {iemocap.MISSING_EVALUATION: (TURN,)}


def test_an_id_that_is_evaluated_twice_is_a_fault(root: Path) -> None:
    path = evaluation_of(root, IMPROVISED)
    append(path, "\n" + evaluated(TURN, "neu", 20.0, 21.0))
    number = len(path.read_text().splitlines()) - 3  # the block's three annotators follow the turn
    assert f"{TURN} occurs a second time, at {path}:{number}" in fault(root, f"{path}:{number}")


def test_an_id_that_is_transcribed_twice_is_a_fault(root: Path) -> None:
    path = transcription_of(root, IMPROVISED)
    append(path, f"{TURN} [020.0000-021.0000]: Once more.\n")
    assert f"{TURN} is transcribed a second time, at {path}:5" in fault(root, f"{path}:5")


def test_a_conversation_in_another_session_is_a_fault(root: Path) -> None:
    """A session copied under another's name would put its conversations in the corpus twice."""
    (root / "Session2/dialog/EmoEvaluation").mkdir(parents=True)
    stray = root / "Session2/dialog/EmoEvaluation" / evaluation_of(root, IMPROVISED).name
    stray.write_bytes(evaluation_of(root, IMPROVISED).read_bytes())
    sentence = fault(root, str(stray))
    assert IMPROVISED in sentence
    assert str(stray) in sentence


def test_all_faults_are_told_in_one_pass(root: Path) -> None:
    """Two of one turn's, one of another's and one of a whole conversation."""
    path, number, (times, *_) = first_turn(root)
    change(path, number, times, "[9.0000 - 8.0000]")
    audio_of(root, TURN).unlink()
    with_empty_audio(root, f"{IMPROVISED}_M000")
    transcription_of(root, SCRIPTED).unlink()
    corpus = iemocap.read(root)
    expected = [(f"{IMPROVISED}_M000", "empty"), (TURN, "must exist"), (TURN, "must end after it starts")]
    expected.append((SCRIPTED, "no transcription"))
    assert sorted(one.identity for one in corpus.faults) == sorted(identity for identity, _ in expected)
    for identity, rule in expected:
        assert any(one.identity == identity and rule in one.sentence for one in corpus.faults)
    assert ids(corpus) == [f"{IMPROVISED}_F000", f"{IMPROVISED}_M001"]


def test_a_tree_of_faults_alone_is_refused_in_one_sentence(root: Path) -> None:
    for name in (IMPROVISED, SCRIPTED):
        transcription_of(root, name).unlink()
    with pytest.raises(MoodlineError) as refused:
        iemocap.read(root)
    sentence = str(refused.value)
    assert refused.value.code == "corpus.empty"
    assert str(root) in sentence
    assert f"{transcription_of(root, IMPROVISED)} is missing" in sentence
    assert sentence.endswith(f"(and 1 more fault in {root})")
