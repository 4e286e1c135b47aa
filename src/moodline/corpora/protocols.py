"""Build a protocol's folds of a corpus: training, validation and test sets (paper, section 3; docs/protocols.md)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Literal

from moodline.conversation import SPLITS, Conversation, LabelSet
from moodline.corpora.corpus import Corpus
from moodline.corpora.iemocap import find_script
from moodline.errors import MoodlineError, format_count
from moodline.io import hash_json

SCRIPT_DISJOINT = "-script-disjoint"
SESSION_PROTOCOLS = ("session5", "cv5", "cv10")
DISJOINT_PROTOCOLS = tuple(f"{name}{SCRIPT_DISJOINT}" for name in SESSION_PROTOCOLS)
PROTOCOLS = (*SESSION_PROTOCOLS, *DISJOINT_PROTOCOLS, "kfold5 (or 3, ...)", "official", "all")

NO_SESSIONS_HINT = "kfold5, or kfold3 for few speakers, needs no sessions"

Conversations = tuple[Conversation, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingSets:
    """What training may see of a fold: no test set, and no label of a test speaker."""

    train: Conversations
    validation: Conversations


@dataclass(frozen=True)
class Fold:
    """Three sets of conversations that share no conversation and no speaker.

    In cv10, one of two speakers tests and the other validates: both sets contain the conversations of the two. Each
    speaker's turns are scored in one set, and are context without labels in the other.
    """

    protocol: str
    name: str
    train: Conversations
    validation: Conversations
    test: Conversations
    validation_speaker: str | None = None  # the only speaker scored in the validation set; None: all are scored
    test_speaker: str | None = None
    left_out: Conversations | None = None  # removed from training by a script-disjoint protocol; None in others
    speaker_disjoint: bool = True  # False where the published split has a speaker in two sets

    def __post_init__(self) -> None:
        for one, other in combinations(self.sets, 2):
            by_speaker = None not in (self.scored_speakers[one], self.scored_speakers[other])
            if not by_speaker:
                self._refuse_shared_conversation(one, other)
            sets = self.scored if by_speaker else self.sets
            shared = collect_speakers(sets[one]) & collect_speakers(sets[other])
            if shared and self.speaker_disjoint:
                raise MoodlineError(
                    f"speaker {min(shared)} is in {one} and in {other} of {self}: sets must not share a speaker",
                    code="corpus.shared_speaker",
                )
        for name in ("train", "validation"):
            if not self.sets[name]:
                raise MoodlineError(f"{self} leaves the {name} set empty", code="corpus.empty_set")

    def __str__(self) -> str:
        return f"{self.protocol}, fold {self.name}"

    def _refuse_shared_conversation(self, one: str, other: str) -> None:
        ids = {conversation.id for conversation in self.sets[one]}
        id_by_content = {conversation.fingerprint: conversation.id for conversation in self.sets[one]}
        for conversation in self.sets[other]:
            same = conversation.id if conversation.id in ids else id_by_content.get(conversation.fingerprint)
            if same is not None:
                raise MoodlineError(
                    f"conversation {same} in {one} and {conversation.id} in {other} of {self} have the same id, or the "
                    "same words at the same times: leave one of them out",
                    code="corpus.shared_conversation",
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
        scored = dict(self.sets)
        for name, speaker in self.scored_speakers.items():
            if speaker is not None:
                turns = (conversation.select_speaker(speaker) for conversation in scored[name])
                scored[name] = tuple(conversation for conversation in turns if conversation.utterances)
        return scored

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
        return hash_json([self.protocol, self.name, self._describe("train", "validation", "test")])

    @property
    def training_hash(self) -> str:
        """The hash of training and validation set: equal for folds that differ in protocol, name or test set."""
        return hash_json(self._describe("train", "validation"))

    def _describe(self, *sets: str) -> dict[str, object]:
        content: dict[str, object] = {
            name: sorted((one.id, one.fingerprint) for one in self.sets[name]) for name in sets
        }
        speakers = {name: self.scored_speakers[name] for name in sets}
        return content | {f"{name} speaker": who for name, who in speakers.items() if who is not None}

    def get_training_sets(self, labels: LabelSet, context: Literal["labelled", "all"]) -> TrainingSets:
        """Return what training may see, as a model with this context reads it; validation must have a label."""
        train, validation = (
            tuple(one.prepare_for_context(labels, context) for one in conversations)
            for conversations in (self.train, self.validation)
        )
        if self.validation_speaker is not None:  # after turns are dropped by their labels, as the model reads the rest
            validation = tuple(hide_labels(one, self.validation_speaker) for one in validation)
        if all(labels.index(utterance.label) is None for one in validation for utterance in one.utterances):
            raise MoodlineError(
                f"the validation set of {self} has none of {labels.name} ({', '.join(labels.mapping)}): choose another "
                "label set or protocol",
                code="corpus.no_validation_labels",
            )
        return TrainingSets(train=train, validation=validation)


def collect_speakers(conversations: Sequence[Conversation]) -> frozenset[str]:
    return frozenset(speaker for conversation in conversations for speaker in conversation.speakers)


def hide_labels(conversation: Conversation, but_of: str) -> Conversation:
    """Remove the labels of all speakers but one."""
    turns = (turn if turn.speaker == but_of else replace(turn, label=None) for turn in conversation.utterances)
    return replace(conversation, utterances=tuple(turns))


def build_folds(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """Build all folds of a protocol; the same corpus and protocol give the same folds.

    Raises:
        MoodlineError: there is no such protocol, or the corpus does not fit it
    """
    if protocol in DISJOINT_PROTOCOLS:
        base = protocol.removesuffix(SCRIPT_DISJOINT)
        refuse_without_scripts(corpus, protocol, base)
        return tuple(remove_scripts(one, protocol) for one in build_folds(corpus, base))
    if protocol in ("session5", "cv5"):
        folds = rotate_parts(protocol, group_by_session(corpus, protocol, 5))
        return folds[-1:] if protocol == "session5" else folds
    if protocol == "cv10":
        return build_speaker_folds(corpus)
    if parts := re.fullmatch(r"kfold([1-9][0-9]*)", protocol):
        return rotate_parts(protocol, group_by_part(corpus, protocol, int(parts[1])))
    if protocol == "official":
        published = group_by(corpus, protocol, "split", "choose another protocol")
        train, validation, test = (tuple(published.get(name, ())) for name in SPLITS)
        if not test:
            raise MoodlineError(
                f"{corpus.place} has an empty test set: choose another protocol", code="corpus.empty_set"
            )
        return (Fold(protocol, protocol, train, validation, test, speaker_disjoint=False),)
    if protocol == "all":
        first, *others = group_by_session(corpus, protocol, 2, or_more=True).values()
        return (Fold(protocol, protocol, train=tuple(chain.from_iterable(others)), validation=tuple(first), test=()),)
    raise MoodlineError(
        f"unknown protocol {protocol!r}: the protocols are {', '.join(PROTOCOLS)}", code="corpus.unknown_protocol"
    )


def rotate_parts(protocol: str, parts: Mapping[str, Sequence[Conversation]]) -> tuple[Fold, ...]:
    """Build a fold for each part, which tests; the next part validates, the others train."""
    names = list(parts)
    return tuple(
        Fold(protocol, test, join_parts(parts, (test, validation)), tuple(parts[validation]), tuple(parts[test]))
        for test, validation in zip(names, names[1:] + names[:1], strict=True)
    )


def join_parts(parts: Mapping[str, Sequence[Conversation]], without: Sequence[str]) -> Conversations:
    return tuple(one for name, conversations in parts.items() if name not in without for one in conversations)


def build_speaker_folds(corpus: Corpus) -> tuple[Fold, ...]:
    sessions = group_by_session(corpus, "cv10", 5)
    folds: list[Fold] = []
    for session, conversations in sessions.items():
        speakers = sorted(collect_speakers(conversations))
        if len(speakers) != 2:
            raise MoodlineError(
                f"session {session} of {corpus.place} has {len(speakers)} speakers ({', '.join(speakers)}), and cv10 "
                "needs two: choose another protocol",
                code="corpus.unfit_protocol",
            )
        train, both = join_parts(sessions, (session,)), tuple(conversations)
        folds += [
            Fold("cv10", test, train, both, both, validation_speaker=validation, test_speaker=test)
            for test, validation in (speakers, reversed(speakers))
        ]
    return tuple(folds)


def group_by(corpus: Corpus, protocol: str, attribute: str, hint: str) -> dict[str, list[Conversation]]:
    """Group conversations by their session or published set (split); all must have one."""
    groups: dict[str, list[Conversation]] = {}
    for conversation in corpus.conversations:
        name = getattr(conversation, attribute)
        if name is None:
            raise MoodlineError(
                f"conversation {conversation.id} of {corpus.place} has no {attribute}, and {protocol} needs it: {hint}",
                code=f"corpus.no_{attribute}",
            )
        groups.setdefault(name, []).append(conversation)
    return dict(sorted(groups.items()))


def group_by_session(
    corpus: Corpus, protocol: str, needed: int, *, or_more: bool = False
) -> dict[str, list[Conversation]]:
    sessions = group_by(corpus, protocol, "session", NO_SESSIONS_HINT)
    if len(sessions) < needed or (len(sessions) > needed and not or_more):
        raise MoodlineError(
            f"{corpus.place} has {format_count(len(sessions), 'session')} ({', '.join(sessions)}), and {protocol} "
            f"needs {needed}{' or more' if or_more else ''}: {NO_SESSIONS_HINT}",
            code="corpus.unfit_protocol",
        )
    return sessions


def group_by_part(corpus: Corpus, protocol: str, count: int) -> dict[str, list[Conversation]]:
    """Divide conversations into parts of similar size that share no speaker and no text."""
    if count < 3:
        raise MoodlineError(
            f"{protocol} has too few parts to train, validate and test: take kfold3 or more",
            code="corpus.unknown_protocol",
        )
    groups = group_by_speaker(corpus.conversations)
    if len(groups) < count:
        raise MoodlineError(
            f"{corpus.place} has {format_count(len(groups), 'group')} of conversations that share no speaker and no "
            f"text, and {protocol} needs {count}: take fewer parts",
            code="corpus.unfit_protocol",
        )
    return {str(number): part for number, part in enumerate(balance_parts(groups, count), start=1)}


def group_by_speaker(conversations: Sequence[Conversation]) -> list[list[Conversation]]:
    """Build the smallest groups that keep a speaker's conversations, and copies of one, together."""
    from scipy.cluster.hierarchy import DisjointSet

    connected = DisjointSet(range(len(conversations)))
    for position, one in enumerate(conversations):
        for key in (("text", one.fingerprint), *(("speaker", speaker) for speaker in one.speakers)):
            connected.add(key)
            connected.merge(position, key)
    groups: dict[object, list[Conversation]] = {}
    for position, one in enumerate(conversations):
        groups.setdefault(connected[position], []).append(one)
    return list(groups.values())


def balance_parts(groups: Sequence[Sequence[Conversation]], parts: int) -> list[list[Conversation]]:
    """Distribute groups over parts of similar size: the largest group first, each to the smallest part so far."""
    filled: list[list[Conversation]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    counted = [(sum(len(one.utterances) for one in group), group) for group in groups]
    for size, group in sorted(counted, key=lambda one: (-one[0], min(conversation.id for conversation in one[1]))):
        smallest = min(range(parts), key=lambda part: (sizes[part], len(filled[part])))
        filled[smallest].extend(group)
        sizes[smallest] += size
    return filled


def refuse_without_scripts(corpus: Corpus, protocol: str, base: str) -> None:
    nameless = [one.id for one in corpus.conversations if one.part == "scripted" and find_script(one) is None]
    if nameless or not any(map(find_script, corpus.conversations)):
        which = f"the scripted conversation {nameless[0]}" if nameless else "no conversation"
        raise MoodlineError(
            f"{which} of {corpus.place} has {'no' if nameless else 'a'} script in its name, as Ses01F_script01_1 has, "
            f"and {protocol} needs it: take {base}",
            code="corpus.no_script",
        )


def remove_scripts(fold: Fold, protocol: str) -> Fold:
    """Remove the training conversations that perform a script of the validation or test set."""
    played = {find_script(one) for one in (*fold.validation, *fold.test)} - {None}
    left_out = tuple(one for one in fold.train if find_script(one) in played)
    train = tuple(one for one in fold.train if find_script(one) not in played)
    return replace(fold, protocol=protocol, train=train, left_out=left_out)


def choose_fold(folds: tuple[Fold, ...], name: str | None) -> tuple[Fold, ...]:
    """Return the fold that ``--fold`` names, or all folds."""
    chosen = tuple(one for one in folds if name in (None, one.name))
    if not chosen:
        raise MoodlineError(
            f"{folds[0].protocol} has no fold {name!r}; its folds are {', '.join(one.name for one in folds)}",
            code="corpus.unknown_fold",
        )
    return chosen
