"""Label sets: those of the corpora that moodline reads, and anyone's own from a YAML file.

    name: calm_or_not
    version: 1
    classes: [calm, tense]
    mapping: {neutral: calm, sadness: calm, anger: tense, fear: tense}

A label as found that the mapping lacks belongs to no class. What is trained keeps the whole set, never its file's name.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moodline.conversation import LabelSet
from moodline.errors import MoodlineError
from moodline.wording import counted
from moodline.yaml_file import read_yaml

KEYS = ("name", "version", "classes", "mapping")
ENDINGS = (".yaml", ".yml")
ALIKE = 0.7  # of difflib's ratio: angre is anger, and happiness is no sadness


def same_names(name: str, *labels: str) -> LabelSet:
    """Each label as found is a class of its own."""
    return LabelSet(name=name, version=1, classes=labels, mapping={label: label for label in labels})


# IEMOCAP's codes (Busso et al. 2008); four classes as in the paper: happy takes in excited.
IEMOCAP4 = LabelSet(
    name="iemocap4",
    version=1,
    classes=("angry", "happy", "sad", "neutral"),
    mapping={"ang": "angry", "hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral"},
)
IEMOCAP6 = LabelSet(
    name="iemocap6",
    version=1,
    classes=("angry", "happy", "excited", "sad", "frustrated", "neutral"),
    mapping={
        "ang": "angry",
        "hap": "happy",
        "exc": "excited",
        "sad": "sad",
        "fru": "frustrated",
        "neu": "neutral",
    },
)
# The seven of Poria et al. 2019, and those that IEMOCAP's four classes are.
MELD7 = same_names("meld7", "anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
MELD4 = LabelSet(
    name="meld4",
    version=1,
    classes=IEMOCAP4.classes,
    mapping={"anger": "angry", "joy": "happy", "sadness": "sad", "neutral": "neutral"},
)
# The eight of Livingstone & Russo 2018, and those that IEMOCAP's four classes are: calm is not neutral there.
RAVDESS8 = same_names("ravdess8", "neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
RAVDESS4 = same_names("ravdess4", *IEMOCAP4.classes)

LABEL_SETS: Mapping[str, LabelSet] = {
    labels.name: labels for labels in (IEMOCAP4, IEMOCAP6, MELD4, MELD7, RAVDESS4, RAVDESS8)
}


def is_label_set(name: str) -> bool:
    """Whether this is the name of a set that comes with moodline, or can be a YAML file's."""
    return name in LABEL_SETS or name.endswith(ENDINGS)


def label_set_of(name: str) -> LabelSet:
    """The set of a name, or the one in a YAML file.

    Raises:
        MoodlineError: there is no such set or file, or the file holds no label set, or another under a set's name
    """
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    if not is_label_set(name):
        raise MoodlineError(
            f"a label set is one of {', '.join(LABEL_SETS)}, or a YAML file ({ENDINGS[0]}), not {name!r}"
        )
    path = Path(name)
    if not path.exists():
        raise MoodlineError(f"label set {path} is no file, nor is it one of {', '.join(LABEL_SETS)}")
    labels = label_set_from(read_yaml(path, "label set"), name)
    if labels != LABEL_SETS.get(labels.name, labels):
        raise MoodlineError(
            f"label set {labels.name!r} comes with moodline, and {path} has other content under its name: give it "
            "another name"
        )
    return labels


def label_set_from(content: Any, origin: str) -> LabelSet:
    """A label set from its keys and values; ``origin`` names their file in errors.

    Raises:
        MoodlineError: a key lacks or is unknown, a value is of another kind, or the set contradicts itself
    """
    keys = list(content) if isinstance(content, Mapping) else []
    missing, strangers = [key for key in KEYS if key not in keys], [key for key in keys if key not in KEYS]
    if missing or strangers:
        wrong = f"lacks {missing[0]}" if missing else f"has {strangers[0]!r}"
        raise MoodlineError(f"a label set has the keys {', '.join(KEYS)}, and this one {wrong} ({origin})")
    name, version, classes, mapping = (content[key] for key in KEYS)
    require_text("a label set's name", name, origin)
    if not isinstance(version, int) or isinstance(version, bool):
        raise MoodlineError(f"a label set's version is a whole number, not {version!r} ({origin})")
    if not isinstance(classes, list | tuple) or not isinstance(mapping, Mapping):
        raise MoodlineError(
            f"a label set has a list of classes and a mapping from labels to them, not {classes!r} and {mapping!r} "
            f"({origin})"
        )
    for one in (*classes, *mapping, *mapping.values()):
        require_text("a class, or a label,", one, origin)
    try:
        return LabelSet(name=name, version=version, classes=tuple(classes), mapping=dict(mapping))
    except MoodlineError as error:
        raise MoodlineError(f"{error} ({origin})") from error


def refuse_misspelt(labels: LabelSet, found: Collection[str]) -> None:
    """Refuse a label of one's own set that no utterance has, where the utterances have a like one without a class.

    Args:
        found: the labels of a corpus
    """
    if labels == LABEL_SETS.get(labels.name):
        return
    strangers = [label for label in found if label not in labels.mapping]
    for label in labels.mapping:
        if label not in found and (close := difflib.get_close_matches(label, strangers, n=1)):
            raise MoodlineError(
                f"label set {labels.name!r} has a class for {label!r}, which no utterance has; "
                f"did you mean {close[0]!r}? correct it, or take it out"
            )


def notes_on_misspelt(labels: LabelSet, found: Mapping[str, int]) -> list[str]:
    """A sentence where labels of no class look like misspelt ones of a class; others are left out on purpose.

    Args:
        found: how often each label stands in a corpus
    """
    strangers = sorted((label for label in found if label not in labels.mapping), key=lambda label: -found[label])
    meant = {label: like for label in strangers if (like := nearest_known(label, labels))}
    if not meant:
        return []
    total = sum(found[label] for label in meant)
    have = "has a label" if total == 1 else "have labels"
    shown = ", ".join(f"{label} ({found[label]})" for label in meant)
    return [
        f"{counted(total, 'labelled utterance')} {have} of no class of {labels.name}: {shown}; "
        f"{'is it' if total == 1 else 'are they'} meant as {', '.join(dict.fromkeys(meant.values()))}?"
    ]


def nearest_known(stranger: str, labels: LabelSet) -> str | None:
    """The label of a class that a label of none is spelt most like, in capitals or not; None where none is."""
    known = {label.lower(): label for label in labels.mapping}
    close = difflib.get_close_matches(stranger.lower(), known, n=1, cutoff=ALIKE)
    return known[close[0]] if close else None


def require_text(what: str, value: Any, origin: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise MoodlineError(
            f"{what} is a text, not {value!r}: put it into quotes, as YAML has its own idea of it ({origin})"
        )


def content_of(label_set: LabelSet) -> dict[str, Any]:
    """The whole set, as files hold it."""
    return {**asdict(label_set), "mapping": dict(label_set.mapping)}
