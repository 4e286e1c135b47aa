"""The demo corpus: ten synthetic voices in conversation, in the folders, names and formats of IEMOCAP.

Emotion shows in the words, in the voice and in the course of the conversation, in none of them reliably. The corpus
replaces a licensed one in a first run or a test; results on it do not carry over to people. IEMOCAP's formats follow
its release notes and Busso et al. (2008).
"""

import math
import random
from pathlib import Path

import numpy as np
import soundfile

from moodline.corpora.synthetic.dialogue import MATERIAL, Turn, improvise, perform
from moodline.corpora.tts import SAMPLE_RATE, Delivery, Speaker, Synthesizer
from moodline.errors import MoodlineError
from moodline.io import open_atomic_folder, read_json, write_json

ORIGIN_FILE = "demo.json"  # in the tree: the arguments that it was generated with
FLAT = 0.32  # share of turns whose voice sounds neutral, whatever is felt
LEAD_IN, LEAD_OUT = 0.12, 0.18  # seconds of silence around the speech of a turn

CAST = [{role: Speaker(**voice) for role, voice in pair.items()} for pair in MATERIAL["cast"]]
DELIVERIES = {label: Delivery(**delivery) for label, delivery in MATERIAL["deliveries"].items()}
SITUATIONS, SCENES = list(MATERIAL["situations"].values()), list(MATERIAL["scenes"].items())

_TAKES = " bcdefghijklmnopqrstuvwxyz"  # a scene that is performed again has a letter after its name, as in IEMOCAP
_MOST = 2 * len(SCENES) * len("FM") * len(_TAKES)  # conversations that a session has names for


def generate(out: Path, *, conversations_per_session: int = 8, seed: int = 0) -> None:
    """Write the demo corpus, an IEMOCAP tree of ``Session1`` to ``Session5``, unless ``out`` is that tree already.

    Every other conversation is improvised. One seed gives one tree, byte for byte; more conversations leave the first
    ones unchanged. ORIGIN_FILE beside the sessions keeps the arguments.

    Raises:
        MoodlineError: the number is out of range, or ``out`` is anything else
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
    """Compose a session's conversation and name it; improvised and scripted ones alternate.

    The letter after the session's number is the role that wears IEMOCAP's motion capture markers.
    """
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
