"""Protocols on corpora of any shape: each turn tested once, by speakers that no training heard."""

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.conversation import IEMOCAP4, Conversation
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold, build_folds
from tests.corpora.talks import spoken
from tests.refusals import refuses

LABELS = st.sampled_from(["ang", "hap", "exc", "sad", "neu", "fru", "xxx", None])


@st.composite
def dyads(draw: st.DrawFn) -> Corpus:
    """Five sessions of a woman and a man, improvised and scripted, in which both say something labelled."""
    conversations = []
    for session in "12345":
        more = draw(st.lists(st.sampled_from(["impro", "script01_"]), max_size=2))
        for number, script in enumerate(["impro", "script01_", *more]):
            part = {"impro": "improvised", "script01_": "scripted"}[script]
            turns = [(f"Ses0{session}{gender}", draw(LABELS)) for gender in draw(st.text("FM", max_size=4))]
            turns += [(f"Ses0{session}F", "ang"), (f"Ses0{session}M", "sad")]
            name = f"Ses0{session}F_{script}{number}"
            conversations.append(spoken(name, turns, session=session, part=part))
    return Corpus(reader="play", source=Path("play"), conversations=tuple(conversations), left_out={})


@st.composite
def crowds(draw: st.DrawFn) -> Corpus:
    """Conversations of some out of many speakers, in which the first words are labelled."""
    speakers = st.integers(1, 40).map(str)
    talks = draw(st.lists(st.tuples(speakers, st.lists(st.tuples(speakers, LABELS), max_size=2)), min_size=6))
    conversations = tuple(
        spoken(f"talk{number}", [(first, "ang"), *others]) for number, (first, others) in enumerate(talks)
    )
    return Corpus(reader="play", source=Path("play"), conversations=conversations, left_out={})


def turns_in(conversations: Iterable[Conversation]) -> list[str]:
    return [turn.id for conversation in conversations for turn in conversation.utterances]


def check(folds: tuple[Fold, ...]) -> None:
    """No speaker is scored in two sets, and training sees no label of a turn that is tested."""
    for one in folds:
        speakers = [{turn.speaker for each in scored for turn in each.utterances} for scored in one.scored.values()]
        assert not speakers[0] & speakers[1]
        assert not speakers[0] & speakers[2]
        assert not speakers[1] & speakers[2]
        tested = set(turns_in(one.scored["test"]))
        for context in ("labelled", "all"):
            seen = one.get_training_sets(IEMOCAP4, context)
            for conversation in (*seen.train, *seen.validation):
                assert all(turn.label is None for turn in conversation.utterances if turn.id in tested)


def reordered(corpus: Corpus, order: random.Random) -> Corpus:
    shuffled = list(corpus.conversations)
    order.shuffle(shuffled)
    return replace(corpus, conversations=tuple(shuffled))


@settings(max_examples=40, deadline=None)
@given(dyads(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("protocol", ["session5", "cv5", "cv10"])
def test_any_corpus_of_dyads_is_tested_once_by_speakers_that_were_not_heard(
    protocol: str, corpus: Corpus, order: random.Random
) -> None:
    folds = build_folds(corpus, protocol)
    check(folds)
    tested = [turn for one in folds for turn in turns_in(one.scored["test"])]
    last = [each for each in corpus.conversations if each.session == "5"]
    assert sorted(tested) == sorted(turns_in(last if protocol == "session5" else corpus.conversations))
    assert [one.hash for one in folds] == [one.hash for one in build_folds(reordered(corpus, order), protocol)]
    disjoint = build_folds(corpus, f"{protocol}-script-disjoint")
    check(disjoint)
    assert [one.scored["test"] for one in disjoint] == [one.scored["test"] for one in folds]


@settings(max_examples=100, deadline=None)
@given(crowds(), st.integers(3, 6), st.randoms(use_true_random=False))
def test_any_corpus_is_tested_once_in_parts_that_share_no_speaker(
    corpus: Corpus, parts: int, order: random.Random
) -> None:
    groups = reached(corpus.conversations)
    if len(groups) < parts:
        with refuses("corpus.unfit_protocol", f"{len(groups)} group"):
            build_folds(corpus, f"kfold{parts}")
        return
    folds = build_folds(corpus, f"kfold{parts}")
    check(folds)
    tested = [turn for one in folds for turn in turns_in(one.scored["test"])]
    assert sorted(tested) == sorted(turns_in(corpus.conversations))
    assert all(one.validation == following.test for one, following in zip(folds, (*folds[1:], folds[0]), strict=True))
    assert all(len(one.train) + len(one.validation) + len(one.test) == len(corpus.conversations) for one in folds)
    sizes = [len(turns_in(one.test)) for one in folds]
    assert max(sizes) - min(sizes) <= max(len(turns_in(group)) for group in groups)
    assert [one.hash for one in folds] == [one.hash for one in build_folds(reordered(corpus, order), f"kfold{parts}")]


def reached(conversations: tuple[Conversation, ...]) -> list[list[Conversation]]:
    """Groups by walking from speaker to speaker until nobody new is met."""
    left, groups = list(conversations), []
    while left:
        group, known = [left.pop()], set[str]()
        while known != (known := {speaker for one in group for speaker in one.speakers}):
            group += [one for one in left if one.speakers & known]
            left = [one for one in left if not one.speakers & known]
        groups.append(group)
    return groups
