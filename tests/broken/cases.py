"""The catalogue: each fault alone at three places, pairs of faults in two sessions, pairs of faults of one turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.broken.faults import AUDIO, FAULTS, MALFORMED, TEXT, TIMES
from tests.broken.talk import Outcome, Source, Talk, small_talk

WHOLE = small_talk()
FIRST, LAST = 0, len(WHOLE) - 1
MIDDLE = len(WHOLE) // 2 + 1  # of the second session's first conversation
EVERY = 8  # of the pairs one in so many is taken


@dataclass(frozen=True)
class Case:
    """A broken talk, and which faults were put where: (name, the unbroken turn's place)."""

    name: str
    talk: Talk
    put: tuple[tuple[str, int], ...]

    def outcomes(self, source: Source) -> list[tuple[Outcome, int]]:
        return [(source.outcomes.get(name, FAULTS[name].outcome), place) for name, place in self.put]


def cases() -> Iterator[Case]:
    for name in FAULTS:
        for where, place in (("first", FIRST), ("middle", MIDDLE), ("last", LAST)):
            yield case(f"{name}, {where} turn", [(name, place)])
    for number, (one, other) in enumerate(combinations(FAULTS, 2)):
        if number % EVERY == 0:
            yield case(f"{one} and {other}, in two sessions", [(one, FIRST + number % 3), (other, LAST - number % 2)])
    for number, (one, other) in enumerate(pairs_of_one_turn()):
        yield case(f"{one} and {other}, of one turn", [(one, number % len(WHOLE)), (other, number % len(WHOLE))])


def pairs_of_one_turn() -> list[tuple[str, str]]:
    """Faults of a turn's sound with those of its words or times, but for what hides the sound's."""
    wordings = [name for name, broken in (TEXT | TIMES).items() if not hides_others(broken.outcome)]
    return [
        (one, other)
        for row, one in enumerate(AUDIO)
        for column, other in enumerate(wordings)
        if (row + column) % EVERY == 0
    ]


def hides_others(outcome: Outcome) -> bool:
    """Whether nothing else of the turn is looked at: no such line, no such conversation."""
    return outcome == MALFORMED or outcome.leaves_out == "conversation"


def case(name: str, put: Sequence[tuple[str, int]]) -> Case:
    talk = WHOLE
    # Later places first: a change may move its turn to the end.
    for fault, place in sorted(put, key=lambda one: -one[1]):
        talk = FAULTS[fault].change(talk, place)
    return Case(name=name, talk=talk, put=tuple(put))
