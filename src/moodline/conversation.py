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
    """The classes of a model and the corpus labels of each.

    ``mapping`` goes from a corpus label to a class; utterances with other labels are not scored. ``version`` changes
    with the mapping.
    """

    name: str
    version: int
    classes: tuple[str, ...]
    mapping: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise MoodlineError(
                f"label set {self.name!r} needs two or more different classes, not {', '.join(self.classes) or 'none'}",
                code="label.bad_classes",
            )
        strangers = sorted(set(self.mapping.values()) - set(self.classes))
        if strangers:
            close = difflib.get_close_matches(strangers[0], self.classes, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise MoodlineError(
                f"label set {self.name!r} maps to {', '.join(strangers)}, not among its classes "
                f"{', '.join(self.classes)}{hint}",
                code="label.unknown_class",
            )

    def index(self, label: str | None) -> int | None:
        """Return the index of a corpus label's class; None without a class."""
        emotion = self.mapping.get(label) if label is not None else None
        return None if emotion is None else self.classes.index(emotion)


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioClip:
    """A segment of an audio file with an utterance's speech. Times are in seconds.

    ``file_hash`` is the hash of the whole file when the corpus was prepared; it detects a changed file.
    """

    path: Path
    offset: float = 0.0
    duration: float
    sample_rate: int
    file_hash: str | None = None

    def __post_init__(self) -> None:
        if self.offset < 0 or self.duration <= 0:
            raise MoodlineError(
                f"an audio clip of {self.path} has offset {self.offset} s and duration {self.duration} s; "
                "the offset must be at least 0 and the duration greater than 0",
                code="audio.bad_clip",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One speaker's turn: its words, its audio and, if known, its label in the corpus's spelling.

    A model reads ``words``. If a recogniser wrote them, ``reference`` holds the transcribed words.
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
        """Return the reference words, or ``words`` without recognition."""
        return self.words if self.reference is None else self.reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Utterances in spoken order.

    ``part`` is a kind of conversation within a corpus, in IEMOCAP ``improvised`` or ``scripted``; ``split`` is the set
    of the publisher's split, one of ``SPLITS``.
    """

    id: str
    utterances: tuple[Utterance, ...]
    session: str | None = None
    part: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise MoodlineError(
                f"conversation {self.id!r} has split {self.split!r}; use one of {', '.join(SPLITS)}",
                code="corpus.unknown_split",
            )
        seen: set[str] = set()
        for utterance in self.utterances:
            if utterance.id in seen:
                raise MoodlineError(
                    f"conversation {self.id!r} has the utterance id {utterance.id!r} twice; make ids unique",
                    code="corpus.duplicate_id",
                )
            seen.add(utterance.id)

    @property
    def speakers(self) -> frozenset[str]:
        return frozenset(utterance.speaker for utterance in self.utterances)

    def prepare_for_context(self, labels: LabelSet, context: Literal["labelled", "all"]) -> "Conversation":
        """Return the turns that a model of this context reads: ``labelled`` drops turns without a class."""
        if context == "all":
            return self
        kept = tuple(utterance for utterance in self.utterances if labels.index(utterance.label) is not None)
        return replace(self, utterances=kept)

    def by_speaker(self) -> dict[str, "Conversation"]:
        """Split the conversation into each speaker's turns, in the order of their first turns."""
        turns: dict[str, list[Utterance]] = {}
        for turn in self.utterances:
            turns.setdefault(turn.speaker, []).append(turn)
        return {speaker: replace(self, utterances=tuple(own)) for speaker, own in turns.items()}

    def select_speaker(self, speaker: str) -> "Conversation":
        """Return one speaker's turns."""
        return replace(self, utterances=tuple(turn for turn in self.utterances if turn.speaker == speaker))

    @property
    def fingerprint(self) -> str:
        """Hash the reference words and times; names, labels and recognised words do not change the hash.

        Utterances without times are identified by words, the recording's file name without its suffix, and its length,
        since RAVDESS's actors all speak the same two sentences. A turn without words, times and audio is identified by
        its id, and a conversation of one turn with words alone by its own id too, since many turns are just "Yes.".
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
        """Check for a single turn without times and audio, whose words alone do not identify it."""
        return len(self.utterances) == 1 and all(
            u.audio is None and u.start is None and u.end is None for u in self.utterances
        )


def identify_recording(utterance: Utterance) -> tuple[str | float, ...]:
    """Return what identifies an utterance's recording; empty if its times do."""
    clip = utterance.audio
    if clip is None or utterance.start is not None:
        return ()
    return clip.path.stem, round(clip.offset, 2), round(clip.duration, 2)


LABEL_SET_KEYS = ("name", "version", "classes", "mapping")
YAML_SUFFIXES = (".yaml", ".yml")
MIN_SIMILARITY = 0.7  # difflib's ratio: matches angre to anger, but not happiness to sadness


def create_identity_set(name: str, *labels: str) -> LabelSet:
    """Create a label set in which each label is its own class."""
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
# The seven labels of Poria et al. 2019, and their subset that matches IEMOCAP's four classes.
MELD7 = create_identity_set("meld7", "anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
MELD4 = LabelSet(
    name="meld4",
    version=1,
    classes=IEMOCAP4.classes,
    mapping={"anger": "angry", "joy": "happy", "sadness": "sad", "neutral": "neutral"},
)
# The eight labels of Livingstone & Russo 2018, and the four of IEMOCAP's classes; calm differs from neutral there.
RAVDESS8 = create_identity_set(
    "ravdess8", "neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"
)
RAVDESS4 = create_identity_set("ravdess4", *IEMOCAP4.classes)

LABEL_SETS: Mapping[str, LabelSet] = {
    labels.name: labels for labels in (IEMOCAP4, IEMOCAP6, MELD4, MELD7, RAVDESS4, RAVDESS8)
}


def is_label_set(name: str) -> bool:
    """Check for the name of a set that comes with moodline, or of a YAML file."""
    return name in LABEL_SETS or name.endswith(YAML_SUFFIXES)


def find_label_set(name: str) -> LabelSet:
    """Find a label set by its name, or read it from a YAML file.

    Raises:
        MoodlineError: the set or file does not exist, the file is not a label set, or it redefines a set of moodline's
    """
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    if not is_label_set(name):
        raise MoodlineError(
            f"a label set is one of {', '.join(LABEL_SETS)}, or a YAML file ({YAML_SUFFIXES[0]}), not {name!r}",
            code="label.unknown_set",
        )
    path = Path(name)
    if not path.exists():
        raise MoodlineError(
            f"label set {path} is neither a file nor one of {', '.join(LABEL_SETS)}", code="label.set_not_found"
        )
    labels = parse_label_set(read_yaml(path, "label set"), name)
    if labels != LABEL_SETS.get(labels.name, labels):
        raise MoodlineError(
            f"{path} redefines the label set {labels.name!r} that comes with moodline: give it another name",
            code="label.name_taken",
        )
    return labels


def parse_label_set(content: Any, origin: str) -> LabelSet:
    """Build a label set from its keys and values; ``origin`` names their file in errors.

    Raises:
        MoodlineError: a key is missing or unknown, a value has another type, or classes and mapping do not match
    """
    keys = list(content) if isinstance(content, Mapping) else []
    missing = [key for key in LABEL_SET_KEYS if key not in keys]
    strangers = [key for key in keys if key not in LABEL_SET_KEYS]
    if missing or strangers:
        wrong = f"lacks {missing[0]}" if missing else f"has {strangers[0]!r}"
        raise MoodlineError(
            f"the label set {wrong}; its keys are {', '.join(LABEL_SET_KEYS)} ({origin})", code="label.bad_keys"
        )
    name, version, classes, mapping = (content[key] for key in LABEL_SET_KEYS)
    require_text("a label set's name", name, origin)
    if not isinstance(version, int) or isinstance(version, bool):
        raise MoodlineError(
            f"a label set's version is a whole number, not {version!r} ({origin})", code="label.bad_type"
        )
    if not isinstance(classes, list | tuple) or not isinstance(mapping, Mapping):
        raise MoodlineError(
            f"a label set has a list of classes and a mapping from labels to them, not {classes!r} and {mapping!r} "
            f"({origin})",
            code="label.bad_type",
        )
    for one in (*classes, *mapping, *mapping.values()):
        require_text("a class, or a label,", one, origin)
    try:
        return LabelSet(name=name, version=version, classes=tuple(classes), mapping=dict(mapping))
    except MoodlineError as error:
        raise MoodlineError(f"{error} ({origin})", code=error.code) from error


def refuse_misspelt(labels: LabelSet, found: Collection[str]) -> None:
    """Refuse a user's set with a label that no utterance has, if a similar label of the utterances has no class.

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
                f"did you mean {close[0]!r}? Correct it, or remove it.",
                code="label.misspelt",
            )


def note_misspelt(labels: LabelSet, found: Mapping[str, int]) -> list[str]:
    """Write a sentence if labels without a class resemble labels with one.

    Args:
        found: the count of each label in a corpus
    """
    strangers = sorted((label for label in found if label not in labels.mapping), key=lambda label: -found[label])
    meant = {label: like for label in strangers if (like := find_nearest_label(label, labels))}
    if not meant:
        return []
    total = sum(found[label] for label in meant)
    have = "has a label" if total == 1 else "have labels"
    shown = ", ".join(f"{label} ({found[label]})" for label in meant)
    return [
        f"{format_count(total, 'labelled utterance')} {have} without a class in {labels.name}: {shown}; "
        f"did you mean {', '.join(dict.fromkeys(meant.values()))}?"
    ]


def find_nearest_label(stranger: str, labels: LabelSet) -> str | None:
    """Find the most similar label with a class, ignoring case; None without a similar one."""
    known = {label.lower(): label for label in labels.mapping}
    close = difflib.get_close_matches(stranger.lower(), known, n=1, cutoff=MIN_SIMILARITY)
    return known[close[0]] if close else None


def require_text(what: str, value: Any, origin: str) -> None:
    """Refuse a value that is not a text, or is blank."""
    if not isinstance(value, str) or not value.strip():
        raise MoodlineError(
            f"{what} is a text, not {value!r}: put it into quotes, so that YAML does not convert it ({origin})",
            code="label.bad_type",
        )


def convert_to_content(label_set: LabelSet) -> dict[str, Any]:
    """Convert a label set to what files store."""
    return {**asdict(label_set), "mapping": dict(label_set.mapping)}


UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A segment of a recording in which one speaker speaks.

    Attributes:
        start, end: in seconds from the start of the recording
        speaker: in the source's spelling; ``UNKNOWN`` if not identified
        words: None before recognition, empty without words
        channel: the speaker's channel of the recording, from 0; None for the mean of all channels
    """

    start: float
    end: float
    speaker: str = UNKNOWN
    words: str | None = None
    channel: int | None = None


class HasTrainingRecord(Protocol):
    """The conversations that trained and selected a model.

    Attributes:
        trained_on, selected_on: fingerprints of whole conversations, see ``Conversation.fingerprint``
        selected_on_turns: fingerprints of one speaker's turns in each of ``selected_on``, if only these turns were
            scored there (cv10)
    """

    @property
    def trained_on(self) -> Sequence[str]: ...
    @property
    def selected_on(self) -> Sequence[str]: ...
    @property
    def selected_on_turns(self) -> Sequence[str]: ...


def find_training_overlap(
    seen: HasTrainingRecord, conversations: Iterable[Conversation], speaker: str | None
) -> Iterator[tuple[Conversation, str]]:
    """Yield each conversation with scored turns whose labels a model has seen, and how the model used it.

    A conversation that trained the model counts for every scored speaker. One whose turns of one speaker selected the
    model does not count if only the other speaker is scored.

    Args:
        speaker: the only speaker whose turns are scored; None if all are
    """
    # As sets: a corpus of one-turn conversations has as many fingerprints as utterances.
    trained_on, selected_on = frozenset(seen.trained_on), frozenset(seen.selected_on)
    selected_on_turns = frozenset(seen.selected_on_turns)
    for conversation in conversations:
        fingerprint = conversation.fingerprint
        if fingerprint in trained_on:
            yield conversation, "trained on"
        elif speaker is not None and speaker not in conversation.speakers:
            continue  # none of its turns are scored
        elif selected_on_turns and not selected_on_turns.isdisjoint(
            [fingerprint, *fingerprint_speakers(conversation, speaker)]
        ):
            yield conversation, "selected on turns of"
        elif fingerprint in selected_on and not (selected_on_turns and speaker is not None):
            yield conversation, "selected on"


def fingerprint_speakers(conversation: Conversation, speaker: str | None) -> Iterator[str]:
    """Yield the fingerprint of one speaker's turns, or of each speaker's."""
    return (one.fingerprint for who, one in conversation.by_speaker().items() if speaker in (None, who))


def merge_fingerprints(fingerprints: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Merge the fingerprints of several models, without repetitions."""
    return tuple(dict.fromkeys(chain.from_iterable(fingerprints)))
