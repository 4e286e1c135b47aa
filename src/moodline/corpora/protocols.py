"""Named folds of a corpus: what trains, what selects, what tests (paper, section 3; docs/protocols.md).

    session5   test Session 5, validation Session 1 (released code), training the rest; cv5's fifth fold
    cv5        each session tests in turn; the next one, cyclically, is the validation set
    cv10       each speaker tests in turn; the other one of the session validates, the other sessions train
    kfoldK     kfold5, kfold10, ...: groups of conversations that share no speaker, in K parts, each tested in turn
    official   the split that the corpus was published with
    all        no test set: the first session validates and all others train, for a model to use

session5, cv5 and cv10 have a variant that ends in -script-disjoint: nothing trains that performs a script of the
validation or test set. A name says all: the same corpus and name give the same folds. A fold holds for all five parts.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from moodline.conversation import SPLITS, Conversation
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold, collect_speakers
from moodline.corpora.iemocap import find_script
from moodline.errors import MoodlineError

SCRIPT_DISJOINT = "-script-disjoint"
SESSION_PROTOCOLS = ("session5", "cv5", "cv10")
PROTOCOLS = (
    *SESSION_PROTOCOLS,
    *(f"{name}{SCRIPT_DISJOINT}" for name in SESSION_PROTOCOLS),
    "kfold5 (or 3, ...)",
    "official",
    "all",
)

NO_SESSIONS_HINT = "kfold5, or kfold3 for few speakers, goes without sessions"


def build_folds(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """All folds of a protocol.

    Raises:
        MoodlineError: no such protocol, or the corpus does not serve it
    """
    base = protocol.removesuffix(SCRIPT_DISJOINT)
    if base != protocol and base in SESSION_PROTOCOLS:
        refuse_without_scripts(corpus, protocol)
        return tuple(remove_scripts(one, protocol) for one in build_folds(corpus, base))
    if protocol == "cv5":
        return rotate_parts(protocol, group_by_session(corpus, protocol, exactly=5))
    if protocol == "session5":
        return rotate_parts(protocol, group_by_session(corpus, protocol, exactly=5))[-1:]
    if protocol == "cv10":
        return build_speaker_folds(corpus)
    if parts := re.fullmatch(r"kfold([1-9][0-9]*)", protocol):
        return build_group_folds(corpus, protocol, int(parts[1]))
    if protocol == "official":
        return (build_official_fold(corpus),)
    if protocol == "all":
        return (build_production_fold(corpus),)
    raise MoodlineError(f"the protocols are {', '.join(PROTOCOLS)}: {protocol!r} is none of them")


def rotate_parts(protocol: str, parts: dict[str, list[Conversation]]) -> tuple[Fold, ...]:
    """Each part tests in turn, the next one validates, the others train."""
    names = list(parts)
    return tuple(
        Fold(
            protocol=protocol,
            name=test,
            train=join_parts(parts, without=(test, validation)),
            validation=tuple(parts[validation]),
            test=tuple(parts[test]),
        )
        for test, validation in zip(names, names[1:] + names[:1], strict=True)
    )


def join_parts(parts: dict[str, list[Conversation]], without: Sequence[str]) -> tuple[Conversation, ...]:
    return tuple(one for name, conversations in parts.items() if name not in without for one in conversations)


def build_speaker_folds(corpus: Corpus) -> tuple[Fold, ...]:
    sessions = group_by_session(corpus, "cv10", exactly=5)
    folds: list[Fold] = []
    for session, conversations in sessions.items():
        speakers = sorted(collect_speakers(tuple(conversations)))
        if len(speakers) != 2:
            raise MoodlineError(
                f"cv10 takes sessions of two speakers: session {session} of {corpus.source} has {len(speakers)} "
                f"({', '.join(speakers)}); choose another protocol"
            )
        folds += [
            Fold(
                protocol="cv10",
                name=test,
                train=join_parts(sessions, without=(session,)),
                validation=tuple(conversations),
                test=tuple(conversations),
                validation_speaker=validation,
                test_speaker=test,
            )
            for test, validation in (speakers, reversed(speakers))
        ]
    return tuple(folds)


def build_production_fold(corpus: Corpus) -> Fold:
    sessions = group_by_session(corpus, "all", at_least=2)
    first = next(iter(sessions))
    train = join_parts(sessions, without=(first,))
    return Fold(protocol="all", name="all", train=train, validation=tuple(sessions[first]), test=())


def group_by_session(
    corpus: Corpus, protocol: str, *, exactly: int | None = None, at_least: int = 1
) -> dict[str, list[Conversation]]:
    sessions: dict[str, list[Conversation]] = {}
    for conversation in corpus.conversations:
        if conversation.session is None:
            raise MoodlineError(
                f"{protocol} goes by sessions, and conversation {conversation.id} has none; {NO_SESSIONS_HINT}"
            )
        sessions.setdefault(conversation.session, []).append(conversation)
    if len(sessions) < at_least or exactly not in (None, len(sessions)):
        raise MoodlineError(
            f"{protocol} takes {f'{at_least} sessions or more' if exactly is None else f'{exactly} sessions'}: "
            f"the corpus {corpus.source} has {len(sessions)} ({', '.join(sorted(sessions))}); {NO_SESSIONS_HINT}"
        )
    return dict(sorted(sessions.items()))


def build_group_folds(corpus: Corpus, protocol: str, parts: int) -> tuple[Fold, ...]:
    if parts < 3:
        raise MoodlineError(
            f"one part tests, one validates and the others train: {protocol} has {parts}; take kfold3 or more"
        )
    groups = group_by_speaker(corpus.conversations)
    if len(groups) < parts:
        raise MoodlineError(
            f"{protocol} takes {parts} groups of conversations, none of which shares a speaker or a text with another: "
            f"the corpus {corpus.source} has {len(groups)}"
        )
    return rotate_parts(
        protocol, {str(number): part for number, part in enumerate(balance_parts(groups, parts), start=1)}
    )


def group_by_speaker(conversations: Sequence[Conversation]) -> list[list[Conversation]]:
    """The smallest groups that keep all of a speaker's conversations, and all copies of one, together."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # A graph of conversations and of what they may share; what hangs together is a group.
    shared: dict[tuple[str, str], int] = {}
    edges = [
        (position, len(conversations) + shared.setdefault(key, len(shared)))
        for position, one in enumerate(conversations)
        for key in (("text", one.fingerprint), *(("speaker", speaker) for speaker in one.speakers))
    ]
    size = len(conversations) + len(shared)
    graph = coo_array((np.ones(len(edges)), tuple(zip(*edges, strict=True))), shape=(size, size))
    _, group_of = connected_components(graph, directed=False)
    groups: dict[int, list[Conversation]] = {}
    for conversation, group in zip(conversations, group_of.tolist(), strict=False):
        groups.setdefault(group, []).append(conversation)
    return list(groups.values())


def balance_parts(groups: Sequence[Sequence[Conversation]], parts: int) -> list[list[Conversation]]:
    """Groups in parts of about as many utterances: the largest group first, each to the smallest part so far."""
    filled: list[list[Conversation]] = [[] for _ in range(parts)]
    utterances = [0] * parts
    for group in sorted(groups, key=lambda group: (-count_utterances(group), min(one.id for one in group))):
        smallest = min(range(parts), key=lambda part: (utterances[part], len(filled[part])))
        filled[smallest].extend(group)
        utterances[smallest] += count_utterances(group)
    return filled


def count_utterances(conversations: Sequence[Conversation]) -> int:
    return sum(len(conversation.utterances) for conversation in conversations)


def build_official_fold(corpus: Corpus) -> Fold:
    sets: dict[str, list[Conversation]] = {name: [] for name in SPLITS}
    for conversation in corpus.conversations:
        if conversation.split is None:
            raise MoodlineError(
                f"official takes a corpus that was published in {', '.join(SPLITS)}: conversation {conversation.id} of "
                f"{corpus.source} is in none of them; choose another protocol"
            )
        sets[conversation.split].append(conversation)
    if not sets["test"]:
        raise MoodlineError(f"official tests on the published test set: {corpus.source} has no conversation in it")
    return Fold(
        protocol="official",
        name="official",
        train=tuple(sets["train"]),
        validation=tuple(sets["validation"]),
        test=tuple(sets["test"]),
        speaker_disjoint=False,
    )


def refuse_without_scripts(corpus: Corpus, protocol: str) -> None:
    for conversation in corpus.conversations:
        if conversation.part == "scripted" and find_script(conversation) is None:
            raise MoodlineError(
                f"{protocol} reads the script from the conversation's name, as in Ses01F_script01_1: the scripted "
                f"conversation {conversation.id} of {corpus.source} names none"
            )
    if not any(map(find_script, corpus.conversations)):
        raise MoodlineError(
            f"{protocol} is for IEMOCAP, whose scripts are played in several sessions: {corpus.source} has no "
            f"conversation that names one; take {protocol.removesuffix(SCRIPT_DISJOINT)}"
        )


def remove_scripts(fold: Fold, protocol: str) -> Fold:
    """The fold without the training conversations that perform a script of its validation or test set."""
    played = {find_script(one) for one in (*fold.validation, *fold.test)} - {None}
    return replace(
        fold,
        protocol=protocol,
        train=tuple(one for one in fold.train if find_script(one) not in played),
        left_out=tuple(one for one in fold.train if find_script(one) in played),
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
