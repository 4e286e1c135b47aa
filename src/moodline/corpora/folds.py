"""Define a fold of a protocol, and check that its sets share no conversation and no speaker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from moodline.conversation import Conversation, LabelSet
from moodline.errors import MoodlineError

Conversations = tuple[Conversation, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingSets:
    """What training may see of a fold: no test set, and no label of a test speaker."""

    train: Conversations
    validation: Conversations


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Three sets of conversations that share no conversation and no speaker.

    In cv10, one of two speakers tests and the other validates: both sets contain the conversations of the two. Each
    speaker's turns are scored in one set, and are context without labels in the other.

    Attributes:
        validation_speaker: the only speaker scored in the validation set; None: all are scored
        test_speaker: the only speaker scored in the test set; None: all are scored
        left_out: conversations that a script-disjoint protocol removes from training; None in other protocols
        speaker_disjoint: False where the published split has a speaker in two sets
    """

    protocol: str
    name: str
    train: Conversations
    validation: Conversations
    test: Conversations
    validation_speaker: str | None = None
    test_speaker: str | None = None
    left_out: Conversations | None = None
    speaker_disjoint: bool = True

    def __post_init__(self) -> None:
        for one, other in combinations(self.sets, 2):
            by_speaker = None not in (self.scored_speakers[one], self.scored_speakers[other])
            if not by_speaker:
                self._refuse_shared_conversation(one, other)
            if self.speaker_disjoint:
                self._refuse_shared_speaker(one, other, self.scored if by_speaker else self.sets)
        for set_name in ("train", "validation"):
            if not self.sets[set_name]:
                raise MoodlineError(
                    f"{self.protocol}, fold {self.name} leaves the {set_name} set empty", code="corpus.empty_set"
                )

    def _refuse_shared_conversation(self, one: str, other: str) -> None:
        said = {conversation.fingerprint: conversation.id for conversation in self.sets[one]}
        ids = set(said.values())
        for conversation in self.sets[other]:
            if conversation.id in ids:
                raise MoodlineError(
                    f"conversation {conversation.id} is in {one} and in {other} of {self.protocol}, fold {self.name}: "
                    "sets must not share a conversation",
                    code="corpus.shared_conversation",
                )
            if conversation.fingerprint in said:
                raise MoodlineError(
                    f"conversation {said[conversation.fingerprint]} in {one} and {conversation.id} in {other} of "
                    f"{self.protocol}, fold {self.name} have the same words at the same times: leave one of them out",
                    code="corpus.shared_conversation",
                )

    def _refuse_shared_speaker(self, one: str, other: str, sets: Mapping[str, Conversations]) -> None:
        if shared := collect_speakers(sets[one]) & collect_speakers(sets[other]):
            raise MoodlineError(
                f"speaker {min(shared)} is in {one} and in {other} of {self.protocol}, fold {self.name}: sets must not "
                "share a speaker",
                code="corpus.shared_speaker",
            )

    @property
    def sets(self) -> Mapping[str, Conversations]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def scored_speakers(self) -> Mapping[str, str | None]:
        """Set -> the only speaker scored in it; None: all are scored."""
        return {"train": None, "validation": self.validation_speaker, "test": self.test_speaker}

    @property
    def scored(self) -> Mapping[str, Conversations]:
        """The sets without the turns that are only context."""
        return {name: self._select_scored(name, speaker) for name, speaker in self.scored_speakers.items()}

    def _select_scored(self, name: str, speaker: str | None) -> Conversations:
        if speaker is None:
            return self.sets[name]
        turns = (conversation.select_speaker(speaker) for conversation in self.sets[name])
        return tuple(conversation for conversation in turns if conversation.utterances)

    @property
    def shared_speakers(self) -> frozenset[str]:
        """Speakers that are scored in two sets, as in some published splits."""
        pairs = combinations(self.scored.values(), 2)
        return frozenset(speaker for one, other in pairs for speaker in collect_speakers(one) & collect_speakers(other))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that accompany every score of the fold."""
        notes: list[str] = []
        if count := len(self.shared_speakers):
            notes += [f"not speaker-disjoint: {count} speaker{'s are' if count > 1 else ' is'} in two sets"]
        if self.left_out is not None:
            total = len(self.train) + len(self.left_out)
            notes += [
                f"script-disjoint: {len(self.left_out)} of {total} conversations are left out of training, "
                "as the validation or test set has their scripts"
            ]
        return tuple(notes)

    @property
    def hash(self) -> str:
        """The hash of the sets' conversations with their words, independent of their order."""
        return hash_content([self.protocol, self.name, self._content("train", "validation", "test")])

    @property
    def training_hash(self) -> str:
        """The hash of training and validation set: equal for folds that differ in protocol, name or test set."""
        return hash_content(self._content("train", "validation"))

    def _content(self, *sets: str) -> dict[str, object]:
        content: dict[str, object] = {
            name: sorted((one.id, one.fingerprint) for one in self.sets[name]) for name in sets
        }
        speakers = {name: self.scored_speakers[name] for name in sets}
        return content | {f"{name} speaker": who for name, who in speakers.items() if who is not None}

    def get_training_sets(self, labels: LabelSet, context: Literal["labelled", "all"]) -> TrainingSets:
        """Return what training may see, as a model with this context reads it.

        Labels are hidden after turns are dropped by them, so that validation has the turns that the model reads.

        Raises:
            MoodlineError: no turn of the validation set has a class
        """
        read = {name: tuple(one.prepare_for_context(labels, context) for one in self.sets[name]) for name in self.sets}
        validation = read["validation"]
        if self.validation_speaker is not None:
            validation = tuple(hide_labels(one, self.validation_speaker) for one in validation)
        if all(labels.index(utterance.label) is None for one in validation for utterance in one.utterances):
            raise MoodlineError(
                f"the validation set of {self.protocol}, fold {self.name} has none of {labels.name} "
                f"({', '.join(labels.mapping)}): choose another label set or protocol",
                code="corpus.no_validation_labels",
            )
        return TrainingSets(train=read["train"], validation=validation)


def hash_content(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def collect_speakers(conversations: Conversations) -> frozenset[str]:
    return frozenset(speaker for conversation in conversations for speaker in conversation.speakers)


def hide_labels(conversation: Conversation, but_of: str) -> Conversation:
    """Remove the labels of all speakers but one."""
    turns = (turn if turn.speaker == but_of else replace(turn, label=None) for turn in conversation.utterances)
    return replace(conversation, utterances=tuple(turns))
