"""Who says what in which emotion: improvised from a situation, or performed from a script.

A mood is what a person feels; a label is what IEMOCAP's raters would call it (``exc`` is one way to be happy).
Words do not always show the mood: some lines fit any of them, some say its contrary.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from moodline.corpora.demo.feelings import ANYTHING, DAYS, EXCLAMATIONS, FEELINGS, FRIENDS, HOURS
from moodline.corpora.demo.plays import Line
from moodline.corpora.demo.situations import Situation

MOODS = ("ang", "hap", "sad", "neu")

AMBIGUOUS = 0.35  # share of turns whose words fit any mood
IRONIC = 0.04  # share of turns whose words are another mood's
OWN = 0.4  # share of lines that belong to the situation, while there are any
EXCLAIMED = 0.5  # share of telling turns that begin with an exclamation
OTHERWISE = 0.3  # share of scripted lines that an actor plays in another mood than the script's
DISPUTED = 0.04  # share of turns that the raters could not agree on

# A person's next mood: a share of their own last one, of an answer to the partner's, of what the situation suggests.
PERSISTENCE, RESPONSE, SUGGESTION = 0.65, 0.31, 0.04
ANSWERS: Mapping[str, Mapping[str, float]] = {
    "ang": {"ang": 0.65, "sad": 0.20, "neu": 0.10, "hap": 0.05},
    "hap": {"hap": 0.80, "neu": 0.10, "sad": 0.05, "ang": 0.05},
    "sad": {"sad": 0.65, "neu": 0.20, "ang": 0.10, "hap": 0.05},
    "neu": {"neu": 0.70, "hap": 0.10, "sad": 0.10, "ang": 0.10},
}
CONTRARY: Mapping[str, str] = {"ang": "hap", "hap": "ang", "sad": "neu", "neu": "hap"}
SHADES: Mapping[str, Mapping[str, float]] = {  # the labels of a mood
    "ang": {"ang": 0.85, "fru": 0.15},
    "hap": {"hap": 0.4, "exc": 0.55, "sur": 0.05},
    "sad": {"sad": 0.95, "fru": 0.05},
    "neu": {"neu": 0.97, "sur": 0.03},
}
MOOD_OF: Mapping[str, str] = {
    "ang": "ang", "fru": "ang", "hap": "hap", "exc": "hap", "sur": "hap", "sad": "sad", "neu": "neu"
}  # fmt: skip


class Turn(NamedTuple):
    """``label`` is what the raters said, ``heard`` the label whose manner the voice takes."""

    role: str  # F or M
    label: str
    heard: str
    words: str


def improvise(situation: Situation, rng: random.Random) -> list[Turn]:
    """Ten to fourteen turns on a situation; no line comes twice."""
    slots = _slots(rng)
    roles = rng.choice(("FM", "MF"))
    moods = {role: _draw(situation.moods, rng) for role in roles}
    spoken: set[str] = set()
    turns = []
    for position in range(rng.randint(10, 14)):
        role, partner = roles[position % 2], roles[(position + 1) % 2]
        if position > 1:
            moods[role] = _next_mood(moods[role], moods[partner], situation.moods, rng)
        line = rng.choice(situation.opening) if position == 0 else _line(moods[role], situation, spoken, rng)
        words = _fill(line, slots, rng)
        turns.append(_rate(role, _draw(SHADES[moods[role]], rng), words, rng))
    return turns


def perform(scene: Sequence[Line], rng: random.Random) -> list[Turn]:
    """The scene's lines in this cast's wording; now and then an actor reads a line in a mood of their own."""
    slots = _slots(rng)
    turns = []
    partner = "neu"
    for line in scene:
        label = line.emotion
        if rng.random() < OTHERWISE:
            label = _draw(SHADES[_draw(ANSWERS[partner], rng)], rng)
        turns.append(_rate(line.role, label, _fill(line.words, slots, rng), rng))
        partner = MOOD_OF[label]
    return turns


def _next_mood(own: str, partner: str, suggested: Mapping[str, float], rng: random.Random) -> str:
    total = sum(suggested.values())
    return _draw(
        {
            mood: PERSISTENCE * (mood == own) + RESPONSE * ANSWERS[partner][mood] + SUGGESTION * suggested[mood] / total
            for mood in MOODS
        },
        rng,
    )


def _line(mood: str, situation: Situation, spoken: set[str], rng: random.Random) -> str:
    """A template for a turn in this mood; what it is made of was not in ``spoken``, and is from now on."""
    kind = rng.random()
    if kind < AMBIGUOUS:
        return _fresh(situation.facts, ANYTHING, spoken, rng)
    if kind < AMBIGUOUS + IRONIC:
        return _fresh((), FEELINGS[CONTRARY[mood]], spoken, rng)
    line = _fresh(situation.words[mood], FEELINGS[mood], spoken, rng)
    exclamations = [words for words in EXCLAMATIONS[mood] if words not in spoken]
    if not exclamations or rng.random() > EXCLAIMED:
        return line
    exclamation = rng.choice(exclamations)
    spoken.add(exclamation)
    return f"{exclamation} {line}"


def _fresh(own: Sequence[str], general: Sequence[str], spoken: set[str], rng: random.Random) -> str:
    """One of the situation's own lines or, more often, of the general ones: they are more than a conversation takes."""
    lines = [line for line in own if line not in spoken]
    if not lines or rng.random() > OWN:
        lines = [line for line in general if line not in spoken]
    line = rng.choice(lines)
    spoken.add(line)
    return line


def _rate(role: str, label: str, words: str, rng: random.Random) -> Turn:
    if rng.random() < DISPUTED:
        return Turn(role, "xxx", _draw(SHADES[rng.choice(MOODS)], rng), words)
    return Turn(role, label, label, words)


def _slots(rng: random.Random) -> dict[str, str]:
    return {"friend": rng.choice(FRIENDS), "day": rng.choice(DAYS), "hour": rng.choice(HOURS)}


def _fill(template: str, slots: Mapping[str, str], rng: random.Random) -> str:
    """``{a|b}`` is a choice, ``{name}`` a slot; a choice may hold slots."""
    while match := re.search(r"\{([^{}]*)\}", template):
        inner = match[1]
        filled = rng.choice(inner.split("|")) if "|" in inner else slots[inner]
        template = template[: match.start()] + filled + template[match.end() :]
    return template


def _draw(weights: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
