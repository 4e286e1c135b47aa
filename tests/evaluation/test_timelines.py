from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodline.evaluation.report import build_excerpts, find_best_and_worst
from tests.made_up import made_up


def scored(right, wrong):
    """A conversation's utterances that are right, and all that are scored."""
    return right, right + wrong


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ({"only": scored(1, 1)}, ("only",)),
        ({"good": scored(3, 1), "bad": scored(1, 3)}, ("good", "bad")),
        # Of one turn each, all right and all wrong: too short to be chosen.
        ({"a": scored(1, 0), "b": scored(0, 1), "c": scored(4, 2), "d": scored(3, 3), "e": scored(2, 4)}, ("c", "e")),
        # Of equals the longer one, then the first by name.
        ({"b": scored(2, 2), "a": scored(2, 2), "c": scored(3, 3)}, ("c", "a")),
        ({"b": scored(2, 0), "a": scored(2, 0), "c": scored(2, 0)}, ("a", "b")),
    ],
)
def test_the_rule_that_chooses(counts, chosen):
    assert find_best_and_worst(counts) == chosen


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(any), min_size=2, max_size=12))
def test_nothing_typical_is_better_than_the_best_or_worse_than_the_worst(counts):
    by_id = {f"{number:02d}": scored(*pair) for number, pair in enumerate(counts)}
    best, worst = find_best_and_worst(by_id)
    assert best != worst
    sizes = sorted(sum(pair) for pair in counts)
    share = {name: pair[0] / sum(pair) for name, pair in zip(by_id, counts, strict=True)}
    typical = [name for name, (_, total) in by_id.items() if total >= sizes[(len(sizes) - 1) // 2]]
    assert {best, worst} <= set(typical)
    assert share[best] == max(share[name] for name in typical)
    assert share[worst] == min(share[name] for name in typical)


def test_turns_are_the_conversations_and_know_what_was_said_of_them():
    _, _, predictions, conversations = made_up(("fusion",), turns=12)  # the tenth has no label
    for timeline in build_excerpts(predictions, conversations, 40):
        rows = [row for row in predictions.to_pylist() if row["conversation_id"] == timeline.conversation.id]
        assert [turn.utterance for turn in timeline.turns] == list(timeline.conversation.utterances)
        assert [turn.label for turn in timeline.turns if turn.label] == [row["label"] for row in rows]
        assert [turn.probability for turn in timeline.turns if turn.label] == [
            row[f"p_{row['predicted']}"] for row in rows
        ]
        assert timeline.turns[9].label is timeline.turns[9].predicted is timeline.turns[9].probability is None
        assert timeline.scored == 11
        assert timeline.right == sum(turn.right for turn in timeline.turns if turn.label)


def test_a_long_conversation_is_cut_and_counted_whole():
    _, _, predictions, conversations = made_up(("fusion",), turns=30)
    for timeline in build_excerpts(predictions, conversations, 5):
        assert [turn.utterance.id for turn in timeline.turns] == [f"turn{turn}" for turn in range(5)]
        assert timeline.scored == 27


def test_a_turn_without_a_time_leaves_the_conversation_untimed():
    _, _, predictions, (conversation,) = made_up(("fusion",), talks=1, folds=1)
    assert build_excerpts(predictions, [conversation], 40)[0].timed
    first, *others = conversation.utterances
    untimed = replace(conversation, utterances=(replace(first, end=None), *others))
    assert not build_excerpts(predictions, [untimed], 40)[0].timed
