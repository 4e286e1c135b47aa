"""Utterances, conversations, segments of recordings, label sets, and the overlap with a model's training data."""

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

from moodline.errors import MoodlineError, format_count, quote
from moodline.io import hash_json, read_yaml

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSet:
    """The classes of a model and the corpus labels of each; utterances with other labels are not scored."""

    name: str
    version: int  # changes with the mapping
    classes: tuple[str, ...]
    mapping: Mapping[str, str] = field(hash=False)  # from a corpus label to a class

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
    """A segment of an audio file with an utterance's speech. Times are in seconds."""

    path: Path
    offset: float = 0.0
    duration: float
    sample_rate: int
    file_hash: str | None = None  # of the whole file when the corpus was prepared; detects a changed file

    def __post_init__(self) -> None:
        if self.offset < 0 or self.duration <= 0:
            raise MoodlineError(
                f"an audio clip of {self.path} has offset {self.offset} s and duration {self.duration} s; "
                "the offset must be at least 0 and the duration greater than 0",
                code="audio.bad_clip",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One speaker's turn: its words, its audio and, if known, its label in the corpus's spelling."""

    id: str
    speaker: str
    words: str
    audio: AudioClip | None = None
    start: float | None = None
    end: float | None = None
    label: str | None = None
    reference: str | None = None  # the transcribed words, if a recogniser wrote ``words``

    @property
    def said(self) -> str:
        """Return the reference words, or ``words`` without recognition."""
        return self.words if self.reference is None else self.reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Utterances in spoken order."""

    id: str
    utterances: tuple[Utterance, ...]
    session: str | None = None
    part: str | None = None  # a kind within a corpus, in IEMOCAP ``improvised`` or ``scripted``
    split: str | None = None  # the set of the publisher's split, one of ``SPLITS``

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise MoodlineError(
                f"conversation {self.id!r} has split {self.split!r}; use one of {', '.join(SPLITS)}",
                code="corpus.unknown_split",
            )
        if len({utterance.id for utterance in self.utterances}) < len(self.utterances):
            twice = Counter(utterance.id for utterance in self.utterances).most_common(1)[0][0]
            raise MoodlineError(
                f"conversation {self.id!r} has the utterance id {twice!r} twice; make ids unique",
                code="corpus.duplicate_id",
            )

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

        Utterances without times are identified by words, the recording's name without its suffix, and its length. A
        turn without words, times and audio is identified by its id, and a conversation of one turn with words alone
        ("Yes.") by its own id too.
        """
        content: list[Any] = []
        for turn in self.utterances:
            clip, is_timed = turn.audio, turn.start is not None or turn.end is not None
            if len(self.utterances) == 1 and not (clip or is_timed):
                content.append(self.id)
            if not (turn.said or clip or is_timed):
                content.append(turn.id)
                continue
            facts = [" ".join(turn.said.lower().split()), round(turn.start or 0.0, 2), round(turn.end or 0.0, 2)]
            if clip and turn.start is None:
                facts += [clip.path.stem, round(clip.offset, 2), round(clip.duration, 2)]
            content.append(facts)
        return hash_json(content)


LABEL_SET_KEYS = ("name", "version", "classes", "mapping")
YAML_SUFFIXES = (".yaml", ".yml")
MIN_SIMILARITY = 0.7  # difflib's ratio: matches angre to anger, but not happiness to sadness


def create_label_set(name: str, **classes: str) -> LabelSet:
    """Create a label set from the class of each label; the classes are in the order of their first labels."""
    return LabelSet(name=name, version=1, classes=tuple(dict.fromkeys(classes.values())), mapping=classes)


def create_identity_set(name: str, *labels: str) -> LabelSet:
    """Create a label set in which each label is its own class."""
    return create_label_set(name, **{label: label for label in labels})


# IEMOCAP's codes (Busso et al. 2008); four classes as in the paper: happy takes in excited.
IEMOCAP4 = create_label_set("iemocap4", ang="angry", hap="happy", exc="happy", sad="sad", neu="neutral")
IEMOCAP6 = create_label_set(
    "iemocap6", ang="angry", hap="happy", exc="excited", sad="sad", fru="frustrated", neu="neutral"
)
# The labels of Poria et al. 2019 and of Livingstone & Russo 2018, and those that match IEMOCAP's four classes; calm
# differs from neutral in RAVDESS.
MELD7 = create_identity_set("meld7", "anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
MELD4 = create_label_set("meld4", anger="angry", joy="happy", sadness="sad", neutral="neutral")
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
    """Find a label set by its name, or read its YAML file, which must not redefine a set of moodline's."""
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    path = Path(name)
    if not is_label_set(name) or not path.exists():
        code = "label.set_not_found" if is_label_set(name) else "label.unknown_set"
        raise MoodlineError(f"{name!r} is neither an existing YAML file nor one of {', '.join(LABEL_SETS)}", code=code)
    labels = parse_label_set(read_yaml(path, "label set"), name)
    if labels != LABEL_SETS.get(labels.name, labels):
        raise MoodlineError(
            f"{path} redefines the label set {labels.name!r} that comes with moodline: give it another name",
            code="label.name_taken",
        )
    return labels


def parse_label_set(content: Any, origin: str) -> LabelSet:
    """Build a label set from its keys and values; ``origin`` names their file in errors."""
    found = content if isinstance(content, Mapping) else {}
    missing = [f"lacks {key}" for key in LABEL_SET_KEYS if key not in found]
    wrong = [*missing, *(f"has {quote(key)}" for key in found if key not in LABEL_SET_KEYS)]
    if wrong:
        raise MoodlineError(
            f"the label set {wrong[0]}; its keys are {', '.join(LABEL_SET_KEYS)} ({origin})", code="label.bad_keys"
        )
    name, version, classes, mapping = (found[key] for key in LABEL_SET_KEYS)
    if fault := find_type_fault(name, version, classes, mapping):
        raise MoodlineError(f"a label set's {fault} ({origin})", code="label.bad_type")
    try:
        return LabelSet(name=name, version=version, classes=tuple(classes), mapping=dict(mapping))
    except MoodlineError as error:
        raise MoodlineError(f"{error} ({origin})", code=error.code) from error


def find_type_fault(name: Any, version: Any, classes: Any, mapping: Any) -> str:
    """Describe the first value of another type than a label set's; empty without one."""
    if type(version) is not int:
        return f"version is a whole number, not {quote(version)}"
    if not isinstance(classes, list | tuple) or not isinstance(mapping, Mapping):
        return (
            f"classes are a list, and its mapping is from labels to classes, not {quote(classes)} and {quote(mapping)}"
        )
    for text in (name, *classes, *mapping, *mapping.values()):
        if not isinstance(text, str) or not text.strip():
            return f"name, classes and labels are texts, not {quote(text)}: put it into quotes, so that YAML keeps it"
    return ""


def refuse_misspelt(labels: LabelSet, found: Collection[str]) -> None:
    """Refuse a user's set with a label that no utterance has, if a similar one of the ``found`` labels has no class."""
    if labels == LABEL_SETS.get(labels.name):
        return
    strangers = [label for label in found if label not in labels.mapping]
    for label in labels.mapping:
        if label not in found and (close := difflib.get_close_matches(label, strangers, n=1)):
            fault = f"label set {labels.name!r} has a class for {quote(label)}, which no utterance has"
            raise MoodlineError(f"{fault}; did you mean {close[0]!r}? Correct or remove it.", code="label.misspelt")


def note_misspelt(labels: LabelSet, found: Mapping[str, int]) -> list[str]:
    """Write a sentence if labels without a class resemble labels with one; ``found`` counts a corpus's labels."""
    known = {label.lower(): label for label in labels.mapping}
    meant: dict[str, str] = {}
    for label in sorted(found, key=lambda label: -found[label]):
        close = difflib.get_close_matches(label.lower(), known, n=1, cutoff=MIN_SIMILARITY)
        if close and label not in labels.mapping:
            meant[label] = known[close[0]]
    if not meant:
        return []
    total = sum(count for label, count in found.items() if label not in labels.mapping)
    colon = ":" if total == sum(found[label] for label in meant) else ", among them"
    shown = ", ".join(f"{label} ({found[label]})" for label in meant)
    return [
        f"{format_count(total, 'labelled utterance')} {'has a label' if total == 1 else 'have labels'} without a class "
        f"in {labels.name}{colon} {shown}; did you mean {', '.join(dict.fromkeys(meant.values()))}?"
    ]


def convert_to_content(label_set: LabelSet) -> dict[str, Any]:
    """Convert a label set to what files store."""
    return {**asdict(label_set), "mapping": dict(label_set.mapping)}


UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A segment of a recording in which one speaker speaks. Times are in seconds from the start of the recording."""

    start: float
    end: float
    speaker: str = UNKNOWN  # in the source's spelling
    words: str | None = None  # None before recognition, empty without words
    channel: int | None = None  # the speaker's, from 0; None for the mean of all channels


class HasTrainingRecord(Protocol):
    """The fingerprints of the conversations that trained and selected a model.

    ``selected_on_turns`` are those of one speaker's turns in each of ``selected_on``, if only these were scored (cv10).
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
    model does not count if only the other, ``speaker``, is scored; None if all speakers are scored.
    """
    # As sets: a corpus of one-turn conversations has as many fingerprints as utterances.
    trained_on, selected_on = frozenset(seen.trained_on), frozenset(seen.selected_on)
    selected_on_turns = frozenset(seen.selected_on_turns)
    for conversation in conversations:
        fingerprint = conversation.fingerprint
        turns_by_speaker = conversation.by_speaker() if selected_on_turns else {}
        scored = (turns.fingerprint for who, turns in turns_by_speaker.items() if speaker in (None, who))
        if fingerprint in trained_on:
            yield conversation, "trained on"
        elif speaker is not None and speaker not in conversation.speakers:
            continue  # none of its turns are scored
        elif not selected_on_turns.isdisjoint([fingerprint, *scored]):
            yield conversation, "selected on turns of"
        elif fingerprint in selected_on and not (selected_on_turns and speaker is not None):
            yield conversation, "selected on"


def merge_fingerprints(fingerprints: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Merge the fingerprints of several models, without repetitions."""
    return tuple(dict.fromkeys(chain.from_iterable(fingerprints)))
