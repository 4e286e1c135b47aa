"""What holds of every corpus's utterances, whatever reader they come from."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.audio import io
from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.corpora.corpus import build_corpus
from moodline.corpora.validation import (
    EMPTY_CONVERSATION,
    Fault,
    FaultCollector,
    ParsedUtterance,
    build_conversation,
    describe_faults,
)
from moodline.errors import MoodlineError
from tests.refusals import refuses

SOUND = Utterance(id="a", speaker="me", words="Yes.", start=1.0, end=2.0, label="glad")


def read(*utterances: Utterance, labels: frozenset[str] | None = None) -> tuple[Conversation | None, FaultCollector]:
    faults = FaultCollector(Path("/source"), labels)
    turns = [ParsedUtterance(utterance, f"table.csv:{row}") for row, utterance in enumerate(utterances, start=1)]
    return build_conversation(turns, faults, id="talk", session="1", part="one"), faults


def kept(*utterances: Utterance, labels: frozenset[str] | None = None) -> list[Utterance]:
    """Those of utterances without a fault, in the corpus's order."""
    conversation, faults = read(*utterances, labels=labels)
    assert not faults.found
    assert conversation is not None
    return list(conversation.utterances)


def fault(utterance: Utterance, labels: frozenset[str] | None = None) -> Fault:
    """The only fault of an utterance that stands beside a sound one, which is kept."""
    conversation, faults = read(replace(SOUND, id="other", label=None), utterance, labels=labels)
    assert conversation is not None
    assert [one.id for one in conversation.utterances] == ["other"]
    (one,) = faults.found
    return one


def test_a_sound_utterance_is_kept_as_it_is() -> None:
    assert kept(SOUND) == [SOUND]
    conversation, _ = read(SOUND)
    assert conversation == Conversation(id="talk", session="1", part="one", utterances=(SOUND,))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"start": 2.0, "end": 1.0}, "a at table.csv:2 has the times 2.0 to 1.0 s: it must end after it starts"),
        ({"start": 2.0, "end": 2.0}, "must end after it starts"),
        ({"start": -0.5}, "a at table.csv:2 has the times -0.5 to 2.0 s: they must be finite and not negative"),
        ({"start": None, "end": -1.0}, "a at table.csv:2 has the times None to -1.0 s: they must be"),
        ({"end": math.inf}, "1.0 to inf s: they must be finite"),
        ({"start": math.nan}, "nan to 2.0 s: they must be finite"),
        ({"speaker": " "}, "utterance a at table.csv:2 has no speaker"),
        ({"label": "joy"}, "a at table.csv:2 has the label 'joy'; the corpus's labels are glad, sad"),
    ],
)
def test_a_fault_is_named_by_its_id(changes: dict[str, object], rule: str) -> None:
    found = fault(replace(SOUND, **changes), labels=frozenset({"glad", "sad"}))
    assert found.identity == "a"
    assert rule in found.sentence


def test_an_utterance_without_an_id_is_named_by_its_place() -> None:
    found = fault(replace(SOUND, id=" "))
    assert found.identity == "table.csv:2"
    assert "table.csv:2 has no id" in found.sentence


def test_an_utterance_may_have_no_label_and_any_where_none_is_prescribed() -> None:
    assert kept(replace(SOUND, label=None), labels=frozenset({"sad"}))[0].label is None
    assert kept(replace(SOUND, label="anything"))[0].label == "anything"


def test_an_id_stands_once_in_the_whole_corpus() -> None:
    faults = FaultCollector(Path("/source"))
    first = build_conversation([ParsedUtterance(SOUND, "t:1"), ParsedUtterance(SOUND, "t:2")], faults, id="one")
    second = build_conversation(
        [ParsedUtterance(SOUND, "t:3"), ParsedUtterance(replace(SOUND, id="b"), "t:4")], faults, id="two"
    )
    assert first is not None
    assert second is not None
    assert [len(first.utterances), [one.id for one in second.utterances]] == [1, ["b"]]
    assert [one.identity for one in faults.found] == ["t:2", "t:3"]
    assert all(one.sentence.startswith("utterance a occurs") and " at t:" in one.sentence for one in faults.found)


def test_a_conversations_id_stands_once() -> None:
    faults = FaultCollector(Path("/source"))
    assert build_conversation([ParsedUtterance(SOUND, "t:1")], faults, id="one") is not None
    assert build_conversation([ParsedUtterance(replace(SOUND, id="b"), "t:2")], faults, id="one") is None
    (found,) = faults.found
    assert found.identity == "one"
    assert "second conversation" in found.sentence


def test_turns_come_in_order_of_time_and_may_overlap() -> None:
    turns = [(5.0, 6.0, "a"), (1.0, 9.0, "b"), (1.0, 2.0, "c"), (1.0, 2.0, "aa"), (3.0, None, "d"), (0.0, None, "e")]
    given = [replace(SOUND, id=identity, start=start, end=end) for start, end, identity in turns]
    assert [one.id for one in kept(*given)] == ["e", "aa", "c", "b", "d", "a"]


def test_turns_stay_as_they_are_where_one_has_no_start() -> None:
    given = [replace(SOUND, id="b", start=5.0, end=6.0), replace(SOUND, id="a", start=None, end=None), SOUND]
    given[2] = replace(SOUND, id="c", start=0.5)
    assert [one.id for one in kept(*given)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("words", "cleaned"),
    [
        ("", ""),
        (" \x00\n", ""),
        ("a\tb\x1b[31mc\x85d", "a b [31mc d"),
        ("one\r\ntwo \x07 three", "one two  three"),
        (" na\u00efve \u2019 \u4f60  two ", "na\u00efve \u2019 \u4f60  two"),
        ("so " * 5000, ("so " * 5000).strip()),
    ],
)
def test_words_are_cleaned_of_control_characters(words: str, cleaned: str) -> None:
    assert kept(replace(SOUND, words=words))[0].words == cleaned


def test_all_faults_of_an_utterance_are_told(tmp_path: Path) -> None:
    clip = AudioClip(path=tmp_path / "none.wav", duration=1.0, sample_rate=16_000)
    broken = replace(SOUND, speaker="", start=3.0, audio=clip, label="joy")
    faults = FaultCollector(tmp_path, frozenset({"sad"}))
    build_conversation([ParsedUtterance(broken, "t:1", ("the reader's own.",))], faults, id="one")
    rules = ["the reader's own.", "has no speaker", "labels are sad", "must end after it starts", "must exist"]
    assert len(faults.found) == len(rules)
    assert all(rule in one.sentence for rule, one in zip(rules, faults.found, strict=True))
    assert {one.identity for one in faults.found} == {"a"}
    assert list(describe_faults(faults.found, "list.csv")) == [
        "left out for faults (utterances, whole conversations): 1, listed in list.csv",
        *(f"  a: {one.sentence}" for one in faults.found[:3]),
    ]


def test_a_stretch_of_a_file_that_is_no_number_leaves_out_what_lies_in_it(tmp_path: Path) -> None:
    """Other clips of the same file are kept."""
    samples = np.full(16_000, 0.1)
    samples[12_000] = np.nan
    soundfile.write(tmp_path / "long.wav", samples, 16_000, subtype="FLOAT")
    whole = io.inspect_file(tmp_path / "long.wav")
    halves = [
        replace(SOUND, id=f"{offset}", audio=replace(whole, offset=offset, duration=0.5)) for offset in (0.0, 0.5)
    ]
    conversation, faults = read(*halves)
    assert conversation is not None
    assert [one.id for one in conversation.utterances] == ["0.0"]
    assert [one.identity for one in faults.found] == ["0.5"]
    assert "nan at 0.750 s" in faults.found[0].sentence


def test_a_conversation_without_a_sound_turn_is_left_out() -> None:
    conversation, faults = read(replace(SOUND, start=-1.0))
    assert conversation is None
    assert faults.left_out == {EMPTY_CONVERSATION: ["talk"]}
    assert [one.identity for one in faults.found] == ["a"]
    assert read()[1].left_out == {EMPTY_CONVERSATION: ["talk"]}


def test_a_reader_returns_what_is_left_and_its_faults() -> None:
    conversation, faults = read(SOUND, replace(SOUND, id="b", start=-1.0))
    faults.leave_out("too long", "c")
    corpus = build_corpus("words", [None, conversation], faults)
    assert corpus.conversations == (conversation,)
    assert (corpus.reader, corpus.source, dict(corpus.left_out)) == ("words", Path("/source"), {"too long": ("c",)})
    assert corpus.faults == tuple(faults.found)
    assert len(corpus.faults) == 1


def test_nothing_left_is_refused_with_the_first_fault() -> None:
    _, faults = read(replace(SOUND, start=-1.0), replace(SOUND, id="b", speaker=""))
    with pytest.raises(MoodlineError) as refused:
        build_corpus("words", [None], faults)
    assert refused.value.code == "corpus.empty"
    assert faults.found[0].sentence in str(refused.value)
    assert "1 more fault in /source" in str(refused.value)
    with refuses("corpus.empty", "/source"):
        build_corpus("words", [], FaultCollector(Path("/source")))


def test_no_faults_are_not_told() -> None:
    assert list(describe_faults((), "list.csv")) == []
