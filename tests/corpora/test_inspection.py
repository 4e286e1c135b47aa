"""What ``moodline inspect`` tells of a corpus, against counts made here."""

import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from rich.console import Console

from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus
from moodline.corpora.inspection import print_inspection
from moodline.errors import format_count
from tests.trees import append, transcription_of, write_tree

FOUR_CLASSES = {"ang", "hap", "exc", "sad", "neu"}


def told(corpus: Corpus) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_inspection(corpus, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def test_what_there_is_is_counted(corpus: Corpus, tree: Path) -> None:
    hours = sum(soundfile.info(path).duration for path in tree.glob("Session*/sentences/wav/*/*.wav")) / 3600
    text = told(corpus)
    assert f"iemocap, {corpus.source}, table {corpus.table_hash}" in text
    assert "10 conversations (5 improvised, 5 scripted), 60 utterances, 10 speakers" in text
    assert f"{hours:.2f} hours" in text
    assert "left out: nothing" in text


def test_labels_are_counted_by_session(corpus: Corpus) -> None:
    heading, *rows = [line.split() for line in told(corpus).split("labels as found\n")[1].splitlines()[:7]]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "all"]
    for row in rows:
        expected = Counter(u.label for c in corpus.conversations if row[0] in (c.session, "all") for u in c.utterances)
        found = dict(zip(heading[1:], map(int, row[1:]), strict=True))
        assert found.pop("all") == expected.total()
        assert {label: count for label, count in found.items() if count} == expected


def test_lengths_are_told(corpus: Corpus) -> None:
    lines = told(corpus).splitlines()
    (turns,) = (line for line in lines if line.startswith("conversation, utterances"))
    assert turns.split()[2:] == ["6", "6", "6", "6"]
    (words,) = (line for line in lines if line.startswith("utterance, words"))
    counts = [len(utterance.words.split()) for utterance in corpus.utterances]
    assert (int(words.split()[2]), int(words.split()[-1])) == (min(counts), max(counts))
    (seconds,) = (line for line in lines if line.startswith("utterance, seconds"))
    least, median, _, most = map(float, seconds.split()[2:])
    assert 0.4 <= least < median < most <= 1.5


def test_the_difference_from_the_full_release_is_told(corpus: Corpus) -> None:
    lines = told(corpus).split("session found expected difference\n")[1].splitlines()
    for line, expected in zip(lines, [1085, 1023, 1151, 1031, 1241, 5531], strict=True):
        session, *numbers = line.split()
        found = sum(
            u.label in FOUR_CLASSES for c in corpus.conversations if session in (c.session, "all") for u in c.utterances
        )
        assert numbers == [str(found), str(expected), f"{found - expected:+d}"]


def test_a_session_that_lacks_is_a_difference_too(corpus: Corpus) -> None:
    four = replace(corpus, conversations=tuple(one for one in corpus.conversations if one.session != "2"))
    assert re.search(r"^2 +0 +1023 +-1023$", told(four), re.MULTILINE)


def test_other_corpora_are_not_held_against_iemocap(corpus: Corpus) -> None:
    assert "expected" not in told(replace(corpus, reader="demo"))


def test_what_was_left_out_is_told_with_its_reason(tmp_path: Path) -> None:
    root = write_tree(tmp_path, sessions=1, turns=2)
    name = "Ses01F_impro01"
    for number in range(5):
        append(transcription_of(root, name), f"{name}_FXX{number} [001.0000-002.0000]: Mmhm.\n")
    expected = f"left out, {iemocap.MISSING_EVALUATION}: 5 ({name}_FXX0, {name}_FXX1, {name}_FXX2, ...)"
    assert expected in told(iemocap.read(root))


@pytest.mark.parametrize("count", [0, 1])
def test_a_corpus_of_words_alone_is_told(corpus: Corpus, count: int) -> None:
    first = corpus.conversations[0]
    mute = replace(first, utterances=tuple(replace(u, audio=None, label=None) for u in first.utterances))
    text = told(replace(corpus, reader="words", conversations=(mute,) * count))
    assert format_count(count, "conversation") in text
    assert "0.00 hours" in text
    assert "utterance, seconds" not in text
