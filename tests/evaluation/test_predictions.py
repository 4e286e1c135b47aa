"""What a model may be scored on, for every protocol and every way to score a conversation."""

from dataclasses import replace

import pytest

from moodline.config import Recipe
from moodline.conversation import IEMOCAP4, Conversation
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold, build_folds
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import refuse_training_overlap
from moodline.modeling.description import Provenance
from moodline.training.provenance import build_provenance
from tests.refusals import refuses

BY_SESSION = ("session5", "cv5", "cv10", "cv5-script-disjoint", "cv10-script-disjoint", "kfold4", "all")


def made_from(fold: Fold, corpus: Corpus) -> Provenance:
    return build_provenance(Recipe(), IEMOCAP4, corpus, fold, precomputed={})


def is_refused(provenance: Provenance, conversation: Conversation, speaker: str | None) -> bool:
    try:
        refuse_training_overlap(provenance, [conversation], speaker)
    except MoodlineError:
        return True
    return False


def labelled(conversation: Conversation, speaker: str | None = None) -> set[str]:
    """The turns that have a class, of one speaker or of all."""
    turns = conversation.utterances if speaker is None else conversation.select_speaker(speaker).utterances
    return {turn.id for turn in turns if IEMOCAP4.index(turn.label) is not None}


@pytest.mark.parametrize("protocol", [*BY_SESSION, "official"])
def test_turns_are_refused_where_training_saw_a_label_of_them_and_only_there(corpus: Corpus, protocol: str) -> None:
    if protocol == "official":
        splits = {"1": "test", "2": "validation"}
        split = (replace(one, split=splits.get(one.session or "", "train")) for one in corpus.conversations)
        corpus = replace(corpus, conversations=tuple(split))
    refused = allowed = 0
    for fold in build_folds(corpus, protocol):
        provenance = made_from(fold, corpus)
        sets = fold.get_training_sets(IEMOCAP4, "all")
        seen = {turn for each in (*sets.train, *sets.validation) for turn in labelled(each)}
        for conversation in corpus.conversations:
            for speaker in (None, *sorted(conversation.speakers)):
                expected = not labelled(conversation, speaker).isdisjoint(seen)
                assert is_refused(provenance, conversation, speaker) == expected, (fold.name, conversation.id, speaker)
                refused, allowed = refused + expected, allowed + (not expected)
        refuse_training_overlap(provenance, fold.test, fold.test_speaker)
    assert refused
    assert allowed or protocol == "all"


def as_one_speaker(conversation: Conversation) -> Conversation:
    return replace(
        conversation, id="copy", utterances=tuple(replace(turn, speaker="me") for turn in conversation.utterances)
    )


def test_what_selected_by_turns_is_known_under_other_names(corpus: Corpus) -> None:
    fold = next(one for one in build_folds(corpus, "cv10") if one.name == "Ses01F")
    provenance = made_from(fold, corpus)
    conversation = fold.test[0]
    women, men = conversation.select_speaker("Ses01F"), conversation.select_speaker("Ses01M")
    assert is_refused(provenance, as_one_speaker(conversation), None)
    assert is_refused(provenance, men, None)
    assert is_refused(provenance, as_one_speaker(men), None)
    assert is_refused(provenance, as_one_speaker(men), "me")
    assert not is_refused(provenance, women, None)
    assert not is_refused(provenance, as_one_speaker(women), None)
    with refuses("evaluation.seen_conversation", "selected on turns of Ses01F_impro01", "cv10, fold Ses01F"):
        refuse_training_overlap(provenance, fold.test)
    with refuses("evaluation.seen_conversation", "trained on Ses02F_impro01", "cv10, fold Ses01F"):
        refuse_training_overlap(provenance, fold.train, "Ses02F")


def test_a_conversation_in_which_the_other_speaker_alone_speaks_has_nothing_to_refuse(corpus: Corpus) -> None:
    fold = next(one for one in build_folds(corpus, "cv10") if one.name == "Ses01F")
    provenance = made_from(fold, corpus)
    monologue = fold.test[0].select_speaker("Ses01M")  # its turns selected, and all of it is they
    assert is_refused(provenance, monologue, "Ses01M")
    assert not is_refused(provenance, monologue, "Ses01F")


def test_a_model_that_was_selected_on_whole_conversations_is_not_scored_by_speaker_in_them(corpus: Corpus) -> None:
    """A fold of cv5 does not become one of cv10."""
    fold = next(one for one in build_folds(corpus, "cv5") if one.name == "5")
    with refuses("evaluation.seen_conversation", "selected on Ses01F_impro01"):
        refuse_training_overlap(made_from(fold, corpus), fold.validation, "Ses01F")
