"""The demo corpus: ten synthetic voices in conversation, in the folders, names and formats of IEMOCAP.

Emotion shows in words, voice and course of the conversation, in none of them reliably. A mood is what a speaker feels;
a label is the category that IEMOCAP's raters give it (``exc`` is one label of the mood ``hap``).
"""

import math
import random
import re
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from moodline.corpora.tts import SAMPLE_RATE, Delivery, Speaker, Synthesizer
from moodline.errors import MoodlineError
from moodline.io import open_atomic_folder, read_json, read_yaml, write_json

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

ORIGIN_FILE = "demo.json"  # in the tree: the arguments that it was generated with
FLAT = 0.32  # share of turns whose voice sounds neutral, whatever is felt
LEAD_IN, LEAD_OUT = 0.12, 0.18  # seconds of silence around the speech of a turn

CAST = [{role: Speaker(**voice) for role, voice in pair.items()} for pair in MATERIAL["cast"]]
DELIVERIES = {label: Delivery(**delivery) for label, delivery in MATERIAL["deliveries"].items()}
SITUATIONS, SCENES = list(MATERIAL["situations"].values()), list(MATERIAL["scenes"].items())

_TAKES = " bcdefghijklmnopqrstuvwxyz"  # a scene that is performed again has a letter after its name, as in IEMOCAP
_MOST = 2 * len(SCENES) * len("FM") * len(_TAKES)  # conversations that a session has names for


class Turn(NamedTuple):
    role: str  # F or M
    label: str  # the raters' majority
    felt: str  # the label that the voice expresses
    words: str


def generate(out: Path, *, conversations_per_session: int = 8, seed: int = 0) -> None:
    """Write the demo corpus, an IEMOCAP tree of ``Session1`` to ``Session5``, unless ``out`` is that tree already.

    One seed gives one tree, byte for byte; more conversations leave the first ones unchanged.
    """
    if not 1 <= conversations_per_session <= _MOST:
        raise MoodlineError(
            f"{conversations_per_session} conversations per session are out of range: the demo corpus has 1 to {_MOST}",
            code="option.out_of_range",
        )
    origin = {"conversations_per_session": conversations_per_session, "seed": seed}
    if out.exists():
        found = read_json(out / ORIGIN_FILE, "tree of the demo corpus")
        if found != origin:
            raise MoodlineError(
                f"{out} is not the demo corpus of --conversations {conversations_per_session} and --seed {seed}: its "
                f"{ORIGIN_FILE} has {found}; remove that folder, or choose another -o",
                code="corpus.out_occupied",
            )
        return
    with open_atomic_folder(out) as unfinished, Synthesizer() as synthesizer:
        for session in range(len(CAST)):
            for index in range(conversations_per_session):
                _write_conversation(unfinished, session, index, seed, synthesizer)
        write_json(unfinished / ORIGIN_FILE, origin)


def draw_delivery(label: str, rng: random.Random) -> Delivery:
    """Draw one turn's delivery around that of its label or, in the share FLAT of turns, around the neutral one."""
    mean = DELIVERIES["neu" if rng.random() < FLAT else label]
    return Delivery(
        rate=mean.rate * math.exp(rng.gauss(0, 0.07)),
        pitch=mean.pitch + rng.gauss(0, 1.2),
        range=mean.range * math.exp(rng.gauss(0, 0.15)),
        loudness=mean.loudness + rng.gauss(0, 2.0),
        pause=max(0.0, mean.pause + rng.gauss(0, 0.015)),
    )


def _write_conversation(root: Path, session: int, index: int, seed: int, synthesizer: Synthesizer) -> None:
    rng = random.Random(f"{seed} {session} {index}")
    name, turns = _compose_conversation(session, index, seed, rng)
    folder = root / f"Session{session + 1}"
    for part in ("dialog/EmoEvaluation", "dialog/transcriptions", f"sentences/wav/{name}"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    evaluations, transcriptions = [], []
    counts = {"F": 0, "M": 0}
    end = rng.uniform(0.5, 3.0)
    for turn in turns:
        turn_name = f"{name}_{turn.role}{counts[turn.role]:03d}"
        counts[turn.role] += 1
        delivery = draw_delivery(turn.felt, rng)
        speech = synthesizer.speak(turn.words, CAST[session][turn.role], delivery)  # (T,)
        samples = np.pad(speech, (round(LEAD_IN * SAMPLE_RATE), round(LEAD_OUT * SAMPLE_RATE)))  # (T',)
        soundfile.write(folder / f"sentences/wav/{name}/{turn_name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
        start = end + rng.uniform(0.05, 0.5) + 8 * delivery.pause  # a halting speaker also begins late
        end = start + len(samples) / SAMPLE_RATE
        evaluations.append(_format_evaluation(turn_name, turn, start, end, rng))
        transcriptions.append(f"{turn_name} [{start:08.4f}-{end:08.4f}]: {turn.words}\n")
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    for part, text in (("EmoEvaluation", header + "\n".join(evaluations)), ("transcriptions", "".join(transcriptions))):
        (folder / f"dialog/{part}/{name}.txt").write_text(text, encoding="utf-8", newline="\n")  # on every system


def _compose_conversation(session: int, index: int, seed: int, rng: random.Random) -> tuple[str, list[Turn]]:
    """Compose a session's conversation and name it as IEMOCAP does; improvised and scripted ones alternate."""
    pair, scripted = divmod(index, 2)
    if scripted:
        times_played = pair // len(SCENES)
        scene, lines = SCENES[(pair + session) % len(SCENES)]  # no two sessions play the same selection
        name = f"Ses{session + 1:02d}{'FM'[(pair + times_played) % 2]}_{scene}{_TAKES[times_played // 2].strip()}"
        return name, perform(lines, rng)
    order = list(SITUATIONS)
    random.Random(f"{seed} {session}").shuffle(order)
    name = f"Ses{session + 1:02d}{'FM'[pair % 2]}_impro{pair // 2 + 1:02d}"
    return name, improvise(order[pair % len(order)], rng)


def _format_evaluation(turn_name: str, turn: Turn, start: float, end: float, rng: random.Random) -> str:
    """Format a turn's block of EmoEvaluation: majority label, three raters' categories, two raters' dimensions."""
    ratings = MATERIAL["ratings"]
    every_category = sorted(rating["category"] for rating in ratings.values())
    if turn.label == "xxx":
        categories = rng.sample(every_category, 3)
    else:
        majority = ratings[turn.label]["category"]
        categories = [majority, majority, rng.choice([majority, *every_category])]
        rng.shuffle(categories)
    means = ratings[turn.felt]["dimensions"]
    scores = [[min(5, max(1, mean + rng.choice((-1, 0, 0, 1)))) for mean in means] for _ in range(2)]
    valence, activation, dominance = (sum(column) / len(scores) for column in zip(*scores, strict=True))
    lines = [
        f"[{start:.4f} - {end:.4f}]\t{turn_name}\t{turn.label}\t[{valence:.4f}, {activation:.4f}, {dominance:.4f}]",
        *(f"C-E{rater}:\t{category};\t()" for rater, category in enumerate(categories, start=2)),
        *(f"A-E{rater}:\tval {v}; act {a}; dom  {d};\t()" for rater, (v, a, d) in enumerate(scores, start=3)),
    ]
    return "".join(f"{line}\n" for line in lines)


def improvise(situation: Mapping[str, Any], rng: random.Random) -> list[Turn]:
    """Compose ten to fourteen turns on one of the material's situations, without a repeated line."""
    slots = {name: rng.choice(values) for name, values in MATERIAL["slots"].items()}
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
    slots = {name: rng.choice(values) for name, values in MATERIAL["slots"].items()}
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


def _draw(weights: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
