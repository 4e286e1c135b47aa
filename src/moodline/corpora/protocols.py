"""Build a protocol's folds of a corpus: training, validation and test sets (paper, section 3; docs/protocols.md).

    session5   test Session 5, validation Session 1 (released code), training the rest; cv5's fifth fold
    cv5        each session tests in turn; the next one, cyclically, is the validation set
    cv10       each speaker tests in turn; the other one of the session validates, the other sessions train
    kfoldK     kfold5, kfold10, ...: groups of conversations that share no speaker, in K parts; each tests in turn
    official   the split that the corpus was published with
    all        the first session validates, all others train, nothing tests: for a model to deploy

session5, cv5 and cv10 have a variant that ends in -script-disjoint: no training conversation performs a script of the
validation or test set. The same corpus and name give the same folds. All five parts of a model share a fold.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from moodline.conversation import SPLITS, Conversation
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold, collect_speakers
from moodline.corpora.iemocap import find_script
from moodline.errors import MoodlineError, format_count

SCRIPT_DISJOINT = "-script-disjoint"
SESSION_PROTOCOLS = ("session5", "cv5", "cv10")
PROTOCOLS = (
    *SESSION_PROTOCOLS,
    *(f"{name}{SCRIPT_DISJOINT}" for name in SESSION_PROTOCOLS),
    "kfold5 (or 3, ...)",
    "official",
    "all",
)

NO_SESSIONS_HINT = "kfold5, or kfold3 for few speakers, needs no sessions"


def build_folds(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """Build all folds of a protocol.

    Raises:
        MoodlineError: there is no such protocol, or the corpus does not fit it
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
    raise MoodlineError(
        f"unknown protocol {protocol!r}: the protocols are {', '.join(PROTOCOLS)}", code="corpus.unknown_protocol"
    )


def rotate_parts(protocol: str, parts: dict[str, list[Conversation]]) -> tuple[Fold, ...]:
    """Build a fold for each part, which tests; the next part validates, the others train."""
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
                f"session {session} of {corpus.source} has {len(speakers)} speakers ({', '.join(speakers)}), and cv10 "
                "needs two: choose another protocol",
                code="corpus.unfit_protocol",
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
                f"conversation {conversation.id} has no session, and {protocol} needs sessions: {NO_SESSIONS_HINT}",
                code="corpus.no_session",
            )
        sessions.setdefault(conversation.session, []).append(conversation)
    if len(sessions) < at_least or exactly not in (None, len(sessions)):
        raise MoodlineError(
            f"{corpus.source} has {format_count(len(sessions), 'session')} ({', '.join(sorted(sessions))}), and "
            f"{protocol} needs {f'{at_least} or more' if exactly is None else exactly}: {NO_SESSIONS_HINT}",
            code="corpus.unfit_protocol",
        )
    return dict(sorted(sessions.items()))


def build_group_folds(corpus: Corpus, protocol: str, parts: int) -> tuple[Fold, ...]:
    if parts < 3:
        raise MoodlineError(
            f"{protocol} has too few parts to train, validate and test: take kfold3 or more",
            code="corpus.unknown_protocol",
        )
    groups = group_by_speaker(corpus.conversations)
    if len(groups) < parts:
        raise MoodlineError(
            f"{corpus.source} has {format_count(len(groups), 'group')} of conversations that share no speaker and no "
            f"text, and {protocol} needs {parts}: take fewer parts",
            code="corpus.unfit_protocol",
        )
    return rotate_parts(
        protocol, {str(number): part for number, part in enumerate(balance_parts(groups, parts), start=1)}
    )


def group_by_speaker(conversations: Sequence[Conversation]) -> list[list[Conversation]]:
    """Build the smallest groups that keep a speaker's conversations, and copies of one, together."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # Groups are the connected components of a graph of conversations, speakers and texts.
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
    """Distribute groups over parts of similar size: the largest group first, each to the smallest part so far."""
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
                f"conversation {conversation.id} of {corpus.source} is in no published set ({', '.join(SPLITS)}), and "
                "official needs one: choose another protocol",
                code="corpus.no_split",
            )
        sets[conversation.split].append(conversation)
    if not sets["test"]:
        raise MoodlineError(
            f"{corpus.source} has no conversation in its published test set, and official needs one: choose another "
            "protocol",
            code="corpus.empty_set",
        )
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
                f"the scripted conversation {conversation.id} of {corpus.source} has no script in its name, as "
                f"Ses01F_script01_1 has, and {protocol} needs it: take {protocol.removesuffix(SCRIPT_DISJOINT)}",
                code="corpus.no_script",
            )
    if not any(map(find_script, corpus.conversations)):
        raise MoodlineError(
            f"no conversation of {corpus.source} has a script in its name, and {protocol} needs IEMOCAP's scripts: "
            f"take {protocol.removesuffix(SCRIPT_DISJOINT)}",
            code="corpus.no_script",
        )


def remove_scripts(fold: Fold, protocol: str) -> Fold:
    """Remove the training conversations that perform a script of the validation or test set."""
    played = {find_script(one) for one in (*fold.validation, *fold.test)} - {None}
    return replace(
        fold,
        protocol=protocol,
        train=tuple(one for one in fold.train if find_script(one) not in played),
        left_out=tuple(one for one in fold.train if find_script(one) in played),
    )


def choose_fold(folds: tuple[Fold, ...], name: str | None) -> tuple[Fold, ...]:
    """Return the fold that ``--fold`` names, or all folds."""
    if name is None:
        return folds
    chosen = tuple(one for one in folds if one.name == name)
    if not chosen:
        raise MoodlineError(
            f"{folds[0].protocol} has no fold {name!r}; its folds are {', '.join(one.name for one in folds)}",
            code="corpus.unknown_fold",
        )
    return chosen
