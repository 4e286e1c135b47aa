"""Protocols: which sessions are in which set, and what no fold may have."""

import dataclasses
import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from moodline.conversation import IEMOCAP4, Conversation, Utterance
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold, TrainingSets
from moodline.corpora.protocol import choose_fold, folds_of
from moodline.errors import MoodlineError

# Fold (its test session): test, validation, training.
CV5 = {
    "1": ({"1"}, {"2"}, {"3", "4", "5"}),
    "2": ({"2"}, {"3"}, {"1", "4", "5"}),
    "3": ({"3"}, {"4"}, {"1", "2", "5"}),
    "4": ({"4"}, {"5"}, {"1", "2", "3"}),
    "5": ({"5"}, {"1"}, {"2", "3", "4"}),
}


def sessions(conversations: Iterable[Conversation]) -> set[str | None]:
    return {conversation.session for conversation in conversations}


def talk(name: str, *speakers: str) -> Conversation:
    turns = tuple(Utterance(id=f"{name}_{speaker}", speaker=speaker, words=f"I am {speaker}.") for speaker in speakers)
    return Conversation(id=name, utterances=turns)


def fold(**sets: tuple[Conversation, ...]) -> Fold:
    default = {"train": (talk("a", "F1", "M1"),), "validation": (talk("b", "F2", "M2"),), "test": (talk("c", "F3"),)}
    return Fold(protocol="hand", name="one", **{**default, **sets})


def with_sessions(corpus: Corpus, count: int) -> Corpus:
    kept = tuple(one for one in corpus.conversations if int(one.session or 0) <= count)
    return replace(corpus, conversations=kept)


def test_cv5_tests_each_session_and_validates_on_the_next(corpus: Corpus) -> None:
    folds = folds_of(corpus, "cv5")
    found = {one.name: (sessions(one.test), sessions(one.validation), sessions(one.train)) for one in folds}
    assert found == CV5
    assert all(one.protocol == "cv5" for one in folds)


def test_every_fold_holds_every_conversation_once(corpus: Corpus) -> None:
    for protocol in ("session5", "cv5", "all"):
        for one in folds_of(corpus, protocol):
            ids = [conversation.id for conversations in one.sets.values() for conversation in conversations]
            assert sorted(ids) == sorted(conversation.id for conversation in corpus.conversations)


def test_cv5_tests_every_conversation_once(corpus: Corpus) -> None:
    tested = [conversation.id for one in folds_of(corpus, "cv5") for conversation in one.test]
    assert sorted(tested) == sorted(conversation.id for conversation in corpus.conversations)


def test_session5_is_the_fifth_fold_of_cv5(corpus: Corpus) -> None:
    (one,) = folds_of(corpus, "session5")
    assert one.sets == folds_of(corpus, "cv5")[4].sets
    assert (one.protocol, one.name) == ("session5", "5")
    assert (sessions(one.test), sessions(one.validation), sessions(one.train)) == CV5["5"]


def test_all_validates_on_the_first_session_and_tests_nothing(corpus: Corpus) -> None:
    (one,) = folds_of(corpus, "all")
    assert one.test == ()
    assert (sessions(one.validation), sessions(one.train)) == ({"1"}, {"2", "3", "4", "5"})
    (small,) = folds_of(with_sessions(corpus, 2), "all")
    assert (sessions(small.validation), sessions(small.train)) == ({"1"}, {"2"})


@pytest.mark.parametrize(("protocol", "count"), [("session5", 4), ("cv5", 4), ("all", 1)])
def test_too_few_sessions_are_refused(corpus: Corpus, protocol: str, count: int) -> None:
    with pytest.raises(MoodlineError, match=rf"{protocol} takes \d sessions.* has {count} \(1"):
        folds_of(with_sessions(corpus, count), protocol)


def test_six_sessions_are_refused_by_a_protocol_of_five(corpus: Corpus) -> None:
    sixth = replace(talk("Ses06F_impro01", "Ses06F"), session="6")
    with pytest.raises(MoodlineError, match=r"cv5 takes 5 sessions: .* has 6 \(1, 2, 3, 4, 5, 6\)"):
        folds_of(replace(corpus, conversations=(*corpus.conversations, sixth)), "cv5")


def test_a_protocol_that_does_not_exist_is_refused(corpus: Corpus) -> None:
    for stranger in ("cv7", "kfold", "all-script-disjoint", "kfold5-script-disjoint", "cv5-script-disjoint-again"):
        with pytest.raises(MoodlineError, match=f"the protocols are session5, cv5, cv10, .*: '{stranger}' is none"):
            folds_of(corpus, stranger)


def test_a_conversation_without_a_session_is_refused(corpus: Corpus) -> None:
    stray = talk("stray", "me")
    with pytest.raises(MoodlineError, match="conversation stray has none"):
        folds_of(replace(corpus, conversations=(*corpus.conversations, stray)), "cv5")


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_a_conversation_in_two_sets_is_refused(one: str, other: str) -> None:
    shared = talk("shared")
    with pytest.raises(MoodlineError, match=f"conversation shared is in {one} and in {other} of hand, fold one"):
        fold(**{one: (shared,), other: (shared,)})


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_a_speaker_in_two_sets_is_refused(one: str, other: str) -> None:
    with pytest.raises(MoodlineError, match=f"speaker S is in {one} and in {other} of hand, fold one"):
        fold(**{one: (talk("x", "S", "T"),), other: (talk("y", "S", "U"),)})


def test_a_speaker_in_two_sessions_is_refused_by_the_protocol(corpus: Corpus) -> None:
    first = corpus.conversations[0]
    twin = replace(first.utterances[0], id="twin", speaker="Ses03M")
    strayed = replace(first, utterances=(*first.utterances, twin))
    with pytest.raises(MoodlineError, match="speaker Ses03M"):
        folds_of(replace(corpus, conversations=(strayed, *corpus.conversations[1:])), "cv5")


def test_one_set_may_hold_a_speaker_twice() -> None:
    assert len(fold(train=(talk("x", "S"), talk("y", "S"))).train) == 2


@pytest.mark.parametrize("empty", ["train", "validation"])
def test_a_set_that_training_needs_is_not_empty(empty: str) -> None:
    with pytest.raises(MoodlineError, match=f"leaves the {empty} set empty"):
        fold(**{empty: ()})


def test_training_sees_no_test_set(corpus: Corpus) -> None:
    assert [field.name for field in dataclasses.fields(TrainingSets)] == ["train", "validation"]
    (one,) = folds_of(corpus, "session5")
    seen = one.training_sets(IEMOCAP4, "all")
    assert (seen.train, seen.validation) == (one.train, one.validation)
    assert not {c.id for c in one.test} & {c.id for c in (*seen.train, *seen.validation)}
    labelled = one.training_sets(IEMOCAP4, "labelled")
    assert labelled.train == tuple(conversation.in_context(IEMOCAP4, "labelled") for conversation in one.train)


def test_the_hash_does_not_go_by_order(corpus: Corpus) -> None:
    shuffled = list(corpus.conversations)
    random.Random(0).shuffle(shuffled)
    again = replace(corpus, conversations=tuple(shuffled))
    for protocol in ("session5", "cv5", "all"):
        hashes = [[one.hash for one in folds_of(either, protocol)] for either in (corpus, again)]
        assert hashes[0] == hashes[1]


def test_folds_and_protocols_have_hashes_of_their_own(corpus: Corpus) -> None:
    hashes = [one.hash for protocol in ("session5", "cv5", "all") for one in folds_of(corpus, protocol)]
    assert len(set(hashes)) == 7


def test_the_hash_goes_by_membership_and_by_what_was_said() -> None:
    a, b, c, d = talk("a", "A"), talk("b", "B"), talk("c", "C"), talk("d", "D")
    other_words = replace(a, utterances=(replace(a.utterances[0], words="Other words."),))
    folds = [
        fold(train=(a, d), validation=(b,), test=(c,)),
        fold(train=(a,), validation=(b, d), test=(c,)),
        fold(train=(a,), validation=(b,), test=(c, d)),
        fold(train=(a,), validation=(b,), test=(c,)),
        fold(train=(b,), validation=(a,), test=(c,)),
        fold(train=(replace(a, id="e"),), validation=(b,), test=(c,)),
        fold(train=(other_words,), validation=(b,), test=(c,)),
    ]
    assert len({one.hash for one in folds}) == len(folds)


def test_a_fold_is_chosen_by_its_name(corpus: Corpus) -> None:
    folds = folds_of(corpus, "cv5")
    assert choose_fold(folds, None) == folds
    assert choose_fold(folds, "2") == (folds[1],)
    with pytest.raises(MoodlineError, match="cv5 has the folds 1, 2, 3, 4, 5: '6' is none of them"):
        choose_fold(folds, "6")
