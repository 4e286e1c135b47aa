"""Compose a corpus in IEMOCAP's format from open corpora: real dialogues, voiced by real actors in the same emotion.

    .venv/bin/python benchmarks/dialogues/compose.py meld trees/meld
    .venv/bin/python benchmarks/dialogues/compose.py emorynlp trees/emorynlp
    .venv/bin/python benchmarks/dialogues/compose.py topical-chat trees/topical-chat
    .venv/bin/python benchmarks/dialogues/compose.py inertia trees/inertia
    .venv/bin/python benchmarks/dialogues/compose.py held-out trees/held-out
    .venv/bin/python benchmarks/dialogues/compose.py held-out-inertia trees/held-out-inertia

Words, order and emotions are the dialogues' own. Scenes of an episode of MELD or EmoryNLP are joined to dialogues of
30 to 80 turns; dialogues of Topical-Chat have 20. The characters of a scene take two sides, in the order in which they
appear. A woman and a man of the thirty voices (RAVDESS's actors 01-12, nEMO, EmoDB) speak each dialogue: three pairs a
session, and no voice in two sessions. So text and sound agree in emotion, not in words or language.

In IEMOCAP a speaker's emotion lasts over many turns, and its four classes are nearly equally frequent; none of the
dialogues above is like that. ``inertia`` therefore draws each side's emotions from a Markov chain, and a turn's words
from those of MELD and EmoryNLP with that emotion, none twice: its words are real and its sequences are not.

``held-out`` has dialogues of all three corpora that the other trees do not have, ``held-out-inertia`` has lines of
XED's subtitles, and both have other pairs of voices. A take occurs several times in a tree, by the same voice.
"""

import argparse
import csv
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import soundfile

from moodline.io import link_file

SESSIONS = 5
PAIRS = 3  # of voices, in a session
FEWEST_TURNS, MOST_TURNS = 30, 80
HELD_OUT = 50  # dialogues of each corpus
HELD_OUT_TREE = "held-out"
HELD_OUT_INERTIA = "held-out-inertia"
DIALOGUES = {
    "meld": 125,
    "emorynlp": 125,
    "topical-chat": 300,
    "inertia": 125,
    HELD_OUT_TREE: 150,
    HELD_OUT_INERTIA: 125,
}
GAP = (-0.2, 0.9)  # seconds between two turns
# Of the chains with inertia: the shares of the labels, close to IEMOCAP's; the probability that a side keeps its
# emotion for its next turn; and otherwise that it draws the dialogue's main emotion.
SHARES = {"ang": 0.2, "hap": 0.29, "sad": 0.2, "neu": 0.31}
KEEP, MAIN = 0.7, 0.5

# Emotions of the dialogues -> IEMOCAP's labels
MELD_LABELS = {
    "anger": "ang",
    "joy": "hap",
    "sadness": "sad",
    "neutral": "neu",
    "disgust": "dis",
    "fear": "fea",
    "surprise": "sur",
}
EMORYNLP_LABELS = {
    "Mad": "ang",
    "Joyful": "hap",
    "Sad": "sad",
    "Neutral": "neu",
    "Scared": "fea",
    "Peaceful": "oth",
    "Powerful": "oth",
}
# "Curious to dive deeper" labels plain questions and statements.
TOPICAL_CHAT_LABELS = {
    "Angry": "ang",
    "Happy": "hap",
    "Sad": "sad",
    "Neutral": "neu",
    "Curious to dive deeper": "neu",
    "Disgusted": "dis",
    "Fearful": "fea",
    "Surprised": "sur",
}
NAMES = {
    "ang": "Anger",
    "hap": "Happiness",
    "sad": "Sadness",
    "neu": "Neutral",
    "dis": "Disgust",
    "fea": "Fear",
    "sur": "Surprise",
    "oth": "Other",
}
XED_LABELS = {"1": "ang", "5": "hap", "6": "sad"}  # of lines with one emotion; the neutral ones have a file
# Emotions of the recordings -> IEMOCAP's labels
RAVDESS_LABELS = {"01": "neu", "03": "hap", "04": "sad", "05": "ang", "06": "fea", "07": "dis", "08": "sur"}
NEMO_LABELS = {
    "anger": "ang",
    "happiness": "hap",
    "sadness": "sad",
    "neutral": "neu",
    "fear": "fea",
    "surprised": "sur",
}
EMODB_LABELS = {"W": "ang", "F": "hap", "T": "sad", "N": "neu", "A": "fea", "E": "dis"}
EMODB_WOMEN = frozenset({"08", "09", "13", "14", "16"})
# What a voice speaks where it has no take of a label: the classes that recipes read exist for all.
SUBSTITUTES = {"sur": "fea", "dis": "fea", "oth": "neu", "fea": "ang"}


class Turn(NamedTuple):
    """A turn of one of two sides (0 or 1)."""

    side: int
    label: str
    words: str


class Voice(NamedTuple):
    """The recordings of an actor by label."""

    name: str
    is_woman: bool
    takes: dict[str, list[Path]]

    def find_takes(self, label: str) -> list[Path]:
        while label not in self.takes:
            label = SUBSTITUTES[label]
        return self.takes[label]


Dialogue = list[Turn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", choices=list(DIALOGUES))
    parser.add_argument("output", type=Path, help="folder to write, which does not exist yet")
    parser.add_argument(
        "--corpora", type=Path, default=Path(os.environ.get("MOODLINE_SHARED", "../shared")) / "corpora"
    )
    options = parser.parse_args()
    if options.output.exists():
        raise SystemExit(f"{options.output} exists: choose another folder, or remove it")
    if not options.corpora.is_dir():
        raise SystemExit(
            f"{options.corpora} is not a folder: --corpora names the one with meld, ravdess and the others"
        )
    generator = random.Random(options.tree)
    dialogues = select_dialogues(options.tree, options.corpora)
    generator.shuffle(dialogues)
    pairs = cast_voices(read_voices(options.corpora), generator)
    partial = options.output.with_name(f"{options.output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for index, dialogue in enumerate(dialogues[: DIALOGUES[options.tree]]):
        session, number = index % SESSIONS + 1, index // SESSIONS
        name = f"Ses{session:02d}{'FM'[number % 2]}_impro{number + 1:02d}"
        women_first = generator.random() < 0.5
        pair = pairs[session - 1][number % PAIRS]
        voices = pair if women_first else pair[::-1]
        write_dialogue(partial / f"Session{session}", name, dialogue, voices, Takes(partial / "takes"), generator)
    shutil.rmtree(partial / "takes")
    partial.rename(options.output)


def select_dialogues(tree: str, corpora: Path) -> list[Dialogue]:
    """Select a tree's dialogues: those of one corpus without its last, or the last of all; or compose them."""
    if tree == "inertia":
        dialogues = select_dialogues("meld", corpora) + select_dialogues("emorynlp", corpora)
        return list(compose_with_inertia(chain.from_iterable(dialogues)))
    if tree == HELD_OUT_INERTIA:
        return list(compose_with_inertia(read_xed(corpora)))
    readers: dict[str, Callable[[Path], Iterable[Dialogue]]] = {
        "meld": read_meld,
        "emorynlp": read_emorynlp,
        "topical-chat": read_topical_chat,
    }
    selected: list[Dialogue] = []
    for name, read in readers.items():
        if tree in (name, HELD_OUT_TREE):
            found = list(read(corpora))
            random.Random(name).shuffle(found)
            selected += found[-HELD_OUT:] if tree == HELD_OUT_TREE else found[:-HELD_OUT]
    return selected


def read_rows(folder: Path, pattern: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in sorted(folder.glob(pattern)):
        with path.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    if not rows:
        raise SystemExit(f"{folder} has no {pattern}: --corpora names another folder")
    return rows


def read_meld(corpora: Path) -> Iterator[Dialogue]:
    """Join MELD's scenes, whose ids are unique within a published set."""
    rows: list[dict[str, str]] = []
    for split in ("train", "dev", "test"):
        for row in read_rows(corpora / "meld", f"{split}_sent_emo.csv"):
            rows.append(row | {"scene": f"{split} {row['Dialogue_ID']}"})
    # A scene is where its first turn is; some turns have wrong times.
    starts: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: int(row["Utterance_ID"])):
        starts.setdefault(row["scene"], row["StartTime"])
    rows.sort(key=lambda row: (*get_episode(row), starts[row["scene"]], row["scene"], int(row["Utterance_ID"])))
    yield from join_scenes(rows, lambda row: row["scene"], MELD_LABELS)


def read_emorynlp(corpora: Path) -> Iterator[Dialogue]:
    rows = read_rows(corpora / "emorynlp", "*.csv")
    rows.sort(key=lambda row: (*get_episode(row), int(row["Scene_ID"]), int(row["Utterance_ID"])))
    yield from join_scenes(rows, lambda row: row["Scene_ID"], EMORYNLP_LABELS)


def read_topical_chat(corpora: Path) -> Iterator[Dialogue]:
    """Read Topical-Chat's dialogues with an angry or a sad turn first: few have one."""
    rows = read_rows(corpora / "topical_chat", "turns.csv")
    for _, turns in groupby(rows, key=lambda row: row["conversation"]):
        dialogue = take_sides(list(turns), TOPICAL_CHAT_LABELS, words="text", speaker="speaker", emotion="emotion")
        if any(turn.label in ("ang", "sad") for turn in dialogue):
            yield dialogue


def read_xed(corpora: Path) -> Iterator[Turn]:
    """Read XED's subtitle lines of the four labels, as turns of side 0."""
    for name, labels in (("en-annotated.tsv", XED_LABELS), ("neu_en.txt", {})):
        for line in (corpora / "xed" / name).read_text(encoding="utf-8").splitlines():
            first, second = line.split("\t", 1) if not labels else line.rsplit("\t", 1)
            words, label = (first, labels.get(second)) if labels else (second, "neu")
            if label is not None and words.strip():
                yield Turn(0, label, " ".join(words.split()))


def compose_with_inertia(known: Iterable[Turn]) -> Iterator[Dialogue]:
    """Compose dialogues of turns whose words are those of known turns, until the words of a label are used up."""
    generator = random.Random(0)
    words: dict[str, list[str]] = {label: [] for label in SHARES}
    for label, text in sorted({(turn.label, turn.words) for turn in known if turn.label in SHARES}):
        words[label].append(text)
    for texts in words.values():
        generator.shuffle(texts)

    def draw_label() -> str:
        return generator.choices(list(SHARES), list(SHARES.values()))[0]

    while all(len(texts) >= MOST_TURNS for texts in words.values()):
        main, dialogue, side = draw_label(), list[Turn](), 0
        labels = [main, main if generator.random() < MAIN else draw_label()]
        for _ in range(generator.randint(FEWEST_TURNS, MOST_TURNS)):
            if generator.random() >= KEEP:
                labels[side] = main if generator.random() < MAIN else draw_label()
            dialogue.append(Turn(side, labels[side], words[labels[side]].pop()))
            side = 1 - side if generator.random() < 0.9 else side
        yield dialogue


def get_episode(row: dict[str, str]) -> tuple[int, int]:
    return int(row["Season"]), int(row["Episode"])


def join_scenes(
    rows: Sequence[dict[str, str]], get_scene: Callable[[dict[str, str]], str], labels: dict[str, str]
) -> Iterator[Dialogue]:
    """Join an episode's consecutive scenes until a dialogue has as many turns as were drawn for it."""
    generator = random.Random(0)
    for _, episode in groupby(rows, key=get_episode):
        dialogue: Dialogue = []
        enough = generator.randint(FEWEST_TURNS, MOST_TURNS)
        for _, scene in groupby(episode, key=get_scene):
            dialogue += take_sides(list(scene), labels, words="Utterance", speaker="Speaker", emotion="Emotion")
            if len(dialogue) >= enough:
                yield dialogue[:MOST_TURNS]
                dialogue = []
                enough = generator.randint(FEWEST_TURNS, MOST_TURNS)
        if len(dialogue) >= FEWEST_TURNS:
            yield dialogue


def take_sides(
    rows: Sequence[dict[str, str]], labels: dict[str, str], *, words: str, speaker: str, emotion: str
) -> Dialogue:
    """Give each of a scene's characters one of two sides, in the order in which they appear."""
    characters = list(dict.fromkeys(row[speaker] for row in rows))
    return [
        Turn(characters.index(row[speaker]) % 2, labels[row[emotion]], " ".join(row[words].split()))
        for row in rows
        if row[words].strip()
    ]


def read_voices(corpora: Path) -> list[Voice]:
    """Read the voices in one order: RAVDESS's, nEMO's, EmoDB's."""
    takes: dict[tuple[str, bool], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for folder in ("ravdess", "ravdess_more"):
        for path in sorted((corpora / folder).glob("*.flac")):
            _, _, emotion, *_, actor = path.stem.split("-")
            if emotion in RAVDESS_LABELS:
                takes[f"ravdess {actor}", int(actor) % 2 == 0][RAVDESS_LABELS[emotion]].append(path)
    women = {row["speaker"] for row in read_nemo(corpora) if row["gender"] == "female"}
    for path in sorted((corpora / "nemo").glob("*.flac")):
        speaker, emotion, _ = path.stem.split("_")
        takes[f"nemo {speaker}", speaker in women][NEMO_LABELS[emotion]].append(path)
    for path in sorted((corpora / "emodb").glob("*.flac")):
        speaker, letter = path.stem[:2], path.stem[5]
        if letter in EMODB_LABELS:
            takes[f"emodb {speaker}", speaker in EMODB_WOMEN][EMODB_LABELS[letter]].append(path)
    return [Voice(name, is_woman, dict(found)) for (name, is_woman), found in takes.items()]


def read_nemo(corpora: Path) -> list[dict[str, str]]:
    with (corpora / "nemo" / "data.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def cast_voices(voices: Sequence[Voice], generator: random.Random) -> list[list[tuple[Voice, Voice]]]:
    """Cast pairs of a woman and a man by session; a session's voices come from all corpora.

    The voices of a corpus are dealt to the sessions in turn.
    """
    dealt: list[list[Voice]] = []
    for is_woman in (True, False):
        chosen = [voice for voice in voices if voice.is_woman is is_woman]
        by_corpus = [list(group) for _, group in groupby(chosen, key=lambda voice: voice.name.split()[0])]
        for group in by_corpus:
            generator.shuffle(group)
        dealt.append([voice for group in by_corpus for voice in group][: SESSIONS * PAIRS])
    women, men = dealt
    return [list(zip(women[session::SESSIONS], men[session::SESSIONS], strict=True)) for session in range(SESSIONS)]


class Takes(NamedTuple):
    """Converts takes to WAV files, each once; turns share the file by hard links."""

    folder: Path

    def copy(self, take: Path, destination: Path) -> float:
        """Write a take to a file; return its seconds."""
        converted = self.folder / f"{take.stem}.wav"
        if not converted.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            samples, rate = soundfile.read(take, dtype="int16")
            soundfile.write(converted, samples, rate, subtype="PCM_16")
        link_file(converted, destination)
        return soundfile.info(destination).duration


def write_dialogue(
    session: Path, name: str, dialogue: Dialogue, voices: Sequence[Voice], takes: Takes, generator: random.Random
) -> None:
    """Write a dialogue as IEMOCAP has it: its recordings, its evaluation and its transcription."""
    audio = session / "sentences" / "wav" / name
    audio.mkdir(parents=True)
    evaluations: list[str] = []
    transcriptions: list[str] = []
    clock, counts = 0.5, [0, 0]
    for side, label, words in dialogue:
        voice = voices[side]
        turn = f"{name}_{'F' if voice.is_woman else 'M'}{counts[side]:03d}"
        counts[side] += 1
        seconds = takes.copy(generator.choice(voice.find_takes(label)), audio / f"{turn}.wav")
        times = f"{clock:.4f} - {clock + seconds:.4f}"
        evaluations.append(f"[{times}]\t{turn}\t{label}\t[3.0000, 3.0000, 3.0000]\nC-E1:\t{NAMES[label]};\t()\n")
        transcriptions.append(f"{turn} [{clock:08.4f}-{clock + seconds:08.4f}]: {words}\n")
        clock += seconds + generator.uniform(*GAP)
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    for kind, content in (
        ("EmoEvaluation", header + "\n".join(evaluations)),
        ("transcriptions", "".join(transcriptions)),
    ):
        folder = session / "dialog" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
