"""What holds for the utterances of every corpus, and the faults of those for which it does not.

A fault leaves out one utterance, or one conversation, and is told with the others; reading goes on. Checked here, for
all readers: an id stands once in the corpus, an utterance has a speaker and a label of the corpus's, times are finite,
not negative and ascend from start to end, audio can be read to its end and holds finite numbers.

No faults, but defined:

    overlapping turns           kept, as people do talk at once; they come in order of start, then end, then id
    turns without a start       their whole conversation is in the order of the file
    no words                    kept: a model of words reads the two marks alone
    control characters in words become spaces: they mean nothing, and could write over a terminal
    any length of words         kept: the tokenizer cuts at the recipe's ``maximum_tokens``
    one turn, or thousands      a conversation like any other
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from moodline.audio import io
from moodline.conversation import Conversation, Utterance
from moodline.errors import MoodlineError, format_count

MAX_SHOWN_FAULTS = 3
EMPTY_CONVERSATION = "a conversation without a usable turn"
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029][\s\x00-\x1f\x7f-\x9f]*")


@dataclass(frozen=True)
class Fault:
    """What is left out because it is broken, by its id or its file and line, and one sentence that says why."""

    identity: str
    sentence: str


class ParsedUtterance(NamedTuple):
    """An utterance as it was read, the file and line it was read from, and what its reader found wrong with it."""

    utterance: Utterance
    where: str
    fault: tuple[str, ...] = ()


@dataclass
class FaultCollector:
    """What is broken in a source, and what is not broken but left out (reason -> ids), while it is read.

    Attributes:
        notes: how the source as a whole was taken, a sentence each
        labels: those that the corpus has; None: it may have any
        utterances, conversations: the ids of those that were met so far
    """

    source: Path
    labels: frozenset[str] | None = None
    found: list[Fault] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    utterances: set[str] = field(default_factory=set)
    conversations: set[str] = field(default_factory=set)

    def add(self, identity: str, sentence: str) -> None:
        """``identity`` is what is left out: an utterance's or a conversation's id, or file:line where that fails."""
        self.found.append(Fault(escape_line(identity), escape_line(sentence)))

    def leave_out(self, reason: str, identity: str) -> None:
        """For what a sound corpus has and a model does not read."""
        self.left_out.setdefault(reason, []).append(escape_line(identity))

    def note(self, sentence: str) -> None:
        """For what leaves nothing out, and a person should know."""
        self.notes.append(escape_line(sentence))


def escape_line(text: str) -> str:
    """Line ends become spaces, and what cannot be shown is written out, as in a file's name that is no text."""
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def summarise_faults(faults: Sequence[Fault], source: Path) -> str:
    """The first fault told whole and the others counted, in one sentence."""
    others = len(faults) - 1
    more = f" (and {format_count(others, 'more fault')} in {source})" if others else ""
    return faults[0].sentence + more


def describe_faults(faults: Sequence[Fault], listed_in: object) -> Iterator[str]:
    """Lines for a person: how much was left out for faults, where the list is, and the first of them."""
    if faults:
        count = len({fault.identity for fault in faults})
        yield f"left out for faults (utterances, whole conversations): {count}, listed in {listed_in}"
    for fault in faults[:MAX_SHOWN_FAULTS]:
        yield f"  {fault.identity}: {fault.sentence}"


def build_conversation(
    turns: Iterable[ParsedUtterance],
    faults: FaultCollector,
    *,
    id: str,
    session: str | None = None,
    part: str | None = None,
) -> Conversation | None:
    """A conversation of the turns that are sound, in order of time; None where none is."""
    if id in faults.conversations:
        faults.add(id, f"{id!r} is the id of a second conversation: rename one; the first is kept")
        return None
    utterances = [kept for turn in turns if (kept := check_utterance(turn, faults)) is not None]
    if not utterances:
        faults.leave_out(EMPTY_CONVERSATION, id)
        return None
    faults.conversations.add(id)
    return Conversation(id=id, session=session, part=part, utterances=tuple(sort_utterances(utterances)))


def check_utterance(turn: ParsedUtterance, faults: FaultCollector) -> Utterance | None:
    """The utterance with its words cleaned, or None, all of its faults told."""
    utterance, where, broken = turn
    if utterance.id in faults.utterances:
        faults.add(where, f"{utterance.id} is in the corpus a second time, at {where}: remove one")
        return None
    faults.utterances.add(utterance.id)
    sentences = [*broken, *find_faults(utterance, where, faults.labels)]
    for sentence in sentences:
        faults.add(utterance.id.strip() or where, sentence)
    return None if sentences else replace(utterance, words=clean_words(utterance.words))


def clean_words(words: str) -> str:
    return CONTROL_CHARACTERS.sub(" ", words).strip()


def find_faults(utterance: Utterance, where: str, labels: frozenset[str] | None) -> Iterator[str]:
    """What is wrong with an utterance, a sentence each."""
    who = f"{utterance.id} at {where}"
    start, end = utterance.start, utterance.end
    if not utterance.id.strip():
        yield f"an utterance has an id: the one at {where} has none; give it one"
    if not utterance.speaker.strip():
        yield f"an utterance has a speaker: {who} has none; name who speaks"
    if labels is not None and utterance.label is not None and utterance.label not in labels:
        yield f"the corpus's labels are {', '.join(sorted(labels))}: {utterance.label!r} of {who} is none"
    if any(time is not None and not (math.isfinite(time) and time >= 0) for time in (start, end)):
        yield f"times are finite and not negative: {who} has {start} to {end} s; correct them"
    elif start is not None and end is not None and start >= end:
        yield f"an utterance ends after it starts: {who} has {start} to {end} s; correct them"
    try:
        if utterance.audio is not None:
            refuse_undecodable_path(utterance.audio.path)
            io.check_clip(utterance.audio)
    except MoodlineError as error:
        yield str(error)


def refuse_undecodable_path(path: Path) -> None:
    """The corpus's table holds paths as text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise MoodlineError(f"a file's path is UTF-8, and {escape_line(str(path))} is not: rename it") from None


def sort_utterances(utterances: list[Utterance]) -> list[Utterance]:
    """By start, end and id; in the order given where one has no start."""
    if any(utterance.start is None for utterance in utterances):
        return utterances
    return sorted(utterances, key=lambda turn: (turn.start, turn.start if turn.end is None else turn.end, turn.id))
