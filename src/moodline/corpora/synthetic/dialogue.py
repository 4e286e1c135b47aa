"""Compose dialogues: who says what in which emotion, improvised on a situation or performed from a script.

A mood is what a speaker feels; a label is the category that IEMOCAP's raters give it (``exc`` is one label of the mood
``hap``). Words do not always show the mood: some lines fit every mood, some belong to the opposite one.
"""

import random
import re
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from typing import Any, NamedTuple

from moodline.io import read_yaml

with as_file(files("moodline.corpora.synthetic") / "dialogues.yaml") as path:
    MATERIAL: Mapping[str, Any] = read_yaml(path, "the material of the demo corpus")  # its comments describe each table
MOODS: Mapping[str, Mapping[str, Any]] = MATERIAL["moods"]

AMBIGUOUS = 0.35  # share of turns whose words fit every mood
IRONIC = 0.04  # share of turns whose words are the opposite mood's
SITUATIONAL = 0.4  # share of lines from the situation's own, while some of them are unused
EXCLAMATORY = 0.5  # share of turns in their mood's words that begin with an exclamation
REINTERPRETED = 0.3  # share of scripted lines performed in another emotion than the script's
DISPUTED = 0.04  # share of turns without a majority label

# Weights for a speaker's next mood: keep their own, answer the partner's, follow the situation.
PERSISTENCE, RESPONSE, SUGGESTION = 0.65, 0.31, 0.04


class Turn(NamedTuple):
    """One turn: ``label`` is the raters' majority, ``felt`` the label that the voice expresses."""

    role: str  # F or M
    label: str
    felt: str
    words: str


def improvise(situation: Mapping[str, Any], rng: random.Random) -> list[Turn]:
    """Compose ten to fourteen turns on one of the material's situations, without a repeated line."""
    slots = _draw_slots(rng)
    roles = rng.choice(("FM", "MF"))
    moods = {role: _draw(situation["moods"], rng) for role in roles}
    used: set[str] = set()
    turns = []
    for position in range(rng.randint(10, 14)):
        role, partner = roles[position % 2], roles[(position + 1) % 2]
        if position > 1:
            moods[role] = _draw_next_mood(moods[role], moods[partner], situation["moods"], rng)
        line = rng.choice(situation["opening"]) if position == 0 else _draw_line(moods[role], situation, used, rng)
        words = fill_template(line, slots, rng)
        turns.append(_rate_turn(role, _draw(MOODS[moods[role]]["labels"], rng), words, rng))
    return turns


def perform(scene: Sequence[Mapping[str, str]], rng: random.Random) -> list[Turn]:
    """Compose a performance of one of the material's scenes; the cast changes some wordings and some emotions."""
    slots = _draw_slots(rng)
    turns = []
    partner = "neu"
    for line in scene:
        ((cue, template),) = line.items()
        role, label = cue.split()
        if rng.random() < REINTERPRETED:
            label = _draw(MOODS[_draw(MOODS[partner]["answers"], rng)]["labels"], rng)
        turns.append(_rate_turn(role, label, fill_template(template, slots, rng), rng))
        partner = find_mood(label)
    return turns


def find_mood(label: str) -> str:
    """Return the mood that has this label most often."""
    return max(MOODS, key=lambda mood: MOODS[mood]["labels"].get(label, 0))


def fill_template(template: str, slots: Mapping[str, str], rng: random.Random) -> str:
    """Replace each ``<name>`` by its slot, then each ``(a|b)`` by one of its choices."""
    filled = re.sub(r"<(\w+)>", lambda slot: slots[slot[1]], template)
    return re.sub(r"\(([^()]*)\)", lambda choice: rng.choice(choice[1].split("|")), filled)


def _draw_next_mood(own: str, partner: str, suggested: Mapping[str, float], rng: random.Random) -> str:
    answers, total = MOODS[partner]["answers"], sum(suggested.values())
    weights = {
        mood: PERSISTENCE * (mood == own) + RESPONSE * answers[mood] + SUGGESTION * suggested[mood] / total
        for mood in MOODS
    }
    return _draw(weights, rng)


def _draw_line(mood: str, situation: Mapping[str, Any], used: set[str], rng: random.Random) -> str:
    """Draw a template for a turn in this mood that is not in ``used``, and add it there."""
    kind = rng.random()
    if kind < AMBIGUOUS:
        return _draw_unused(situation["facts"], MATERIAL["any_mood"], used, rng)
    if kind < AMBIGUOUS + IRONIC:
        return _draw_unused((), MOODS[MOODS[mood]["opposite"]]["lines"], used, rng)
    line = _draw_unused(situation["lines"][mood], MOODS[mood]["lines"], used, rng)
    exclamations = [words for words in MOODS[mood]["exclamations"] if words not in used]
    if not exclamations or rng.random() > EXCLAMATORY:
        return line
    exclamation = rng.choice(exclamations)
    used.add(exclamation)
    return f"{exclamation} {line}"


def _draw_unused(own: Sequence[str], general: Sequence[str], used: set[str], rng: random.Random) -> str:
    """Draw one of the situation's own lines or a general one; a conversation never uses up the general ones."""
    lines = [line for line in own if line not in used]
    if not lines or rng.random() > SITUATIONAL:
        lines = [line for line in general if line not in used]
    line = rng.choice(lines)
    used.add(line)
    return line


def _rate_turn(role: str, label: str, words: str, rng: random.Random) -> Turn:
    if rng.random() < DISPUTED:
        return Turn(role, "xxx", _draw(MOODS[rng.choice(list(MOODS))]["labels"], rng), words)
    return Turn(role, label, label, words)


def _draw_slots(rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(values) for name, values in MATERIAL["slots"].items()}


def _draw(weights: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
