"""A fold by hand: what it refuses, what is scored in it, and what training may see of it."""

import hashlib
import json
from dataclasses import replace

import pytest

from moodline.conversation import IEMOCAP4, Conversation, LabelSet, Utterance
from moodline.corpora.protocols import Fold
from tests.refusals import refuses


def talk(name: str, *speakers: str) -> Conversation:
    turns = tuple(Utterance(id=f"{name}_{speaker}", speaker=speaker, words=f"I am {speaker}.") for speaker in speakers)
    return Conversation(id=name, utterances=turns)


def fold(**sets: tuple[Conversation, ...]) -> Fold:
    default = {"train": (talk("a", "F1", "M1"),), "validation": (talk("b", "F2", "M2"),), "test": (talk("c", "F3"),)}
    return Fold(protocol="hand", name="one", **{**default, **sets})


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_a_conversation_in_two_sets_is_refused(one: str, other: str) -> None:
    shared = talk("shared")
    with refuses("corpus.shared_conversation", "shared", one, other, "hand, fold one"):
        fold(**{one: (shared,), other: (shared,)})


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_a_speaker_in_two_sets_is_refused(one: str, other: str) -> None:
    with refuses("corpus.shared_speaker", "speaker S", one, other, "hand, fold one"):
        fold(**{one: (talk("x", "S", "T"),), other: (talk("y", "S", "U"),)})


def test_one_set_may_hold_a_speaker_twice() -> None:
    assert len(fold(train=(talk("x", "S"), talk("y", "S"))).train) == 2


@pytest.mark.parametrize("empty", ["train", "validation"])
def test_a_set_that_training_needs_is_not_empty(empty: str) -> None:
    with refuses("corpus.empty_set", empty):
        fold(**{empty: ()})


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


def test_the_same_said_at_the_same_times_is_the_same_conversation() -> None:
    again = replace(talk("a", "F1", "M1"), id="z")
    renamed = replace(
        again, utterances=tuple(replace(turn, speaker=f"new {turn.speaker}") for turn in again.utterances)
    )
    with refuses("corpus.shared_conversation", "a in train", "z in test", "hand, fold one"):
        fold(test=(renamed,))
    later = replace(renamed, utterances=tuple(replace(turn, start=1.0) for turn in renamed.utterances))
    assert fold(test=(later,)).test == (later,)


def test_a_lone_turn_of_the_same_words_may_be_in_two_sets() -> None:
    def said(name: str, start: float | None) -> Conversation:
        return Conversation(id=name, utterances=(Utterance(id=name, speaker=name, words="Yes.", start=start),))

    assert fold(train=(said("a", None),), test=(said("z", None),)).test[0].id == "z"
    with refuses("corpus.shared_conversation", "a in train", "z in test"):
        fold(train=(said("a", 1.0),), test=(said("z", 1.0),))


def pair(name: str, *labels: str | None) -> Conversation:
    """V and T take turns; V begins."""
    turns = tuple(
        Utterance(id=f"{name}{number}", speaker="VT"[number % 2], words=f"{name} says {number}.", label=label)
        for number, label in enumerate(labels)
    )
    return Conversation(id=name, utterances=turns)


SHARED = (pair("p", "ang", "sad", "fru", "fru", "neu", "hap"), pair("q", "sad", "xxx"), pair("r", "exc"))


def by_speaker(validation: str | None, test: str | None) -> Fold:
    return Fold(
        protocol="hand",
        name="one",
        train=(talk("a", "F1", "M1"),),
        validation=SHARED,
        test=SHARED,
        validation_speaker=validation,
        test_speaker=test,
    )


def ids(conversations: tuple[Conversation, ...]) -> list[str]:
    return [turn.id for conversation in conversations for turn in conversation.utterances]


def test_each_speaker_is_scored_in_one_set_of_shared_conversations() -> None:
    one = by_speaker("V", "T")
    assert ids(one.scored["validation"]) == ["p0", "p2", "p4", "q0", "r0"]
    assert ids(one.scored["test"]) == ["p1", "p3", "p5", "q1"]
    assert one.scored["train"] == one.train
    assert [conversation.id for conversation in one.scored["test"]] == ["p", "q"]
    assert one.shared_speakers == frozenset()


@pytest.mark.parametrize(("validation", "test"), [(None, None), ("V", None), (None, "T")])
def test_conversations_are_shared_only_where_both_speakers_are_named(validation: str | None, test: str | None) -> None:
    with refuses("corpus.shared_conversation", "p in validation", "p in test", "hand, fold one"):
        by_speaker(validation, test)


def test_a_speaker_is_not_scored_in_two_sets() -> None:
    with refuses("corpus.shared_speaker", "speaker V", "validation", "test", "hand, fold one"):
        by_speaker("V", "V")


def test_what_trains_is_no_context_elsewhere() -> None:
    with refuses("corpus.shared_conversation", "p in train", "p in validation"):
        replace(by_speaker("V", "T"), train=SHARED[:1])
    with refuses("corpus.shared_speaker", "speaker T", "train", "validation"):
        replace(by_speaker("V", "T"), train=(talk("a", "F1", "T"),))


@pytest.mark.parametrize("context", ["labelled", "all"])
def test_training_sees_the_test_speakers_turns_as_the_model_reads_them_without_their_labels(context: str) -> None:
    one = by_speaker("V", "T")
    sets = one.get_training_sets(IEMOCAP4, context)  # pyright: ignore[reportArgumentType]
    seen = {turn.id: turn.label for conversation in sets.validation for turn in conversation.utterances}
    expected = {"p0": "ang", "p1": None, "p4": "neu", "p5": None, "q0": "sad", "r0": "exc"}
    if context == "all":
        expected |= {"p2": "fru", "p3": None, "q1": None}
    assert seen == expected
    read = {turn.id for each in SHARED for turn in each.prepare_for_context(IEMOCAP4, context).utterances}  # pyright: ignore[reportArgumentType]
    assert seen.keys() == read


def test_without_a_label_to_select_by_nothing_trains() -> None:
    silent = replace(by_speaker("V", "T"), validation=SHARED[:1], validation_speaker="nobody")
    with refuses("corpus.no_validation_labels", "hand, fold one", "iemocap4"):
        silent.get_training_sets(IEMOCAP4, "all")
    other = LabelSet(name="other", version=1, classes=("bored", "calm"), mapping={"bor": "bored"})
    with refuses("corpus.no_validation_labels", "hand, fold one", "other", "bor"):
        fold().get_training_sets(other, "labelled")


def test_a_published_split_may_share_speakers_and_says_so() -> None:
    sets = {"validation": (talk("b", "F1", "M2"),), "test": (talk("c", "F1", "M2", "X"),)}
    with refuses("corpus.shared_speaker", "speaker F1", "train", "validation"):
        fold(**sets)
    train = (talk("a", "F1", "M1"),)
    published = Fold("hand", "one", train, sets["validation"], sets["test"], speaker_disjoint=False)
    assert published.shared_speakers == {"F1", "M2"}
    assert published.notes == ("not speaker-disjoint: 2 speakers are in two sets",)
    with refuses("corpus.shared_conversation", "c in validation", "c in test"):
        replace(published, validation=published.test)


def test_a_fold_without_anything_to_tell_has_no_note() -> None:
    assert fold().notes == ()
    assert by_speaker("V", "T").notes == ()


def test_what_is_left_out_is_counted_even_where_it_is_nothing() -> None:
    some = replace(fold(), left_out=(talk("x", "F1"), talk("y", "F1")))
    assert some.notes[0].startswith("script-disjoint: 2 of 3 conversations are left out of training")
    assert replace(fold(), left_out=()).notes[0].startswith("script-disjoint: 0 of 1 conversations")


def test_the_hash_of_whole_sets_is_of_nothing_else() -> None:
    """Written out, so that models of before keep their folds; who is scored counts where that is not everyone."""
    one = fold()
    content = {
        name: [[each.id, each.fingerprint] for each in conversations] for name, conversations in one.sets.items()
    }
    written = json.dumps(["hand", "one", content]).encode()
    assert one.hash == hashlib.sha256(written).hexdigest()[:16]
    assert len({by_speaker("V", "T").hash, by_speaker("T", "V").hash}) == 2
