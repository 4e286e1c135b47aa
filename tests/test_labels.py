"""The label sets that come with moodline, and those that people write."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodline.conversation import (
    IEMOCAP4,
    IEMOCAP6,
    LABEL_SETS,
    LabelSet,
    convert_to_content,
    create_identity_set,
    find_label_set,
    note_misspelt,
    parse_label_set,
    refuse_misspelt,
)
from moodline.corpora import iemocap, meld, ravdess
from moodline.errors import MoodlineError
from tests.refusals import refuses

OWN = """
name: calm_or_not
version: 3
classes: [calm, tense]
mapping: {neutral: calm, sadness: calm, anger: tense}
"""
IEMOCAP_CLASSES = {
    "ang": ("angry", "angry"),
    "hap": ("happy", "happy"),
    "exc": ("happy", "excited"),
    "sad": ("sad", "sad"),
    "neu": ("neutral", "neutral"),
    "fru": (None, "frustrated"),
    "fea": (None, None),
    "xxx": (None, None),
    None: (None, None),
}
MELD_CLASSES = {"anger": "angry", "joy": "happy", "sadness": "sad", "neutral": "neutral", "fear": None, "ang": None}
RAVDESS_CLASSES = {"angry": "angry", "happy": "happy", "sad": "sad", "neutral": "neutral", "calm": None}


def emotion(name: str, found: str | None) -> str | None:
    labels = LABEL_SETS[name]
    index = labels.index(found)
    return None if index is None else labels.classes[index]


@pytest.mark.parametrize(("found", "expected"), IEMOCAP_CLASSES.items())
def test_what_iemocaps_labels_become(found: str | None, expected: tuple[str | None, str | None]) -> None:
    assert (emotion("iemocap4", found), emotion("iemocap6", found)) == expected


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [("meld4", *pair) for pair in MELD_CLASSES.items()] + [("ravdess4", *pair) for pair in RAVDESS_CLASSES.items()],
)
def test_what_other_corpora_are_to_iemocaps_four_classes(name: str, found: str, expected: str | None) -> None:
    assert emotion(name, found) == expected
    assert LABEL_SETS[name].classes == LABEL_SETS["iemocap4"].classes


def test_every_label_of_meld_and_ravdess_is_a_class_of_its_full_set() -> None:
    assert set(LABEL_SETS["meld7"].classes) == set(LABEL_SETS["meld7"].mapping) == meld.LABELS
    assert set(LABEL_SETS["ravdess8"].classes) == set(LABEL_SETS["ravdess8"].mapping) == set(ravdess.EMOTIONS.values())


@pytest.mark.parametrize(
    ("prefix", "known"),
    [("iemocap", iemocap.LABELS), ("meld", meld.LABELS), ("ravdess", set(ravdess.EMOTIONS.values()))],
)
def test_a_set_maps_from_labels_that_its_corpus_has(prefix: str, known: set[str]) -> None:
    for name, labels in LABEL_SETS.items():
        assert labels.name == name
        if name.startswith(prefix):
            assert set(labels.mapping) <= known
            assert set(labels.mapping.values()) == set(labels.classes)


def test_ones_own_set_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    labels = find_label_set(str(tmp_path / "own.yaml"))
    assert (labels.name, labels.version, labels.classes) == ("calm_or_not", 3, ("calm", "tense"))
    assert [labels.index(found) for found in ("neutral", "sadness", "anger", "joy")] == [0, 0, 1, None]


@pytest.mark.parametrize(
    ("old", "new", "code", "values"),
    [
        ("anger: tense", "anger: cross", "label.unknown_class", ["cross", "calm, tense"]),
        ("version: 3\n", "", "label.bad_keys", ["version"]),
        ("version: 3", "vershun: 3", "label.bad_keys", ["version"]),
        ("version: 3", "version: 3\nseed: 1", "label.bad_keys", ["'seed'"]),
        ("version: 3", "version: three", "label.bad_type", ["'three'"]),
        ("[calm, tense]", "calm", "label.bad_type", ["'calm'"]),
        ("[calm, tense]", "[calm]", "label.bad_classes", ["calm"]),
        ("[calm, tense]", "[calm, tense, calm]", "label.bad_classes", ["calm, tense, calm"]),
        ("neutral: calm", "1: calm", "label.bad_type", ["not 1"]),
        ("neutral: calm", "no: calm", "label.bad_type", ["not False"]),
        ("calm_or_not", "[a, b]", "label.bad_type", ["name", "['a', 'b']"]),
        (OWN, "", "label.bad_keys", ["name"]),
        (OWN, "- calm", "label.bad_keys", ["name"]),
        (OWN, "classes: [calm", "file.bad_yaml", []),
        (OWN, "\0", "file.bad_yaml", []),
        ("version: 3", "version: !!bool x", "file.bad_yaml", []),
        ("version: 3", "version: 3\nversion: 4", "file.bad_yaml", ["'version'", "line 4"]),
        ("sadness: calm", "neutral: tense", "file.bad_yaml", ["'neutral'", "line 5"]),
        ("calm_or_not", "iemocap4", "label.name_taken", ["'iemocap4'"]),
    ],
)
def test_a_fault_of_ones_own_set_is_reported(tmp_path: Path, old: str, new: str, code: str, values: list[str]) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(MoodlineError) as error:
        find_label_set(str(path))
    assert error.value.code == code
    sentence = str(error.value)
    assert "\n" not in sentence
    assert all(value in sentence for value in [str(path), *values]), sentence


@pytest.mark.parametrize(("name", "code"), [("none.yaml", "label.set_not_found"), ("iemocap5", "label.unknown_set")])
def test_a_set_that_does_not_exist_is_reported(name: str, code: str) -> None:
    with refuses(code, name, "iemocap4, "):
        find_label_set(name)


@pytest.mark.parametrize("name", LABEL_SETS)
def test_a_set_survives_being_kept(name: str) -> None:
    assert parse_label_set(convert_to_content(LABEL_SETS[name]), "run.json") == LABEL_SETS[name]


def test_a_copy_of_a_set_that_comes_with_moodline_is_that_set(tmp_path: Path) -> None:
    (tmp_path / "copy.yaml").write_text(json.dumps(convert_to_content(IEMOCAP4)))
    assert find_label_set(str(tmp_path / "copy.yaml")) == IEMOCAP4


def test_what_a_model_keeps_loads_though_moodlines_set_of_that_name_has_changed() -> None:
    kept = convert_to_content(IEMOCAP4) | {"version": 0}
    assert parse_label_set(kept, "config.json").version == 0


@given(content=st.binary())
def test_whatever_a_file_holds_is_a_label_set_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("labels") / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(MoodlineError) as error:
        find_label_set(str(path))
    assert "\n" not in str(error.value)


def test_a_misspelt_label_of_ones_own_set_is_told_with_the_nearest() -> None:
    mine = LabelSet(name="mine", version=1, classes=("calm", "tense"), mapping={"neutral": "calm", "angre": "tense"})
    with refuses("label.misspelt", "'mine'", "'angre'", "'anger'?"):
        refuse_misspelt(mine, {"neutral", "anger", "joy"})
    refuse_misspelt(mine, {"neutral", "angre", "anger"})  # both are labels of the corpus
    refuse_misspelt(mine, {"neutral", "joy"})  # none is like it
    refuse_misspelt(IEMOCAP4, {"angry"})  # a set that comes with moodline is as it is


FEELINGS = create_identity_set("feelings", "anger", "happiness", "sadness", "neutral")


def test_labels_of_no_class_are_told_with_the_known_ones_that_they_are_like() -> None:
    found = {"angre": 3, "anger": 60, "Neutral": 8, "happiness": 40, "bored": 9}
    assert note_misspelt(FEELINGS, found) == [
        "20 labelled utterances have labels without a class in feelings, among them Neutral (8), angre (3); "
        "did you mean neutral, anger?"
    ]
    assert note_misspelt(FEELINGS, {"NEUTRAL": 1}) == [
        "1 labelled utterance has a label without a class in feelings: NEUTRAL (1); did you mean neutral?"
    ]


def test_labels_that_a_set_leaves_out_on_purpose_are_not_told() -> None:
    of_iemocap = {*IEMOCAP6.mapping, "xxx", "sur", "fea", "dis", "oth"}
    for labels, found in (
        (IEMOCAP4, of_iemocap),
        (IEMOCAP6, of_iemocap),
        (LABEL_SETS["meld4"], LABEL_SETS["meld7"].classes),
        (LABEL_SETS["ravdess4"], LABEL_SETS["ravdess8"].classes),
        (create_identity_set("three", "anger", "sadness", "neutral"), ("happiness", "anger")),
    ):
        assert note_misspelt(labels, dict.fromkeys(found, 5)) == []
