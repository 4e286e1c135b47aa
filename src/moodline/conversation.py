"""What the task is about: utterances in their order within a conversation, and the labels they may have."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from moodline.errors import MoodlineError

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

    def in_context(self, labels: LabelSet, context: Literal["labelled", "all"]) -> "Conversation":
        """The conversation as a model of this context reads it: ``labelled`` drops the turns without a class."""
        if context == "all":
            return self
        kept = tuple(utterance for utterance in self.utterances if labels.index(utterance.label) is not None)
        return replace(self, utterances=kept)

    def turns_of(self, speaker: str) -> "Conversation":
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
            (" ".join(u.said.lower().split()), round(u.start or 0.0, 2), round(u.end or 0.0, 2), *recording_of(u))
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


def recording_of(utterance: Utterance) -> tuple[str | float, ...]:
    """What tells an utterance without times from others of the same words; nothing where it has times."""
    clip = utterance.audio
    if clip is None or utterance.start is not None:
        return ()
    return clip.path.stem, round(clip.offset, 2), round(clip.duration, 2)
