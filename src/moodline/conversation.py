"""Utterances, conversations, segments of recordings, label sets, and the overlap with a model's training data."""

import difflib
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

from moodline.errors import MoodlineError, format_count
from moodline.io import read_yaml

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSet:
    """The classes that a model tells apart, and the corpus labels that each takes in.

    ``mapping`` goes from a label as found to a class; a label that it lacks belongs to no class, and
    its utterances are not scored. ``version`` changes when the mapping does.
    """

    name: str
    version: int
    classes: tuple[str, ...]
    mapping: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise MoodlineError(
                f"label set {self.name!r} needs two classes or more, each named once, not {', '.join(self.classes)}"
            )
        strangers = sorted(set(self.mapping.values()) - set(self.classes))
        if strangers:
            close = difflib.get_close_matches(strangers[0], self.classes, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise MoodlineError(
                f"label set {self.name!r} maps to {', '.join(strangers)}, not among its classes "
                f"{', '.join(self.classes)}{hint}"
            )

    def index(self, label: str | None) -> int | None:
        """The class's index of a label as found; None where it belongs to no class."""
        emotion = self.mapping.get(label) if label is not None else None
        return None if emotion is None else self.classes.index(emotion)


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioClip:
    """Where an utterance's speech lies: a stretch of an audio file. Times are in seconds.

    ``file_hash`` is of the whole file's bytes, where a corpus was read: it tells whether that is still the one.
    """

    path: Path
    offset: float = 0.0
    duration: float
    sample_rate: int
    file_hash: str | None = None

    def __post_init__(self) -> None:
        if self.offset < 0 or self.duration <= 0:
            raise MoodlineError(
                f"an audio clip begins at 0 s or later and lasts longer than 0 s: {self.path} has "
                f"offset {self.offset} s and duration {self.duration} s"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One speaker's turn: its words, its speech and, where it is known, its label as the corpus spells it.

    ``words`` are what a model reads. Where they are a recogniser's, ``reference`` holds what was said in truth.
    """

    id: str
    speaker: str
    words: str
    audio: AudioClip | None = None
    start: float | None = None
    end: float | None = None
    label: str | None = None
    reference: str | None = None

    @property
    def said(self) -> str:
        """The reference words, whatever was recognised."""
        return self.words if self.reference is None else self.reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Utterances in the order in which they were spoken.

    ``part`` tells kinds of conversation within a corpus apart, in IEMOCAP ``improvised`` and ``scripted``;
    ``split`` is the set that the corpus's publisher put it in, one of ``SPLITS``.
    """

    id: str
    utterances: tuple[Utterance, ...]
    session: str | None = None
    part: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise MoodlineError(
                f"a conversation's split is one of {', '.join(SPLITS)}: {self.id!r} has {self.split!r}; correct it"
            )
        seen: set[str] = set()
        for utterance in self.utterances:
            if utterance.id in seen:
                raise MoodlineError(
                    f"an utterance id stands once in a conversation: {utterance.id!r} stands twice in {self.id!r}"
                )
            seen.add(utterance.id)

    @property
    def speakers(self) -> frozenset[str]:
        return frozenset(utterance.speaker for utterance in self.utterances)

    def prepare_for_context(self, labels: LabelSet, context: Literal["labelled", "all"]) -> "Conversation":
        """The conversation as a model of this context reads it: ``labelled`` drops the turns without a class."""
        if context == "all":
            return self
        kept = tuple(utterance for utterance in self.utterances if labels.index(utterance.label) is not None)
        return replace(self, utterances=kept)

    def by_speaker(self) -> dict[str, "Conversation"]:
        """Each speaker's turns alone, the speakers in the order in which they begin."""
        turns: dict[str, list[Utterance]] = {}
        for turn in self.utterances:
            turns.setdefault(turn.speaker, []).append(turn)
        return {speaker: replace(self, utterances=tuple(own)) for speaker, own in turns.items()}

    def select_speaker(self, speaker: str) -> "Conversation":
        """One speaker's turns alone."""
        return replace(self, utterances=tuple(turn for turn in self.utterances if turn.speaker == speaker))

    @property
    def fingerprint(self) -> str:
        """A hash of what was said and when: the same for a copy under other names, or with other labels.

        Recognised words in the place of the reference ones make no other conversation of it: a model has seen its
        labels, whichever words it read.

        Where no time is known, a recording's file name without its ending, and its length, tell its utterance from
        another of the same words: RAVDESS's actors all speak the same two sentences. A turn of which nothing is known
        goes by its id, and a lone turn of which words alone are known by its conversation's id too: many say "Yes.".
        """
        said = [
            (" ".join(u.said.lower().split()), round(u.start or 0.0, 2), round(u.end or 0.0, 2), *identify_recording(u))
            if u.said or u.audio or u.start is not None or u.end is not None
            else u.id
            for u in self.utterances
        ]
        content = [self.id, *said] if self.is_lone_words else said
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @property
    def is_lone_words(self) -> bool:
        """Whether it is one turn without times and audio, which its words do not tell from another's."""
        return len(self.utterances) == 1 and all(
            u.audio is None and u.start is None and u.end is None for u in self.utterances
        )


def identify_recording(utterance: Utterance) -> tuple[str | float, ...]:
    """What tells an utterance without times from others of the same words; nothing where it has times."""
    clip = utterance.audio
    if clip is None or utterance.start is not None:
        return ()
    return clip.path.stem, round(clip.offset, 2), round(clip.duration, 2)


LABEL_SET_KEYS = ("name", "version", "classes", "mapping")
YAML_SUFFIXES = (".yaml", ".yml")
MIN_SIMILARITY = 0.7  # of difflib's ratio: angre is anger, and happiness is no sadness


def create_identity_set(name: str, *labels: str) -> LabelSet:
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
MELD7 = create_identity_set("meld7", "anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
MELD4 = LabelSet(
    name="meld4",
    version=1,
    classes=IEMOCAP4.classes,
    mapping={"anger": "angry", "joy": "happy", "sadness": "sad", "neutral": "neutral"},
)
# The eight of Livingstone & Russo 2018, and those that IEMOCAP's four classes are: calm is not neutral there.
RAVDESS8 = create_identity_set(
    "ravdess8", "neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"
)
RAVDESS4 = create_identity_set("ravdess4", *IEMOCAP4.classes)

LABEL_SETS: Mapping[str, LabelSet] = {
    labels.name: labels for labels in (IEMOCAP4, IEMOCAP6, MELD4, MELD7, RAVDESS4, RAVDESS8)
}


def is_label_set(name: str) -> bool:
    """Whether this is the name of a set that comes with moodline, or can be a YAML file's."""
    return name in LABEL_SETS or name.endswith(YAML_SUFFIXES)


def find_label_set(name: str) -> LabelSet:
    """The set of a name, or the one in a YAML file.

    Raises:
        MoodlineError: there is no such set or file, or the file holds no label set, or another under a set's name
    """
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    if not is_label_set(name):
        raise MoodlineError(
            f"a label set is one of {', '.join(LABEL_SETS)}, or a YAML file ({YAML_SUFFIXES[0]}), not {name!r}"
        )
    path = Path(name)
    if not path.exists():
        raise MoodlineError(f"label set {path} is no file, nor is it one of {', '.join(LABEL_SETS)}")
    labels = parse_label_set(read_yaml(path, "label set"), name)
    if labels != LABEL_SETS.get(labels.name, labels):
        raise MoodlineError(
            f"label set {labels.name!r} comes with moodline, and {path} has other content under its name: give it "
            "another name"
        )
    return labels


def parse_label_set(content: Any, origin: str) -> LabelSet:
    """A label set from its keys and values; ``origin`` names their file in errors.

    Raises:
        MoodlineError: a key lacks or is unknown, a value is of another kind, or the set contradicts itself
    """
    keys = list(content) if isinstance(content, Mapping) else []
    missing, strangers = (
        [key for key in LABEL_SET_KEYS if key not in keys],
        [key for key in keys if key not in LABEL_SET_KEYS],
    )
    if missing or strangers:
        wrong = f"lacks {missing[0]}" if missing else f"has {strangers[0]!r}"
        raise MoodlineError(f"a label set has the keys {', '.join(LABEL_SET_KEYS)}, and this one {wrong} ({origin})")
    name, version, classes, mapping = (content[key] for key in LABEL_SET_KEYS)
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


def note_misspelt(labels: LabelSet, found: Mapping[str, int]) -> list[str]:
    """A sentence where labels of no class look like misspelt ones of a class; others are left out on purpose.

    Args:
        found: how often each label stands in a corpus
    """
    strangers = sorted((label for label in found if label not in labels.mapping), key=lambda label: -found[label])
    meant = {label: like for label in strangers if (like := find_nearest_label(label, labels))}
    if not meant:
        return []
    total = sum(found[label] for label in meant)
    have = "has a label" if total == 1 else "have labels"
    shown = ", ".join(f"{label} ({found[label]})" for label in meant)
    return [
        f"{format_count(total, 'labelled utterance')} {have} of no class of {labels.name}: {shown}; "
        f"{'is it' if total == 1 else 'are they'} meant as {', '.join(dict.fromkeys(meant.values()))}?"
    ]


def find_nearest_label(stranger: str, labels: LabelSet) -> str | None:
    """The label of a class that a label of none is spelt most like, in capitals or not; None where none is."""
    known = {label.lower(): label for label in labels.mapping}
    close = difflib.get_close_matches(stranger.lower(), known, n=1, cutoff=MIN_SIMILARITY)
    return known[close[0]] if close else None


def require_text(what: str, value: Any, origin: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise MoodlineError(
            f"{what} is a text, not {value!r}: put it into quotes, as YAML has its own idea of it ({origin})"
        )


def convert_to_content(label_set: LabelSet) -> dict[str, Any]:
    """The whole set, as files hold it."""
    return {**asdict(label_set), "mapping": dict(label_set.mapping)}


UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of a recording in which one speaker speaks.

    Attributes:
        start, end: in seconds from the recording's begin
        speaker: as the source spells it; ``UNKNOWN`` where nothing tells
        words: None where nobody has heard them yet, empty where there are none
        channel: of the recording, from 0, that the speaker is on; None where it is the mean of all
    """

    start: float
    end: float
    speaker: str = UNKNOWN
    words: str | None = None
    channel: int | None = None


class HasTrainingRecord(Protocol):
    """What trained and selected a model.

    Attributes:
        trained_on, selected_on: fingerprints of whole conversations, see ``Conversation.fingerprint``
        selected_on_turns: fingerprints of one speaker's turns in each of ``selected_on``, where these turns alone were
            scored there (cv10)
    """

    @property
    def trained_on(self) -> Sequence[str]: ...
    @property
    def selected_on(self) -> Sequence[str]: ...
    @property
    def selected_on_turns(self) -> Sequence[str]: ...


def uses_made_of(
    seen: HasTrainingRecord, conversations: Iterable[Conversation], speaker: str | None
) -> Iterator[tuple[Conversation, str]]:
    """Each conversation of whose turns to be scored a model saw a label, and what it took from them.

    A conversation that trained it is refused whoever is scored in it. One that selected it by one speaker's turns
    leaves those of the other speaker to be scored, and these alone.

    Args:
        speaker: whose turns alone are scored; None where everyone's are
    """
    # As sets: a corpus of one-turn conversations has as many fingerprints as utterances.
    trained_on, selected_on = frozenset(seen.trained_on), frozenset(seen.selected_on)
    selected_on_turns = frozenset(seen.selected_on_turns)
    for conversation in conversations:
        fingerprint = conversation.fingerprint
        if fingerprint in trained_on:
            yield conversation, "trained on"
        elif speaker is not None and speaker not in conversation.speakers:
            continue  # nothing of it is scored, though its turns may all be those that selected
        elif selected_on_turns and not selected_on_turns.isdisjoint([fingerprint, *turns_alone(conversation, speaker)]):
            yield conversation, "selected on turns of"
        elif fingerprint in selected_on and not (selected_on_turns and speaker is not None):
            yield conversation, "selected on"


def turns_alone(conversation: Conversation, speaker: str | None) -> Iterator[str]:
    """The fingerprint of one speaker's turns alone, or of each one's."""
    return (one.fingerprint for who, one in conversation.by_speaker().items() if speaker in (None, who))


def merge_fingerprints(fingerprints: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """What several models saw, each once, in its order."""
    return tuple(dict.fromkeys(chain.from_iterable(fingerprints)))
