"""IEMOCAP's text files with anything in them: a corpus or one sentence, and nothing lost without a word."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus, read_corpus, write_corpus
from moodline.errors import MoodlineError
from tests.trees import audio_of, evaluated, evaluation_of, transcription_of, write_tree

NAME = "Ses01F_impro01"
TURNS = 4
LABEL = st.sampled_from(sorted(iemocap.LABELS))
# Pieces of both files, so that what is arbitrary often is nearly right.
PIECES = (
    b"[1.0 - 2.0]\t",
    b"[",
    b"]: ",
    b"\tang\t[1, 2, 3]",
    b"Ses01F_impro01_F000",
    b"Ses01F_impro01_M001",
    b" ",
    b"\t",
)
BYTES = st.lists(st.sampled_from(PIECES) | st.sampled_from((b"\n", b"\r", b"\r\n")) | st.binary(max_size=8)).map(
    b"".join
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of one session, two conversations and eight turns; the first conversation's text is written anew."""
    return write_tree(tmp_path_factory.mktemp("text") / "tree", sessions=1, turns=TURNS)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The unbroken evaluation and transcription."""
    root = write_tree(tmp_path_factory.mktemp("whole") / "tree", sessions=1, turns=TURNS)
    return evaluation_of(root, NAME).read_bytes(), transcription_of(root, NAME).read_bytes()


def read(root: Path, evaluation: bytes, transcription: bytes) -> Corpus:
    evaluation_of(root, NAME).write_bytes(evaluation)
    transcription_of(root, NAME).write_bytes(transcription)
    return iemocap.read(root)


@given(evaluation=BYTES, transcription=BYTES)
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_leave_the_other_conversation_as_it_is(
    root: Path, texts: tuple[bytes, bytes], evaluation: bytes, transcription: bytes
) -> None:
    whole = read(root, *texts)
    corpus = read(root, evaluation, transcription)
    assert corpus.conversations[-1] == whole.conversations[-1]
    assert len(corpus.conversations) <= 2
    assert all(line.isprintable() for fault in corpus.faults for line in (fault.identity, fault.sentence))


@given(evaluation=BYTES, transcription=BYTES)
@settings(max_examples=50, deadline=None)
def test_arbitrary_bytes_alone_are_a_corpus_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, evaluation: bytes, transcription: bytes
) -> None:
    root = write_tree(tmp_path_factory.mktemp("alone") / "tree", sessions=1, conversations=1, turns=1)
    try:
        corpus = read(root, evaluation, transcription)
    except MoodlineError as error:
        sentence, code = str(error), error.code
    else:
        write_corpus(corpus, root / "corpus")
        assert read_corpus(root / "corpus") == corpus
        return
    assert sentence.isprintable()
    assert code == "corpus.empty"


@st.composite
def damages(draw: st.DrawFn) -> tuple[int, float, int, bytes]:
    """In which file, how far in it, how many bytes are replaced by which ones."""
    return draw(st.tuples(st.integers(0, 1), st.floats(0, 1), st.integers(0, 12), st.binary(max_size=6)))


@given(damage=damages())
@settings(max_examples=200, deadline=None)
def test_no_turn_is_lost_without_a_word(
    root: Path, texts: tuple[bytes, bytes], damage: tuple[int, float, int, bytes]
) -> None:
    """A damaged stretch of a file: every turn is in the corpus or told, unless its name stands in no file any more."""
    which, share, length, new = damage
    damaged = list(texts)
    at = round(share * len(damaged[which]))
    damaged[which] = damaged[which][:at] + new + damaged[which][at + length :]
    corpus = read(root, damaged[0], damaged[1])
    kept = {utterance.id for utterance in corpus.utterances}
    told = {one for ids in corpus.left_out.values() for one in ids} | {fault.identity for fault in corpus.faults}
    told |= set(re.findall(r"Ses01F_impro01_\w+", " ".join(fault.sentence for fault in corpus.faults)))
    for turn in [path.stem for path in sorted(audio_of(root, f"{NAME}_F000").parent.glob("*.wav"))]:
        assert turn in kept | told or NAME in told, (damage, corpus.faults, corpus.left_out)


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[str, float, float, str, str]]:
    """Turns' ids, times, labels and words, as they come in order of time."""
    letters = st.characters(exclude_categories=("C", "Z")) | st.just(" ")
    clock, turns = 0.0, []
    for number in range(draw(st.integers(1, TURNS))):
        start = clock + draw(st.integers(1, 10**6)) / 10**4
        end = start + draw(st.integers(1, 10**6)) / 10**4
        clock = start
        words = draw(st.text(letters, max_size=40)).replace("\ufffd", "")
        turns.append(
            (f"{NAME}_{'FM'[number % 2]}{number // 2:03d}", round(start, 4), round(end, 4), draw(LABEL), words)
        )
    return turns


@given(turns=conversations(), end=st.sampled_from(["\n", "\r", "\r\n"]), mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
@settings(max_examples=100, deadline=None)
def test_what_is_written_in_the_format_is_read_back(
    root: Path, turns: list[tuple[str, float, float, str, str]], end: str, mark: bytes
) -> None:
    evaluation = "\n".join(evaluated(turn, label, start, stop) for turn, start, stop, label, _ in turns)
    transcription = "".join(f"{turn} [{start:08.4f}-{stop:08.4f}]: {words}\n" for turn, start, stop, _, words in turns)
    contents = (mark + text.replace("\n", end).encode() for text in (evaluation, transcription))
    corpus = read(root, *contents)
    found = [(one.id, one.start, one.end, one.label, one.words) for one in corpus.conversation(NAME).utterances]
    assert found == [(turn, start, stop, label, words.strip()) for turn, start, stop, label, words in turns]
    assert not corpus.faults
