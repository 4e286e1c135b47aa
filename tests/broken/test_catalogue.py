"""Every case of the catalogue: what ``moodline prepare`` leaves out and names, and what a model makes of the rest."""

import json
import re
from pathlib import Path

import pytest

from moodline.corpora.corpus import FAULTS_FILE, Corpus, read_corpus
from moodline.corpora.validation import Fault
from moodline.inference.predictor import Predictor
from tests.broken.cases import WHOLE, Case, cases
from tests.broken.model import predicted, trained
from tests.broken.talk import IemocapTree, Outcome, Source
from tests.system import moodline

SOURCES: tuple[Source, ...] = (IemocapTree(),)
CASES = tuple(cases())
LEAST_CASES = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return trained(tmp_path_factory.mktemp("model"))


def test_the_catalogue_holds_as_many_different_sources_as_it_says() -> None:
    assert len({one.talk for one in CASES}) == len({one.name for one in CASES}) == len(CASES) >= LEAST_CASES
    assert WHOLE not in {one.talk for one in CASES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_nothing_is_wrong_with_what_is_broken_here(source: Source, tmp_path: Path) -> None:
    source.write(WHOLE, tmp_path / "source")
    moodline("prepare", *source.arguments(tmp_path / "source"), "-o", tmp_path / "corpus", "--strict")
    corpus = read_corpus(tmp_path / "corpus")
    assert [turn.id for turn in corpus.utterances] == [turn.id for turn in WHOLE]
    assert not corpus.faults
    assert not (tmp_path / "corpus" / FAULTS_FILE).exists()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_what_is_broken_is_left_out_and_named(
    source: Source, case: Case, model: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write(case.talk, tmp_path / "source")
    command = ("prepare", *source.arguments(tmp_path / "source"), "-o", tmp_path / "corpus")
    outcomes = case.outcomes(source)

    refused = strictly(command, capsys)
    assert bool(refused) == any(outcome.rule for outcome, _ in outcomes)
    assert (tmp_path / "corpus").exists() != bool(refused)
    assert {path.name for path in tmp_path.iterdir()} <= {"source", "corpus"}

    moodline(*command)
    printed = capsys.readouterr().out
    corpus = read_corpus(tmp_path / "corpus")
    out = {identity for outcome, place in outcomes for identity in left_out(outcome, place)}
    assert {turn.id for turn in corpus.utterances} == {turn.id for turn in WHOLE} - out
    for outcome, place in outcomes:
        if WHOLE[place].id not in out:
            outcome.kept(corpus, WHOLE[place].id)
    told(corpus, outcomes, tmp_path / "corpus", printed)
    if refused:
        assert corpus.faults[0].sentence in refused
    touched = {WHOLE[place].conversation for _, place in outcomes}
    for conversation in corpus.conversations:
        if conversation.id in touched:
            predicted(model, conversation)


def strictly(command: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence that --strict refuses with; nothing where it accepts."""
    code = 0
    try:
        moodline(*command, "--strict")
    except SystemExit as end:
        code = end.code
    lines = capsys.readouterr().err.splitlines()
    assert (code, len(lines)) in ((0, 0), (2, 1))
    assert all(line.startswith("moodline: ") for line in lines)
    return "".join(lines)


def left_out(outcome: Outcome, place: int) -> set[str]:
    """The ids that a fault takes from the corpus."""
    if outcome.leaves_out == "conversation":
        return {turn.id for turn in WHOLE if turn.conversation == WHOLE[place].conversation}
    return {WHOLE[place].id} if outcome.leaves_out else set()


def told(corpus: Corpus, outcomes: list[tuple[Outcome, int]], folder: Path, printed: str) -> None:
    """Every fault is told, by its id or its line, and none that was not put there."""
    unexpected = set(corpus.faults)
    for outcome, place in outcomes:
        own = {fault for fault in corpus.faults if outcome.rule and is_of(fault, outcome, place)}
        assert bool(own) == bool(outcome.rule), (outcome.rule, corpus.faults)
        unexpected -= own
    assert not unexpected
    count = len({fault.identity for fault in corpus.faults})
    assert json.loads((folder / "corpus.json").read_text())["faults"] == len(corpus.faults)
    assert (
        f"left out for faults (utterances, whole conversations): {count}, listed in {folder / FAULTS_FILE}" in printed
    ) == bool(count)
    assert (folder / FAULTS_FILE).exists() == bool(count)
    for fault in corpus.faults[:3]:
        assert f"  {fault.identity}: {fault.sentence}\n" in printed


def is_of(fault: Fault, outcome: Outcome, place: int) -> bool:
    """Whether the fault is that outcome's at that place."""
    turn = WHOLE[place]
    identity = {"turn": turn.id, "conversation": turn.conversation}.get(outcome.leaves_out)
    named = fault.identity == identity if identity else bool(re.search(r"\.\w+:\d+$", fault.identity))
    return named and outcome.rule in fault.sentence
