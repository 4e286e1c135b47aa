"""Utterances, conversations and label sets."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodline.conversation import IEMOCAP4, IEMOCAP6, AudioClip, Conversation, LabelSet, Utterance
from tests.refusals import refuses


def conversation(*labels: str | None) -> Conversation:
    return Conversation(
        id="talk",
        session="1",
        part="improvised",
        utterances=tuple(
            Utterance(
                id=f"talk_{order}",
                speaker="FM"[order % 2],
                words=f"Turn {order}.",
                start=2.0 * order,
                end=2.0 * order + 1.5,
                label=label,
            )
            for order, label in enumerate(labels)
        ),
    )


def test_a_label_set_maps_to_its_own_classes_alone() -> None:
    with refuses("label.unknown_class", "'two'", "bored", "glad, sad"):
        LabelSet(name="two", version=1, classes=("glad", "sad"), mapping={"a": "glad", "b": "bored"})


def test_a_misspelt_class_is_told_with_the_nearest() -> None:
    with refuses("label.unknown_class", "gald, ", "glad?"):
        LabelSet(name="two", version=1, classes=("glad", "sad"), mapping={"a": "gald", "b": "sad"})


@pytest.mark.parametrize("classes", [(), ("glad",), ("glad", "sad", "glad")])
def test_a_label_set_has_several_classes_each_once(classes: tuple[str, ...]) -> None:
    with refuses("label.bad_classes", "'odd'"):
        LabelSet(name="odd", version=1, classes=classes, mapping={})


def test_an_utterance_id_stands_once() -> None:
    turn = Utterance(id="twice", speaker="F", words="")
    with refuses("corpus.duplicate_id", "'talk'", "'twice'"):
        Conversation(id="talk", utterances=(turn, turn))


@pytest.mark.parametrize(("offset", "duration"), [(-0.1, 1.0), (0.0, 0.0), (0.0, -1.0)])
def test_a_clip_is_a_stretch_of_time(offset: float, duration: float) -> None:
    with refuses("audio.bad_clip", "a.wav", f"offset {offset} s", f"duration {duration} s"):
        AudioClip(path=Path("a.wav"), offset=offset, duration=duration, sample_rate=16_000)


def test_the_labelled_context_drops_turns_without_a_class_and_keeps_the_order() -> None:
    whole = conversation("ang", "fru", None, "exc", "xxx", "neu")
    assert [u.label for u in whole.prepare_for_context(IEMOCAP4, "labelled").utterances] == ["ang", "exc", "neu"]
    assert [u.label for u in whole.prepare_for_context(IEMOCAP6, "labelled").utterances] == ["ang", "fru", "exc", "neu"]
    assert whole.prepare_for_context(IEMOCAP4, "all") == whole
    labelled = whole.prepare_for_context(IEMOCAP4, "labelled")
    assert (labelled.id, labelled.session, labelled.part) == (whole.id, whole.session, whole.part)


def test_speakers_are_named_once() -> None:
    assert conversation("ang", "neu", "sad").speakers == {"F", "M"}


@given(st.integers(0, 2), st.sampled_from(["id", "speaker", "label"]), st.text(min_size=1))
def test_the_fingerprint_goes_neither_by_names_nor_by_labels(order: int, key: str, value: str) -> None:
    original = conversation("ang", "neu", "sad")
    turns = list(original.utterances)
    if key == "id":
        value = f"renamed {value}"
    turns[order] = replace(turns[order], **{key: value})
    copy = Conversation(id="copy", session="7", part="scripted", utterances=tuple(turns))
    assert copy.fingerprint == original.fingerprint


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("words", "  turn   1. ", True),
        ("words", "Turn one.", False),
        ("start", 2.001, True),
        ("start", 2.1, False),
        ("end", 3.6, False),
    ],
)
def test_the_fingerprint_goes_by_what_was_said_and_when(key: str, value: str | float, same: bool) -> None:
    original = conversation("ang", "neu", "sad")
    first, second, third = original.utterances
    changed = replace(original, utterances=(first, replace(second, **{key: value}), third))
    assert (changed.fingerprint == original.fingerprint) is same


@given(heard=st.text(max_size=8))
def test_the_fingerprint_goes_by_the_reference_words_whatever_was_recognised(heard: str) -> None:
    original = conversation("hap", "sad")
    first, second = original.utterances
    recognised = replace(first, words=heard, reference=first.words)
    assert replace(original, utterances=(recognised, second)).fingerprint == original.fingerprint
    other = replace(recognised, reference="Something else.")
    assert replace(original, utterances=(other, second)).fingerprint != original.fingerprint


def test_the_fingerprint_goes_by_the_order_and_the_number_of_turns() -> None:
    original = conversation("ang", "neu", "sad")
    first, second, third = original.utterances
    others = [replace(original, utterances=turns) for turns in ((second, first, third), (first, second), ())]
    assert len({one.fingerprint for one in [original, *others]}) == 4


def test_turns_of_which_nothing_is_known_go_by_their_ids() -> None:
    def silent(*ids: str) -> Conversation:
        return Conversation(id="c", utterances=tuple(Utterance(id=each, speaker="F", words="") for each in ids))

    assert silent("a", "b").fingerprint == replace(silent("a", "b"), id="copy").fingerprint
    assert len({one.fingerprint for one in (silent("a", "b"), silent("b", "a"), silent("a", "c"), silent("a"))}) == 4


def spoken(name: str, *words: str, start: float | None = None, audio: AudioClip | None = None) -> Conversation:
    """A conversation of these words; no turn's id or speaker is another conversation's."""
    turns = tuple(
        Utterance(id=f"{name}_{order}", speaker=name, words=each, start=start, audio=audio)
        for order, each in enumerate(words)
    )
    return Conversation(id=name, utterances=turns)


def test_lone_turns_of_the_same_words_are_told_apart_by_their_conversations() -> None:
    assert spoken("a", "Yes.").fingerprint != spoken("b", "Yes.").fingerprint
    again = replace(spoken("a", "Yes."), utterances=(Utterance(id="7", speaker="b", words="yes."),))
    assert again.fingerprint == spoken("a", "Yes.").fingerprint


@pytest.mark.parametrize(
    ("words", "start", "audio"),
    [
        (("Yes.",), 3.0, None),
        (("Yes.",), None, AudioClip(path=Path("yes.wav"), duration=1.0, sample_rate=16_000)),
        (("Yes.", "No."), None, None),
    ],
)
def test_a_renamed_copy_of_what_tells_more_than_words_is_known(
    words: tuple[str, ...], start: float | None, audio: AudioClip | None
) -> None:
    one, other = (spoken(name, *words, start=start, audio=audio) for name in "ab")
    assert one.fingerprint == other.fingerprint


@given(st.lists(st.sampled_from([*IEMOCAP6.mapping, "xxx", "fea"]), max_size=12))
def test_the_labelled_context_holds_the_scored_turns(labels: list[str]) -> None:
    for label_set in (IEMOCAP4, IEMOCAP6):
        kept = conversation(*labels).prepare_for_context(label_set, "labelled").utterances
        assert [u.label for u in kept] == [label for label in labels if label in label_set.mapping]


def test_a_split_is_one_of_three() -> None:
    assert Conversation(id="talk", utterances=(), split="validation").split == "validation"
    with refuses("corpus.unknown_split", "'talk'", "'dev'", "train, validation, test"):
        Conversation(id="talk", utterances=(), split="dev")


def recorded(path: str, *, id: str = "a", duration: float = 1.0, start: float | None = None) -> str:
    clip = AudioClip(path=Path(path), duration=duration, sample_rate=16_000)
    turn = Utterance(id=id, speaker=id, words="The same words.", audio=clip, start=start, end=None)
    return Conversation(id=id, utterances=(turn,)).fingerprint


def test_a_recording_without_times_is_known_by_its_file_and_length() -> None:
    assert recorded("here/01-02.wav") == recorded("there/01-02.flac", id="b")
    assert len({recorded("01-02.wav"), recorded("01-03.wav"), recorded("01-02.wav", duration=1.5)}) == 3


def test_a_turn_with_times_is_known_by_them_whatever_its_file() -> None:
    assert recorded("01-02.wav", start=1.0) == recorded("01-03.wav", start=1.0, duration=1.5)
