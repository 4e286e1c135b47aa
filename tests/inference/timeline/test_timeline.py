"""What a timeline is, what it refuses, and its table."""

import builtins
from dataclasses import replace

import pytest
from hypothesis import given, settings

from moodline.timeline import UNCERTAIN
from moodline.timeline.timeline import Influence, Reasons, round_to_milliseconds
from tests.inference.timeline.talks import CLASSES, SAID, talk, timelines
from tests.refusals import refuses


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"start": None, "end": None}, "5 of 6"),
        ({"start": 3.0, "end": 3.0}, "3.0 to 3.0"),
        ({"start": -1.0}, "-1.0"),
        ({"end": float("inf")}, "inf"),
        ({"end": float("nan")}, "nan"),
        ({"end": None}, "None"),
        ({"label": "glee"}, "'glee'"),
        ({"probabilities": {"anger": 1.0}}, "'anger': 1.0"),
        ({"probabilities": dict.fromkeys(CLASSES, 1.5)}, "1.5"),
        ({"reasons": Reasons(context=(Influence(turn=6, weight=0.5),), speech=None, words=None)}, "6"),
    ],
)
def test_refuses_turns_that_contradict_themselves_or_the_others(change, found):
    one = talk()
    with refuses("timeline.mixed_times" if found == "5 of 6" else "timeline.invalid_turn", "talk.wav", found):
        replace(one, turns=(replace(one.turns[0], **change), *one.turns[1:]))


def test_an_uncertain_turn_keeps_its_likeliest_class():
    uncertain = talk().turns[2]
    assert (uncertain.label, uncertain.likeliest, uncertain.probability) == (UNCERTAIN, "anger", 0.4)


def test_what_must_be_known_comes_with_the_models_notes_first():
    notes, warning, gap = talk().notices
    assert (notes, warning) == ("trained on synthetic voices", "the recording is quiet")
    assert "9.6 to 10.0" in gap


def test_speakers_are_in_the_order_in_which_they_begin():
    assert talk().speakers == ("ANA", "BEN")


@settings(max_examples=50, deadline=None)
@given(timelines())
def test_the_table_has_a_row_for_each_turn(one):
    rows = one.to_table().to_pylist()
    assert [(row["start"], row["end"], row["words"], row["label"]) for row in rows] == [
        (turn.start, turn.end, turn.words, turn.label) for turn in round_to_milliseconds(one).turns
    ]
    assert [{name: row[f"p_{name}"] for name in one.classes} for row in rows] == [t.probabilities for t in one.turns]


def test_the_frame_is_the_table():
    frame = talk().to_frame()
    assert list(frame["speaker"]) == [speaker for speaker, *_ in SAID]
    assert frame["p_anger"].tolist() == [turn.probabilities["anger"] for turn in talk().turns]


def test_a_frame_without_pandas_names_it(monkeypatch):
    really = builtins.__import__

    def without_pandas(name, *rest):
        if name == "pandas":
            raise ModuleNotFoundError(name)
        return really(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with refuses("timeline.no_pandas", "pandas"):
        talk().to_frame()
