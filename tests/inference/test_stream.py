"""A conversation as it goes on: what is said of a turn is what is said of the last turn of the conversation so far."""

from dataclasses import replace

import pytest

from moodline.config import ContextConfig
from moodline.conversation import Conversation
from moodline.errors import MoodlineError
from moodline.inference.causal import Talk, encode_causally
from moodline.inference.predictor import UtterancePrediction
from moodline.inference.windows import WINDOW
from tests.inference.tiny_models import CONTEXT, conversation_of, predictor_of, recipe_of

RECIPES = {
    "paper": recipe_of(),
    "words alone": recipe_of(modalities="text"),
    "speaker-relative": recipe_of(replace(CONTEXT, speaker_relative=True)),
    "bc_lstm": recipe_of(ContextConfig(hidden=7, kind="bc_lstm")),
    "released attention": recipe_of(replace(CONTEXT, attention="released")),
}


def until(talk: Conversation, turns: int) -> Conversation:
    return replace(talk, utterances=talk.utterances[:turns])


def assert_same(found: UtterancePrediction, expected: UtterancePrediction) -> None:
    assert (found.id, found.speaker, found.words) == (expected.id, expected.speaker, expected.words)
    assert list(found.by_stage) == list(expected.by_stage)
    for stage, probabilities in expected.by_stage.items():
        assert found.by_stage[stage] == pytest.approx(probabilities, abs=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_a_turn_is_labelled_as_the_last_of_the_conversation_so_far(name: str) -> None:
    talk = conversation_of(9)
    predictor = predictor_of(RECIPES[name], talk)
    stream = predictor.stream()
    for turn, utterance in enumerate(talk.utterances, start=1):
        assert_same(stream.hear(utterance), predictor.predict(until(talk, turn)).utterances[-1])


@pytest.mark.parametrize("name", ["paper", "speaker-relative"])
def test_so_it_is_beyond_a_window(name: str) -> None:
    talk = conversation_of(WINDOW + 40)
    predictor = predictor_of(RECIPES[name], talk)
    stream = predictor.stream()
    heard = [stream.hear(utterance) for utterance in talk.utterances]
    for turn in (WINDOW, WINDOW + 1, WINDOW + 40):
        assert_same(heard[turn - 1], predictor.predict(until(talk, turn)).utterances[-1])
    assert all(len(kept) == WINDOW for kept in stream.history.embeddings.values())


@pytest.mark.parametrize("name", RECIPES)
def test_conversations_side_by_side_are_labelled_as_each_in_a_stream(name: str) -> None:
    talks = [conversation_of(turns, speakers) for turns, speakers in ((4, ("a",)), (1, ("b",)), (7, ("a", "b")))]
    predictor = predictor_of(RECIPES[name], talks[2])
    alone = [predictor.encode_alone(talk.utterances) for talk in talks]
    by_talk = encode_causally(
        predictor.model.network,
        predictor.model.recipe,
        [Talk(one.embeddings, [u.speaker for u in talk.utterances]) for one, talk in zip(alone, talks, strict=True)],
    )
    for talk, one, encodings in zip(talks, alone, by_talk, strict=True):
        stream = predictor.stream()
        for found, utterance in zip(
            predictor.labelled(talk.utterances, {**one.encodings, **encodings}), talk.utterances, strict=True
        ):
            assert_same(found, stream.hear(utterance))


def test_no_conversation_takes_no_time() -> None:
    talk = conversation_of(1)
    predictor = predictor_of(recipe_of(), talk)
    assert encode_causally(predictor.model.network, predictor.model.recipe, []) == []


def test_a_turn_that_cannot_be_read_is_no_part_of_the_conversation() -> None:
    talk = conversation_of(4)
    predictor = predictor_of(recipe_of(), talk)
    stream = predictor.stream()
    stream.hear(talk.utterances[0])
    with pytest.raises(MoodlineError, match="stranger"):
        stream.hear(replace(talk.utterances[1], id="stranger"))
    found = stream.hear(talk.utterances[1])
    assert_same(found, predictor.predict(until(talk, 2)).utterances[-1])
