"""Which tiers of a TextGrid are of utterances, and who speaks on them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from moodline.errors import MoodlineError

# Names without capitals and numbers. One of PARTS may be the last word of several, as in an aligner's "Ann - words".
PARTS = re.compile(r"words?|phon(?:e(?:me)?s?)?|syllables?|mau|kan")
ABOUT = re.compile(  # the speech, but not what is said
    r"comments?|notes?|emotions?|labels?|silences?|noise|events?|gestures?|topics?|pos|translation"
)
GENERAL = re.compile(
    r"utterances?|sentences?|segments?|transcript(?:ion)?|text|speech|turns?|ort(?:hography)?|tier|unknown|default"
)
FURTHER = "{} ({})"  # a further tier of a speaker, who has one of the name alone
IS_FURTHER = re.compile(r"(?P<name>.+) \(\d+\)", re.DOTALL)
# A tier whatever its name is of words if it has as many intervals, nearly all of one word, most of them abutting.
ENOUGH, NEARLY_ALL, MOST, ABUTTING = 8, 0.95, 0.5, 0.005


@dataclass(frozen=True, slots=True)
class Interval:
    """Times in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Tier:
    name: str
    intervals: Sequence[Interval]


def utterance_tiers(tiers: Sequence[Tier], origin: str) -> tuple[list[Tier], list[str]]:
    """The tiers of utterances, and notes on the others.

    Raises:
        MoodlineError: there is none
    """
    chosen: list[Tier] = []
    notes: list[str] = []
    for tier in tiers:
        what = what_else(tier)
        if what is None:
            chosen.append(tier)
        else:
            notes.append(f"tier {tier.name!r} passed over, as one of {what}")
    if not chosen:
        raise MoodlineError(
            f"a TextGrid tells turns by intervals of utterances, a tier a speaker: {origin} has none "
            f"({'; '.join(notes) or 'no tier of intervals'}); add a tier of utterances"
        )
    return chosen, notes


def what_else(tier: Tier) -> str | None:
    """What a tier is of; None where it is of utterances."""
    letters = letters_of(tier.name)
    if PARTS.fullmatch(letters.split(" ")[-1]) or is_of_words(tier):
        return "words or phones"
    return "remarks" if ABOUT.fullmatch(letters) else None


def speakers_of(names: Sequence[str]) -> list[str]:
    """Each tier's speaker: its name, or none where that is a general one; a further tier is its first one's."""
    first = [
        found["name"] if (found := IS_FURTHER.fullmatch(name)) and found["name"] in names else name for name in names
    ]
    return ["" if GENERAL.fullmatch(letters_of(name)) else name for name in first]


def letters_of(name: str) -> str:
    """The words of a tier's name, without numbers and capitals."""
    return " ".join(re.findall(r"[^\W\d_]+", name.lower()))


def is_of_words(tier: Tier) -> bool:
    spoken = [interval for interval in tier.intervals if interval.text.strip()]
    if len(spoken) < ENOUGH:
        return False
    single = sum(len(interval.text.split()) == 1 for interval in spoken)
    abutting = sum(after.start - before.end <= ABUTTING for before, after in pairwise(spoken))
    return single >= NEARLY_ALL * len(spoken) and abutting >= MOST * (len(spoken) - 1)
