"""Protocols: who is in which set, whatever the corpus."""

import dataclasses
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from moodline.conversation import IEMOCAP4, Conversation, Utterance
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import TrainingSets, build_folds, choose_fold, group_by_speaker
from tests.corpora.talks import spoken
from tests.refusals import refuses

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


def with_sessions(corpus: Corpus, count: int) -> Corpus:
    kept = tuple(one for one in corpus.conversations if int(one.session or 0) <= count)
    return replace(corpus, conversations=kept)


def test_cv5_tests_each_session_and_validates_on_the_next(corpus: Corpus) -> None:
    folds = build_folds(corpus, "cv5")
    found = {one.name: (sessions(one.test), sessions(one.validation), sessions(one.train)) for one in folds}
    assert found == CV5
    assert all(one.protocol == "cv5" for one in folds)


def test_every_fold_holds_every_conversation_once(corpus: Corpus) -> None:
    for protocol in ("session5", "cv5", "all"):
        for one in build_folds(corpus, protocol):
            ids = [conversation.id for conversations in one.sets.values() for conversation in conversations]
            assert sorted(ids) == sorted(conversation.id for conversation in corpus.conversations)


def test_cv5_tests_every_conversation_once(corpus: Corpus) -> None:
    tested = [conversation.id for one in build_folds(corpus, "cv5") for conversation in one.test]
    assert sorted(tested) == sorted(conversation.id for conversation in corpus.conversations)


def test_session5_is_the_fifth_fold_of_cv5(corpus: Corpus) -> None:
    (one,) = build_folds(corpus, "session5")
    assert one.sets == build_folds(corpus, "cv5")[4].sets
    assert (one.protocol, one.name) == ("session5", "5")
    assert (sessions(one.test), sessions(one.validation), sessions(one.train)) == CV5["5"]


def test_all_validates_on_the_first_session_and_tests_nothing(corpus: Corpus) -> None:
    (one,) = build_folds(corpus, "all")
    assert one.test == ()
    assert (sessions(one.validation), sessions(one.train)) == ({"1"}, {"2", "3", "4", "5"})
    (small,) = build_folds(with_sessions(corpus, 2), "all")
    assert (sessions(small.validation), sessions(small.train)) == ({"1"}, {"2"})


@pytest.mark.parametrize(("protocol", "count"), [("session5", 4), ("cv5", 4), ("all", 1)])
def test_too_few_sessions_are_refused(corpus: Corpus, protocol: str, count: int) -> None:
    with refuses("corpus.unfit_protocol", f"{count} session", protocol):
        build_folds(with_sessions(corpus, count), protocol)


def test_six_sessions_are_refused_by_a_protocol_of_five(corpus: Corpus) -> None:
    sixth = replace(talk("Ses06F_impro01", "Ses06F"), session="6")
    with refuses("corpus.unfit_protocol", "1, 2, 3, 4, 5, 6", "cv5"):
        build_folds(replace(corpus, conversations=(*corpus.conversations, sixth)), "cv5")


def test_a_protocol_that_does_not_exist_is_refused(corpus: Corpus) -> None:
    for stranger in (
        "cv7",
        "kfold",
        "kfold05",
        "kfold\u0665",
        "all-script-disjoint",
        "kfold5-script-disjoint",
        "cv5-script-disjoint-again",
    ):
        with refuses("corpus.unknown_protocol", repr(stranger), "session5, cv5, cv10, "):
            build_folds(corpus, stranger)


def test_a_conversation_without_a_session_is_refused(corpus: Corpus) -> None:
    stray = talk("stray", "me")
    with refuses("corpus.no_session", "stray"):
        build_folds(replace(corpus, conversations=(*corpus.conversations, stray)), "cv5")


def test_a_speaker_in_two_sessions_is_refused_by_the_protocol(corpus: Corpus) -> None:
    first = corpus.conversations[0]
    twin = replace(first.utterances[0], id="twin", speaker="Ses03M")
    strayed = replace(first, utterances=(*first.utterances, twin))
    with refuses("corpus.shared_speaker", "Ses03M"):
        build_folds(replace(corpus, conversations=(strayed, *corpus.conversations[1:])), "cv5")


def test_training_sees_no_test_set(corpus: Corpus) -> None:
    assert [field.name for field in dataclasses.fields(TrainingSets)] == ["train", "validation"]
    (one,) = build_folds(corpus, "session5")
    seen = one.get_training_sets(IEMOCAP4, "all")
    assert (seen.train, seen.validation) == (one.train, one.validation)
    assert not {c.id for c in one.test} & {c.id for c in (*seen.train, *seen.validation)}
    labelled = one.get_training_sets(IEMOCAP4, "labelled")
    assert labelled.train == tuple(conversation.prepare_for_context(IEMOCAP4, "labelled") for conversation in one.train)


def test_the_hash_does_not_go_by_order(corpus: Corpus) -> None:
    shuffled = list(corpus.conversations)
    random.Random(0).shuffle(shuffled)
    again = replace(corpus, conversations=tuple(shuffled))
    for protocol in ("session5", "cv5", "all"):
        hashes = [[one.hash for one in build_folds(either, protocol)] for either in (corpus, again)]
        assert hashes[0] == hashes[1]


def test_folds_and_protocols_have_hashes_of_their_own(corpus: Corpus) -> None:
    hashes = [one.hash for protocol in ("session5", "cv5", "all") for one in build_folds(corpus, protocol)]
    assert len(set(hashes)) == 7


def test_a_fold_is_chosen_by_its_name(corpus: Corpus) -> None:
    folds = build_folds(corpus, "cv5")
    assert choose_fold(folds, None) == folds
    assert choose_fold(folds, "2") == (folds[1],)
    with refuses("corpus.unknown_fold", "'6'", "1, 2, 3, 4, 5"):
        choose_fold(folds, "6")


def test_cv10_tests_each_speaker_and_validates_on_the_other(corpus: Corpus) -> None:
    folds = build_folds(corpus, "cv10")
    assert [one.name for one in folds] == [f"Ses0{session}{gender}" for session in range(1, 6) for gender in "FM"]
    for one in folds:
        other = one.name[:5] + {"F": "M", "M": "F"}[one.name[5]]
        assert (one.test_speaker, one.validation_speaker) == (one.name, other)
        assert one.test == one.validation
        assert sessions(one.test) == {one.name[4]}
        assert sessions(one.train) == {"1", "2", "3", "4", "5"} - {one.name[4]}


def test_cv10_takes_sessions_of_two_speakers(corpus: Corpus) -> None:
    first = corpus.conversations[0]
    guest = replace(first, utterances=(*first.utterances, Utterance(id="guest", speaker="Guest", words="Hello.")))
    with refuses("corpus.unfit_protocol", "session 1", "Guest, Ses01F, Ses01M"):
        build_folds(replace(corpus, conversations=(guest, *corpus.conversations[1:])), "cv10")
    with refuses("corpus.unfit_protocol", "1, 2, 3, 4", "cv10"):
        build_folds(with_sessions(corpus, 4), "cv10")


def published(*splits: str | None) -> Corpus:
    talks = tuple(replace(spoken(f"talk{at}", [(f"S{at % 3}", None)]), split=split) for at, split in enumerate(splits))
    return Corpus(reader="play", source=Path("play"), conversations=talks, left_out={})


def test_official_is_the_published_split() -> None:
    corpus = published("test", "train", "validation", "train", "test")
    (one,) = build_folds(corpus, "official")
    assert {name: [each.split for each in conversations] for name, conversations in one.sets.items()} == {
        "train": ["train"] * 2,
        "validation": ["validation"],
        "test": ["test"] * 2,
    }
    assert one.shared_speakers == {"S0", "S1"}
    assert one.notes == ("not speaker-disjoint: 2 speakers are in two sets",)


def test_official_takes_a_corpus_that_is_split(corpus: Corpus) -> None:
    with refuses("corpus.no_split", "Ses01F_impro01"):
        build_folds(corpus, "official")
    with refuses("corpus.empty_set", "play"):
        build_folds(published("train", "validation"), "official")
    with refuses("corpus.empty_set", "validation"):
        build_folds(published("train", "test"), "official")


@pytest.mark.parametrize("base", ["session5", "cv5", "cv10"])
def test_script_disjoint_leaves_out_of_training_what_the_other_sets_perform(corpus: Corpus, base: str) -> None:
    renamed = {"Ses02M_script01_1": "Ses02M_script02_1", "Ses05M_script01_1": "Ses05M_script01_1b"}
    played = tuple(replace(one, id=renamed.get(one.id, one.id)) for one in corpus.conversations)
    mixed = replace(corpus, conversations=played)
    folds, plain = (build_folds(mixed, name) for name in (f"{base}-script-disjoint", base))
    for one, before in zip(folds, plain, strict=True):
        assert (one.name, one.validation, one.test) == (before.name, before.validation, before.test)
        elsewhere = {each.id[7:17] for each in (*one.validation, *one.test) if each.part == "scripted"}
        assert {each.id for each in one.train} == {each.id for each in before.train if each.id[7:17] not in elsewhere}
        assert {each.id for each in (*one.train, *(one.left_out or ()))} == {each.id for each in before.train}
        assert one.protocol == f"{base}-script-disjoint"
        assert one.hash != before.hash
    kept = {one.name: {each.id for each in one.train if each.part == "scripted"} for one in folds}
    if base == "cv5":
        assert kept == {
            "1": set(),  # the second session, which validates, plays the other script
            "2": set(),
            "3": {"Ses02M_script02_1"},
            "4": {"Ses02M_script02_1"},
            "5": {"Ses02M_script02_1"},
        }


def test_script_disjoint_takes_names_of_scripts(corpus: Corpus) -> None:
    first, second, *others = corpus.conversations
    odd = replace(corpus, conversations=(first, replace(second, id="Ses01M_scene"), *others))
    with refuses("corpus.no_script", "Ses01M_scene"):
        build_folds(odd, "cv5-script-disjoint")
    improvised = tuple(one for one in corpus.conversations if one.part == "improvised")
    with refuses("corpus.no_script", "cv5"):
        build_folds(replace(corpus, conversations=improvised), "cv5-script-disjoint")


def test_kfold_counts_the_groups_that_there_are() -> None:
    corpus = published(*[None] * 12)
    with refuses("corpus.unfit_protocol", "play", "3 groups", "kfold5"):
        build_folds(corpus, "kfold5")
    assert [one.name for one in build_folds(corpus, "kfold3")] == ["1", "2", "3"]
    with refuses("corpus.unknown_protocol", "kfold2", "kfold3"):
        build_folds(corpus, "kfold2")


def test_kfold_keeps_copies_of_a_conversation_together() -> None:
    talks = [spoken(f"talk{at}", [(f"S{at % 3}", None)] * 2) for at in range(4)]
    turns = tuple(replace(turn, speaker="Another") for turn in talks[0].utterances)
    copy = replace(talks[0], id="copy", utterances=turns)
    groups = group_by_speaker((*talks, copy))
    assert {frozenset(one.id for one in group) for group in groups} == {
        frozenset({"talk0", "talk3", "copy"}),
        frozenset({"talk1"}),
        frozenset({"talk2"}),
    }
