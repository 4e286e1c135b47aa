"""A corpus's list of faults on disk: a line each, in step with the corpus, no part of its hash."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from moodline.corpora.corpus import DESCRIPTION_FILE, FAULTS_FILE, Corpus, read_corpus, refuse_faults, write_corpus
from moodline.corpora.validation import Fault, FaultCollector
from moodline.errors import MoodlineError
from tests.corpora.files import content_of
from tests.refusals import refuses


@pytest.fixture
def broken(corpus: Corpus) -> Corpus:
    """The corpus with faults, whose sentences hold what a list of commas and quotes must survive."""
    return replace(corpus, faults=(Fault("a.txt:3", "'a, \"b\"' is odd, \u2019 too; mend it"), Fault("b_F000", "b.")))


def test_faults_are_listed_and_come_back(broken: Corpus, tmp_path: Path) -> None:
    write_corpus(broken, tmp_path / "out")
    assert read_corpus(tmp_path / "out") == broken
    assert json.loads((tmp_path / "out" / DESCRIPTION_FILE).read_text())["faults"] == 2
    with (tmp_path / "out" / FAULTS_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"id": one.identity, "sentence": one.sentence} for one in broken.faults]


def test_faults_are_a_line_each(broken: Corpus, tmp_path: Path) -> None:
    faults = FaultCollector(tmp_path)
    faults.add("a\nb", "one\nsentence\u2028with \x1b[31mlines\r\nand \udcff")
    write_corpus(replace(broken, faults=tuple(faults.found)), tmp_path / "out")
    line = (tmp_path / "out" / FAULTS_FILE).read_text(encoding="utf-8").splitlines()[1]
    assert line == "a b,one sentence with \\x1b[31mlines  and \\udcff"


def test_faults_do_not_change_the_tables_hash(broken: Corpus, corpus: Corpus) -> None:
    assert broken.table_hash == corpus.table_hash


def test_the_same_corpus_with_its_faults_again_is_left_alone(broken: Corpus, tmp_path: Path) -> None:
    write_corpus(broken, tmp_path / "out")
    before = content_of(tmp_path / "out")
    write_corpus(broken, tmp_path / "out")
    assert content_of(tmp_path / "out") == before
    assert write_corpus(replace(broken, faults=broken.faults[:1]), tmp_path / "out")


def test_a_list_of_faults_that_was_changed_is_refused(broken: Corpus, tmp_path: Path) -> None:
    write_corpus(broken, tmp_path / "out")
    path = tmp_path / "out" / FAULTS_FILE
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with refuses("corpus.changed", path, "1 fault", "2 faults"):
        read_corpus(tmp_path / "out")
    path.unlink()
    with refuses("corpus.unreadable", FAULTS_FILE):
        read_corpus(tmp_path / "out")


def test_a_corpus_with_faults_can_be_refused(broken: Corpus, corpus: Corpus) -> None:
    refuse_faults(corpus)
    with pytest.raises(MoodlineError) as refused:
        refuse_faults(broken)
    assert str(refused.value) == f"{broken.faults[0].sentence} (and 1 more fault in {corpus.source})"
    with pytest.raises(MoodlineError) as refused:
        refuse_faults(replace(broken, faults=broken.faults[1:]))
    assert str(refused.value) == "b."


def test_a_corpus_with_faults_no_more_has_no_list_of_them(corpus: Corpus, broken: Corpus, tmp_path: Path) -> None:
    write_corpus(broken, tmp_path / "out")
    assert write_corpus(corpus, tmp_path / "out")
    assert not (tmp_path / "out" / FAULTS_FILE).exists()
