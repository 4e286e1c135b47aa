"""What the task is about: utterances in their order within a conversation, and the labels they may have."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from moodline.errors import MoodlineError


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
        strangers = sorted(set(self.mapping.values()) - set(self.classes))
        if strangers:
            raise MoodlineError(
                f"label set {self.name!r} maps to {', '.join(strangers)}, not among its classes "
                f"{', '.join(self.classes)}"
            )

    def index(self, label: str | None) -> int | None:
        """The class's index of a label as found; None where it belongs to no class."""
        emotion = self.mapping.get(label) if label is not None else None
        return None if emotion is None else self.classes.index(emotion)


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioClip:
    """Where an utterance's speech lies: a stretch of an audio file. Times are in seconds."""

    path: Path
    offset: float = 0.0
    duration: float
    sample_rate: int

    def __post_init__(self) -> None:
        if self.offset < 0 or self.duration <= 0:
            raise MoodlineError(
                f"an audio clip begins at 0 s or later and lasts longer than 0 s: {self.path} has "
                f"offset {self.offset} s and duration {self.duration} s"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One speaker's turn: its words, its speech and, where it is known, its label as the corpus spells it."""

    id: str
    speaker: str
    words: str
    audio: AudioClip | None = None
    start: float | None = None
    end: float | None = None
    label: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Utterances in the order in which they were spoken.

    ``part`` tells kinds of conversation within a corpus apart, in IEMOCAP ``improvised`` and ``scripted``.
    """

    id: str
    utterances: tuple[Utterance, ...]
    session: str | None = None
    part: str | None = None

    def __post_init__(self) -> None:
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

    def in_context(self, labels: LabelSet, context: Literal["labelled", "all"]) -> "Conversation":
        """The conversation as a model of this context reads it: ``labelled`` drops the turns without a class."""
        if context == "all":
            return self
        kept = tuple(utterance for utterance in self.utterances if labels.index(utterance.label) is not None)
        return replace(self, utterances=kept)

    @property
    def fingerprint(self) -> str:
        """A hash of what was said and when: the same for a copy under other names, or with other labels.

        A turn of which neither is known goes by its id.
        """
        said = [
            (" ".join(u.words.lower().split()), round(u.start or 0.0, 2), round(u.end or 0.0, 2))
            if u.words or u.start is not None or u.end is not None
            else u.id
            for u in self.utterances
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


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
LABEL_SETS: Mapping[str, LabelSet] = {labels.name: labels for labels in (IEMOCAP4, IEMOCAP6)}
