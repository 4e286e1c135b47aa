"""Named folds of a corpus by session: what trains, what selects, what tests (paper, section 3).

    session5   test Session 5, validation Session 1 (released code), training the rest; cv5's fifth fold
    cv5        each session tests in turn; the next one, cyclically, is the validation set
    all        no test set: the first session validates and all others train, for a model to use

A fold holds for all five parts. It is refused when a conversation or a speaker is in two of its sets.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from moodline.conversation import Conversation
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError

PROTOCOLS = ("session5", "cv5", "all")


@dataclass(frozen=True, kw_only=True)
class TrainingSets:
    """What training may see of a fold; it has no test set to look at."""

    train: tuple[Conversation, ...]
    validation: tuple[Conversation, ...]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Conversations in three sets without a conversation or a speaker in common."""

    protocol: str
    name: str
    train: tuple[Conversation, ...]
    validation: tuple[Conversation, ...]
    test: tuple[Conversation, ...]

    def __post_init__(self) -> None:
        for what, members in (("conversation", lambda one: {one.id}), ("speaker", lambda one: one.speakers)):
            home: dict[str, str] = {}
            for set_name, conversations in self.sets.items():
                for member in {member for one in conversations for member in members(one)}:
                    if home.setdefault(member, set_name) != set_name:
                        raise MoodlineError(
                            f"a fold's sets share no {what}: {what} {member} is in {home[member]} and in {set_name} "
                            f"of {self.protocol}, fold {self.name}"
                        )
        for set_name in ("train", "validation"):
            if not self.sets[set_name]:
                raise MoodlineError(f"{self.protocol}, fold {self.name} leaves the {set_name} set empty")

    @property
    def sets(self) -> Mapping[str, tuple[Conversation, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def hash(self) -> str:
        """Of the sets' conversations, what was said in them included; not of the order that they come in."""
        content = {
            name: sorted((one.id, one.fingerprint) for one in conversations)
            for name, conversations in self.sets.items()
        }
        return hashlib.sha256(json.dumps([self.protocol, self.name, content]).encode()).hexdigest()[:16]

    @property
    def training_sets(self) -> TrainingSets:
        return TrainingSets(train=self.train, validation=self.validation)


def folds_of(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """All folds of a protocol.

    Raises:
        MoodlineError: no such protocol, or the corpus's sessions do not serve it
    """
    sessions = sessions_of(corpus)
    names = list(sessions)
    if protocol == "all":
        needed = 2
    elif protocol in ("session5", "cv5"):
        needed = 5
    else:
        raise MoodlineError(f"the protocols are {', '.join(PROTOCOLS)}: {protocol!r} is none of them")
    if len(names) < needed or (needed == 5 and len(names) != 5):
        raise MoodlineError(
            f"{protocol} takes {needed} sessions{'' if needed == 5 else ' or more'}: "
            f"the corpus {corpus.source} has {len(names)} ({', '.join(names)})"
        )
    if protocol == "all":
        return (fold(protocol, "all", sessions, test=None, validation=names[0]),)
    folds = [
        fold(protocol, test, sessions, test=test, validation=names[(position + 1) % len(names)])
        for position, test in enumerate(names)
    ]
    return tuple(folds if protocol == "cv5" else folds[-1:])


def sessions_of(corpus: Corpus) -> dict[str, list[Conversation]]:
    sessions: dict[str, list[Conversation]] = {}
    for conversation in corpus.conversations:
        if conversation.session is None:
            raise MoodlineError(f"this protocol goes by sessions, and conversation {conversation.id} has none")
        sessions.setdefault(conversation.session, []).append(conversation)
    return dict(sorted(sessions.items()))


def fold(
    protocol: str, name: str, sessions: Mapping[str, list[Conversation]], *, test: str | None, validation: str
) -> Fold:
    train = [one for session, ones in sessions.items() if session not in (test, validation) for one in ones]
    return Fold(
        protocol=protocol,
        name=name,
        train=tuple(train),
        validation=tuple(sessions[validation]),
        test=tuple(sessions[test]) if test is not None else (),
    )


def choose_fold(folds: tuple[Fold, ...], name: str | None) -> tuple[Fold, ...]:
    """The fold that ``--fold`` names, or all of them."""
    if name is None:
        return folds
    chosen = tuple(one for one in folds if one.name == name)
    if not chosen:
        raise MoodlineError(
            f"{folds[0].protocol} has the folds {', '.join(one.name for one in folds)}: {name!r} is none of them"
        )
    return chosen
