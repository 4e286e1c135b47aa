"""Check the utterances of every corpus, and collect faults: each leaves out one utterance or one conversation."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from moodline.audio import io
from moodline.conversation import Conversation, Utterance
from moodline.errors import MoodlineError, clean_sentence, escape_line, format_count, quote

MAX_SHOWN_FAULTS = 3
EMPTY_CONVERSATION = "a conversation without a usable turn"
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029][\s\x00-\x1f\x7f-\x9f]*")


class Fault(NamedTuple):
    """Broken content: its id, or its file and line, and one sentence on the fault."""

    identity: str
    sentence: str


class ParsedUtterance(NamedTuple):
    """An utterance as it was read, its file and line, and the faults that its reader found."""

    utterance: Utterance
    where: str
    faults: tuple[str, ...] = ()


@dataclass
class FaultCollector:
    """Collects, while a source is read, its faults and the sound content that is left out."""

    source: Path
    labels: frozenset[str] | None = None  # of the corpus; None where it may have any
    found: list[Fault] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)  # reason -> ids
    notes: list[str] = field(default_factory=list)  # how the source as a whole was read, a sentence each
    utterances: set[str] = field(default_factory=set)  # the ids so far
    conversations: set[str] = field(default_factory=set)

    def add(self, identity: str, sentence: str) -> None:
        """Add a fault; ``identity`` is the id of the utterance or conversation left out, or file:line without one."""
        self.found.append(Fault(escape_line(identity), clean_sentence(sentence)))

    def leave_out(self, reason: str, identity: str) -> None:
        """Record sound content that a model does not read."""
        self.left_out.setdefault(reason, []).append(escape_line(identity))

    def note(self, sentence: str) -> None:
        """Add a sentence on the source as a whole, which leaves nothing out."""
        self.notes.append(clean_sentence(sentence))


def summarise_faults(faults: Sequence[Fault], source: Path) -> str:
    """Quote the first fault and count the others, in one sentence."""
    others = len(faults) - 1
    more = f" (and {format_count(others, 'more fault')} in {source})" if others else ""
    return faults[0].sentence + more


def describe_faults(faults: Sequence[Fault], listed_in: object) -> Iterator[str]:
    """Format lines for a person: how much faults leave out, where they are listed, and the first of them."""
    if faults:
        count = len({fault.identity for fault in faults})
        yield f"left out for faults (utterances, whole conversations): {count}, listed in {listed_in}"
    for fault in faults[:MAX_SHOWN_FAULTS]:
        yield f"  {fault.identity}: {fault.sentence}"


def parse_utterance(where: str, path: Path | None, broken: Sequence[str] = (), **facts: Any) -> ParsedUtterance:
    """Build an utterance of ``facts`` and an audio file, which is one more fault if it is broken too."""
    clip = None
    try:
        clip = None if path is None else io.inspect_file(path)
    except MoodlineError as error:
        broken = (*broken, str(error))
    return ParsedUtterance(Utterance(audio=clip, **facts), where, tuple(broken))


def build_conversation(
    turns: Iterable[ParsedUtterance],
    faults: FaultCollector,
    *,
    id: str,
    session: str | None = None,
    part: str | None = None,
    split: str | None = None,
    by_time: bool = True,
) -> Conversation | None:
    """Build a conversation of the sound turns, in order of time or as given; None where there is none."""
    if id in faults.conversations:
        faults.add(id, f"{quote(id)} is the id of a second conversation, the first is kept: rename one")
        return None
    utterances = [kept for turn in turns if (kept := check_utterance(turn, faults)) is not None]
    if not utterances:
        faults.leave_out(EMPTY_CONVERSATION, id)
        return None
    faults.conversations.add(id)
    if by_time and all(utterance.start is not None for utterance in utterances):
        utterances.sort(key=lambda turn: (turn.start, turn.start if turn.end is None else turn.end, turn.id))
    return Conversation(id=id, utterances=tuple(utterances), session=session, part=part, split=split)


def check_utterance(turn: ParsedUtterance, faults: FaultCollector) -> Utterance | None:
    """Return the utterance with its words cleaned; None where it has faults, which are collected."""
    utterance, where, broken = turn
    if utterance.id in faults.utterances:
        faults.add(where, f"utterance {utterance.id} occurs a second time, at {where}: remove one")
        return None
    faults.utterances.add(utterance.id)
    sentences = [*broken, *find_faults(utterance, where, faults.labels)]
    for sentence in sentences:
        faults.add(utterance.id.strip() or where, sentence)
    return None if sentences else replace(utterance, words=clean_words(utterance.words))


def clean_words(words: str) -> str:
    """Replace control characters, which could steer a terminal, by spaces."""
    return CONTROL_CHARACTERS.sub(" ", words).strip()


def find_faults(utterance: Utterance, where: str, labels: frozenset[str] | None) -> Iterator[str]:
    """Find the faults of an utterance, a sentence each. Neither missing words nor overlapping times are faults."""
    who = f"utterance {utterance.id} at {where}"
    start, end = utterance.start, utterance.end
    if not utterance.id.strip():
        yield f"the utterance at {where} has no id: give it one"
    if not utterance.speaker.strip():
        yield f"{who} has no speaker: name one"
    if labels is not None and utterance.label is not None and utterance.label not in labels:
        known = ", ".join(sorted(labels))
        yield f"{who} has the label {quote(utterance.label)}; the corpus's labels are {known}: correct it"
    if any(time is not None and not 0 <= time < math.inf for time in (start, end)):
        yield f"{who} has the times {start} to {end} s: they must be finite and not negative; correct them"
    elif start is not None and end is not None and start >= end:
        yield f"{who} has the times {start} to {end} s: it must end after it starts; correct them"
    if utterance.audio is not None:
        path = str(utterance.audio.path)
        try:
            path.encode()  # the corpus's table stores it as text
            io.check_clip(utterance.audio)
        except UnicodeEncodeError:
            yield f"{escape_line(path)} is not UTF-8: rename it"
        except MoodlineError as error:
            yield str(error)
