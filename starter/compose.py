"""Compose the starter's corpus: real dialogues and single lines, voiced by real actors in the same emotion.

Words, order and emotions are the dialogues' own: scenes of MELD and EmoryNLP, joined to 30 to 80 turns, and
Topical-Chat. Half of them are cut into pieces of any length, because recordings have any length. Lines of XED and
GoEmotions are conversations of one turn. Two voices of one speech corpus speak each conversation, so text and sound
agree in emotion, not in words. All voices of a corpus speak with each other, so cross-fitting leaves out whole speech
corpora: contexts and fusion learn from embeddings of voices that are as strange to the encoder as a user's are. A take
is read as it was recorded, or in one of two variants of ``augment``.

Voices and conversations of the validation set trained nothing. ``without`` leaves out a corpus of dialogues and a
corpus of voices, which then are the test set: those dialogues, spoken by those voices, as they were recorded. Without
it, half of the validation set is the test set.
"""

import csv
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from benchmarks.dialogues.compose import (
    Dialogue,
    Turn,
    Voice,
    read_emorynlp,
    read_meld,
    read_topical_chat,
    read_voices,
    read_xed,
)
from moodline.io import hash_json, open_atomic_file
from starter.augment import RATE, vary

DIALOGUES = {"meld": read_meld, "emorynlp": read_emorynlp, "topical-chat": read_topical_chat}
VOICES = ("ravdess", "nemo", "emodb")
LINES_PER_LABEL = {"xed": 2_000, "goemotions": 3_000}
GOEMOTIONS_LABELS = {"anger": "ang", "joy": "hap", "sadness": "sad", "neutral": "neu"}
VALIDATION_SHARE = 0.1  # of the conversations of each corpus
PIECES_SHARE = 0.5  # of the dialogues that are cut into pieces
PIECE_TURNS = (2, 15)
RECOGNISED_SHARE = 0.15  # of the conversations whose words are written as recognisers write them
LOST_WORDS = 0.08  # of these
VARIANTS = 2  # of a take
TEST_DIALOGUES = 120
TRAIN, VALIDATION, TEST = "train", "validation", "test"
COLUMNS = ("conversation", "speaker", "words", "audio", "label", "split", "part")


class LeftOut(NamedTuple):
    """A corpus of dialogues and a corpus of voices that train nothing and are the test set."""

    dialogues: str
    voices: str

    def __str__(self) -> str:
        return f"without-{self.dialogues}-{self.voices}"


def compose(table: Path, takes: Mapping[Path, Sequence[Path]], corpora: Path, without: LeftOut | None = None) -> None:
    """Write the table of a corpus; ``takes`` has the files of each take, the one without changes first."""
    generator = random.Random(f"starter {without}")
    voices = read_voices(corpora)
    validating = draw_validation_voices(voices)
    with open_atomic_file(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for name, number, split, dialogue in list_conversations(corpora, without, generator):
            is_test = without is not None and split == TEST
            if is_test:
                cast = [one for one in voices if get_corpus(one) == without.voices]
            else:
                known = [one for one in voices if without is None or get_corpus(one) != without.voices]
                corpus = generator.choice(sorted({get_corpus(one) for one in known}))
                own = [one for one in known if get_corpus(one) == corpus]
                cast = [one for one in own if (one.name in validating) == (split != TRAIN)]
            pair = generator.sample(cast, 2)
            if not is_test and generator.random() < RECOGNISED_SHARE:
                dialogue = [turn._replace(words=recognise(turn.words, generator)) for turn in dialogue]
            for side, label, words in dialogue:
                files = takes[generator.choice(pair[side].find_takes(label))]
                writer.writerow(
                    {
                        "conversation": f"{name}_{number:05d}",
                        "speaker": pair[side].name,
                        "words": words,
                        "audio": files[0] if is_test else generator.choice(files),
                        "label": label,
                        "split": split,
                        "part": name,
                    }
                )


def get_corpus(voice: Voice) -> str:
    return voice.name.split()[0]


def draw_validation_voices(voices: Sequence[Voice]) -> frozenset[str]:
    """Draw a woman and a man of each speech corpus."""
    generator = random.Random("validation")
    return frozenset(
        generator.choice([one.name for one in voices if get_corpus(one) == corpus and one.is_woman is is_woman])
        for corpus in VOICES
        for is_woman in (True, False)
    )


def list_conversations(
    corpora: Path, without: LeftOut | None, generator: random.Random
) -> Iterator[tuple[str, int, str, Dialogue]]:
    """List conversations in their order: the corpus, a number, the split and the turns."""
    for name, read in DIALOGUES.items():
        dialogues = list(read(corpora))
        random.Random(name).shuffle(dialogues)
        if without is not None and name == without.dialogues:
            yield from ((name, number, TEST, one) for number, one in enumerate(dialogues[:TEST_DIALOGUES]))
            continue
        validating = round(VALIDATION_SHARE * len(dialogues))
        number = 0
        for index, dialogue in enumerate(dialogues):
            split = choose_split(index, validating, without)
            pieces = cut(dialogue, generator) if generator.random() < PIECES_SHARE else [dialogue]
            for piece in pieces:
                yield name, number, split, piece
                number += 1
    for name, lines in (("xed", read_xed(corpora)), ("goemotions", read_goemotions(corpora))):
        chosen = choose_lines(lines, LINES_PER_LABEL[name])
        validating = round(VALIDATION_SHARE * len(chosen))
        for number, line in enumerate(chosen):
            yield name, number, choose_split(number, validating, without), [line]


def choose_split(place: int, validating: int, without: LeftOut | None) -> str:
    """Choose a conversation's split by its place; where nothing is left out, every other validating one tests."""
    if place >= validating:
        return TRAIN
    return TEST if without is None and place % 2 else VALIDATION


def cut(dialogue: Dialogue, generator: random.Random) -> Iterator[Dialogue]:
    """Cut a dialogue into pieces of any length."""
    start = 0
    while start < len(dialogue):
        length = generator.randint(*PIECE_TURNS)
        yield dialogue[start : start + length]
        start += length


def choose_lines(lines: Iterable[Turn], most: int) -> list[Turn]:
    """Choose at most so many different lines of each label, in random order."""
    by_label: dict[str, list[Turn]] = {}
    for line in sorted(set(lines)):
        by_label.setdefault(line.label, []).append(line)
    generator = random.Random("lines")
    chosen = [line for some in by_label.values() for line in generator.sample(some, min(most, len(some)))]
    generator.shuffle(chosen)
    return chosen


def read_goemotions(corpora: Path) -> Iterator[Turn]:
    """Read GoEmotions' comments that have one label, of the four classes, as turns of side 0."""
    folder = corpora / "goemotions"
    names = (folder / "labels.txt").read_text(encoding="utf-8").split()
    for split in ("train", "dev", "test"):
        for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines():
            words, numbers, _ = line.rsplit("\t", 2)
            label = GOEMOTIONS_LABELS.get(names[int(numbers)]) if numbers.isdigit() else None
            if label is not None and words.strip():
                yield Turn(0, label, " ".join(words.split()))


def recognise(words: str, generator: random.Random) -> str:
    """Write words as a recogniser without punctuation does, with words lost; at least one remains."""
    plain = re.sub(r"[^\w' ]", " ", words.lower()).split()
    kept = [word for word in plain if generator.random() >= LOST_WORDS]
    return " ".join(kept or plain[:1]) or words


def write_takes(folder: Path, corpora: Path) -> dict[Path, Sequence[Path]]:
    """Write each take's recording and its variants as WAV files, those that are missing -> the files by take."""
    voices = read_voices(corpora)
    by_voice = {voice.name: [path for some in voice.takes.values() for path in some] for voice in voices}
    found: dict[Path, Sequence[Path]] = {}
    for voice in voices:
        others = [path for name, paths in by_voice.items() if name != voice.name for path in paths]
        for take in by_voice[voice.name]:
            files = [folder / get_corpus(voice) / f"{take.stem}.{number}.wav" for number in range(VARIANTS + 1)]
            found[take] = files
            if all(file.is_file() for file in files):
                continue
            samples = read_take(take)
            for number, file in enumerate(files):
                generator = np.random.default_rng(int(hash_json([take.name, number])[:15], 16))
                if number:
                    babble = [read_take(others[place]) for place in generator.integers(len(others), size=4)]
                with open_atomic_file(file) as temporary:
                    changed = vary(samples, babble, generator) if number else samples
                    soundfile.write(temporary, changed, RATE, format="WAV", subtype="PCM_16")
    return found


def read_take(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        raise SystemExit(f"{path} has {rate} Hz, and the corpora have {RATE} Hz")
    return samples
