"""The tree on disk: IEMOCAP's folders, names and formats (its release notes; Busso et al. 2008)."""

import random
from pathlib import Path

import numpy as np
import soundfile

from moodline.corpora.demo.cast import CASTS
from moodline.corpora.demo.delivery import deliver
from moodline.corpora.demo.dialogue import Turn, improvise, perform
from moodline.corpora.demo.plays import SCENES
from moodline.corpora.demo.situations import SITUATIONS
from moodline.corpora.demo.voice import SAMPLE_RATE, Synthesizer
from moodline.errors import MoodlineError
from moodline.files import atomic_folder, read_json, write_json

ORIGIN_FILE = "demo.json"  # in the tree: what it was generated with

_TAKES = " bcdefghijklmnopqrstuvwxyz"  # a scene that is played again has a letter to its name, as in IEMOCAP
_MOST = 2 * len(SCENES) * len("FM") * len(_TAKES)  # conversations a session has names for

LEAD_IN, LEAD_OUT = 0.12, 0.18  # seconds of silence around the speech of a turn

_RATERS = {"ang": "Anger", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "neu": "Neutral",
           "fru": "Frustration", "sur": "Surprise"}  # fmt: skip
_DIMENSIONS = {"ang": (2, 4, 4), "hap": (4, 3, 3), "exc": (5, 4, 4), "sad": (2, 2, 2), "neu": (3, 2, 3),
               "fru": (2, 3, 3), "sur": (3, 4, 3)}  # valence, activation, dominance, 1 to 5  # fmt: skip


def generate(out: Path, *, conversations_per_session: int = 8, seed: int = 0) -> None:
    """Write the demo corpus, an IEMOCAP tree of ``Session1`` to ``Session5``, to ``out``, which must not exist.

    ORIGIN_FILE beside the sessions says with what it was generated. Every other conversation is improvised. One seed
    gives one tree, byte by byte, and its first conversations are the same however many follow. Raises MoodlineError
    where ``out`` exists or the number is out of range.
    """
    out = Path(out)
    if out.exists():
        raise MoodlineError(f"the demo corpus goes to a new folder: {out} exists; remove it or name another")
    if not 1 <= conversations_per_session <= _MOST:
        raise MoodlineError(
            f"a session of the demo corpus has 1 to {_MOST} conversations: {conversations_per_session} are asked for"
        )
    with atomic_folder(out) as unfinished, Synthesizer() as synthesizer:
        for session in range(len(CASTS)):
            for index in range(conversations_per_session):
                _write_conversation(unfinished, session, index, seed, synthesizer)
        write_json(unfinished / ORIGIN_FILE, _origin(conversations_per_session, seed))


def generate_once(out: Path, *, conversations_per_session: int, seed: int) -> None:
    """``generate``, unless ``out`` is that tree already. Raises MoodlineError where it is another."""
    if not out.exists():
        generate(out, conversations_per_session=conversations_per_session, seed=seed)
        return
    found = read_json(out / ORIGIN_FILE, "tree of the demo corpus")
    if found != _origin(conversations_per_session, seed):
        raise MoodlineError(
            f"{out} is not the demo corpus of --conversations {conversations_per_session} and --seed {seed}: its "
            f"{ORIGIN_FILE} says {found}; remove that folder, or choose another -o"
        )


def _origin(conversations_per_session: int, seed: int) -> dict[str, int]:
    return {"conversations_per_session": conversations_per_session, "seed": seed}


def _write_conversation(root: Path, session: int, index: int, seed: int, synthesizer: Synthesizer) -> None:
    rng = random.Random(f"{seed} {session} {index}")
    name, turns = _stage(session, index, seed, rng)
    folder = root / f"Session{session + 1}"
    for part in ("dialog/EmoEvaluation", "dialog/transcriptions", f"sentences/wav/{name}"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    evaluations, transcriptions = [], []
    counts = {"F": 0, "M": 0}
    end = rng.uniform(0.5, 3.0)
    for turn in turns:
        turn_name = f"{name}_{turn.role}{counts[turn.role]:03d}"
        counts[turn.role] += 1
        delivery = deliver(turn.heard, rng)
        speech = _framed(synthesizer.speak(turn.words, CASTS[session][turn.role], delivery))
        soundfile.write(folder / f"sentences/wav/{name}/{turn_name}.wav", speech, SAMPLE_RATE, subtype="PCM_16")
        start = end + rng.uniform(0.05, 0.5) + 8 * delivery.pause  # who halts between words halts before them too
        end = start + len(speech) / SAMPLE_RATE
        evaluations.append(_evaluation(turn_name, turn, start, end, rng))
        transcriptions.append(f"{turn_name} [{start:08.4f}-{end:08.4f}]: {turn.words}\n")
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    _write_lines(folder / f"dialog/EmoEvaluation/{name}.txt", header + "\n".join(evaluations))
    _write_lines(folder / f"dialog/transcriptions/{name}.txt", "".join(transcriptions))


def _stage(session: int, index: int, seed: int, rng: random.Random) -> tuple[str, list[Turn]]:
    """The name and the turns of a session's conversation: improvised and scripted ones alternate.

    The letter after the session's number tells who of the two wears IEMOCAP's motion capture markers.
    """
    pair, scripted = divmod(index, 2)
    if scripted:
        times_played = pair // len(SCENES)
        scene, lines = SCENES[(pair + session) % len(SCENES)]  # so no two sessions play the same selection
        name = f"Ses{session + 1:02d}{'FM'[(pair + times_played) % 2]}_{scene}{_TAKES[times_played // 2].strip()}"
        return name, perform(lines, rng)
    order = list(SITUATIONS)
    random.Random(f"{seed} {session}").shuffle(order)
    name = f"Ses{session + 1:02d}{'FM'[pair % 2]}_impro{pair // 2 + 1:02d}"
    return name, improvise(order[pair % len(order)], rng)


def _framed(speech: np.ndarray) -> np.ndarray:
    """With the silence around it that a cut turn has: (T,) -> (T',)."""
    return np.pad(speech, (round(LEAD_IN * SAMPLE_RATE), round(LEAD_OUT * SAMPLE_RATE)))


def _evaluation(turn_name: str, turn: Turn, start: float, end: float, rng: random.Random) -> str:
    """A turn's block in EmoEvaluation: the majority's label, three raters' categories, two raters' dimensions."""
    if turn.label == "xxx":
        categories = rng.sample(sorted(_RATERS.values()), 3)
    else:
        dissenter = rng.choice([_RATERS[turn.label], *sorted(_RATERS.values())])
        categories = [_RATERS[turn.label], _RATERS[turn.label], dissenter]
        rng.shuffle(categories)
    ratings = [[min(5, max(1, mean + rng.choice((-1, 0, 0, 1)))) for mean in _DIMENSIONS[turn.heard]] for _ in range(2)]
    valence, activation, dominance = (sum(column) / len(ratings) for column in zip(*ratings, strict=True))
    lines = [
        f"[{start:.4f} - {end:.4f}]\t{turn_name}\t{turn.label}\t[{valence:.4f}, {activation:.4f}, {dominance:.4f}]",
        *(f"C-E{rater}:\t{category};\t()" for rater, category in enumerate(categories, start=2)),
        *(f"A-E{rater}:\tval {v}; act {a}; dom  {d};\t()" for rater, (v, a, d) in enumerate(ratings, start=3)),
    ]
    return "".join(f"{line}\n" for line in lines)


def _write_lines(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")  # the same bytes on every system
