"""What another corpus's labels are to a model."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from moodline.conversation import IEMOCAP4, LABEL_SETS, MELD4, RAVDESS8, Conversation, LabelSet, Utterance
from moodline.corpora import meld
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import resolve_label_set
from tests.refusals import refuses

OWN = LabelSet(name="own", version=1, classes=("calm", "tense"), mapping={"quiet": "calm", "loud": "tense"})


def labelled(counts: Mapping[str | None, int]) -> Corpus:
    turns = tuple(
        Utterance(id=f"{label}_{number}", speaker="Ann", words="", label=label)
        for label, count in counts.items()
        for number in range(count)
    )
    return Corpus(
        reader="table", source=Path("/talks"), conversations=(Conversation(id="a", utterances=turns),), left_out={}
    )


@pytest.mark.parametrize("counts", [{"ang": 1}, {"ang": 2, "fru": 2}, {"neu": 1, None: 9}, {"sad": 1, "joy": 1}])
def test_labels_that_the_model_knows_need_no_map(counts: dict[str | None, int]) -> None:
    assert resolve_label_set(IEMOCAP4, labelled(counts), None) is IEMOCAP4


@pytest.mark.parametrize(
    ("model", "counts", "values"),
    [
        (
            IEMOCAP4,
            dict.fromkeys(("anger", "joy", "sadness", "neutral"), 2),
            ["0 of 8", "anger, joy", "--label-set meld4"],
        ),
        (IEMOCAP4, dict.fromkeys(RAVDESS8.classes, 3), ["3 of 24", "--label-set ravdess4"]),
        (IEMOCAP4, {"anger": 1, "happiness": 1, "sadness": 1, "neutral": 1}, ["0 of 4", "--label-set FILE"]),
        (IEMOCAP4, {"ang": 2, "fru": 3}, ["2 of 5", "fru, ang", "--label-set iemocap4"]),
        (IEMOCAP4, {"wrath": 2}, ["wrath", "--label-set FILE"]),
        (MELD4, dict.fromkeys(IEMOCAP4.mapping, 2), ["--label-set iemocap4"]),
        (RAVDESS8, {"anger": 2, "neutral": 1}, ["1 of 3", "--label-set FILE", "--label-set ravdess8"]),
        (OWN, {"joy": 2}, ["own", "calm, tense", "--label-set FILE"]),
    ],
)
def test_other_labels_are_refused_with_the_way_to_map_them(
    model: LabelSet, counts: dict[str | None, int], values: list[str]
) -> None:
    with pytest.raises(MoodlineError) as refused:
        resolve_label_set(model, labelled(counts), None)
    assert refused.value.code == "label.unmapped"
    assert all(value in str(refused.value) for value in values), refused.value


def test_a_corpus_without_labels_is_refused() -> None:
    with refuses("evaluation.no_labels", "/talks"):
        resolve_label_set(IEMOCAP4, labelled({None: 3}), None)


def test_a_map_is_taken_into_the_models_order_of_classes(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(
        "name: two\nversion: 4\nclasses: [neutral, angry]\nmapping: {wrath: angry, rest: neutral}\n"
    )
    labels = resolve_label_set(IEMOCAP4, labelled({"wrath": 1}), str(tmp_path / "map.yaml"))
    assert (labels.name, labels.version, labels.classes) == ("two", 4, IEMOCAP4.classes)
    assert [labels.index(found) for found in ("wrath", "rest", "ang")] == [0, 3, None]


def test_a_map_to_other_classes_is_refused() -> None:
    with refuses("label.unknown_class", "meld7", "anger, disgust, fear", "angry, happy, sad, neutral"):
        resolve_label_set(IEMOCAP4, labelled({"anger": 1}), "meld7")
    with refuses("label.set_not_found", "none.yaml"):
        resolve_label_set(IEMOCAP4, labelled({"anger": 1}), "none.yaml")


@pytest.mark.realdata
def test_a_model_of_iemocap_is_pointed_to_melds_map(shared: Path) -> None:
    corpus = meld.read(shared / "corpora" / "meld")
    with refuses("label.unmapped", "0 of 13708", "--label-set meld4"):
        resolve_label_set(IEMOCAP4, corpus, None)
    labels = resolve_label_set(IEMOCAP4, corpus, "meld4")
    scored = sum(labels.index(u.label) is not None for u in corpus.utterances)
    assert scored == sum(u.label in ("anger", "joy", "sadness", "neutral") for u in corpus.utterances)
    assert labels == LABEL_SETS["meld4"]
