"""Small IEMOCAP trees made of tones and stock sentences, and the means to break them.

A label shows in the words, in the pitch and in the level, so that a model can learn it from either modality.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000
WORDS = {
    "ang": ("I told you to stop that now.", "Get out of here, I hate this."),
    "hap": ("What a lovely day, I am so glad.", "That is wonderful news."),
    "exc": ("We won, we really won!", "I cannot wait to see it, hurray!"),
    "sad": ("I miss her so much.", "There is nothing left, I could cry."),
    "neu": ("The form is on the table.", "Take the second door on the left."),
    "fru": ("I have asked for this three times.", "Why does it never work?"),
    "xxx": ("Well, I do not know.", "Oh."),
}
PITCH = {"ang": 1.3, "hap": 1.5, "exc": 1.6, "sad": 0.8, "neu": 1.0, "fru": 1.2, "xxx": 1.0}  # of the speaker's own
LEVEL = {"ang": 0.6, "hap": 0.35, "exc": 0.4, "sad": 0.06, "neu": 0.15, "fru": 0.3, "xxx": 0.15}
SPEAKER_PITCH = {"F": 200.0, "M": 110.0}


def write_tree(root: Path, *, sessions: int = 5, conversations: int = 2, turns: int = 6, seed: int = 0) -> Path:
    """Write an IEMOCAP tree and return its folder; the same arguments give the same tree.

    Each session has a woman, a man and so many conversations of so many turns; improvised and scripted ones
    alternate. Six turns hold the four classes, a frustrated turn and one without a majority; happy turns are
    ``hap`` in one conversation and ``exc`` in the next.
    """
    for session in range(1, sessions + 1):
        for index in range(conversations):
            generator = np.random.default_rng((seed, session, index))
            joy = ("hap", "exc")[(session + index) % 2]
            write_conversation(root, conversation_name(session, index), turns, joy, generator)
    return root


def conversation_name(session: int, index: int) -> str:
    if index % 2 == 0:
        return f"Ses{session:02d}F_impro{index // 2 + 1:02d}"
    return f"Ses{session:02d}M_script01_{index // 2 + 1}"


def write_conversation(root: Path, name: str, turns: int, joy: str, generator: np.random.Generator) -> None:
    for path in (evaluation_of(root, name), transcription_of(root, name), audio_of(root, f"{name}_F000")):
        path.parent.mkdir(parents=True, exist_ok=True)
    evaluations, words = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"], []
    clock = 0.5
    for number, label in zip(range(turns), labels(joy, generator), strict=False):
        gender = "FM"[number % 2]
        turn = f"{name}_{gender}{number // 2:03d}"
        pitch = SPEAKER_PITCH[gender] * (1 + 0.03 * session_of(name)) * PITCH[label]
        samples = tone(generator.uniform(0.4, 1.5), pitch, LEVEL[label], generator)
        soundfile.write(audio_of(root, turn), samples, SAMPLE_RATE, subtype="PCM_16")
        start, end = clock, clock + len(samples) / SAMPLE_RATE
        clock = end + generator.uniform(0.1, 0.6)
        evaluations.append(evaluated(turn, label, start, end))
        words.append(f"{turn} [{start:08.4f}-{end:08.4f}]: {generator.choice(WORDS[label])}\n")
    evaluation_of(root, name).write_text("\n".join(evaluations))
    transcription_of(root, name).write_text("".join(words))


def labels(joy: str, generator: np.random.Generator) -> Iterator[str]:
    """An endless row of labels, in which every six hold each once; ``joy`` is hap or exc."""
    while True:
        yield from (str(label) for label in generator.permutation(["ang", joy, "sad", "neu", "fru", "xxx"]))


def tone(seconds: float, pitch: float, level: float, generator: np.random.Generator) -> np.ndarray:
    """Three harmonics and a little noise, swelling and fading: (T,) within -1 and 1."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = sum(np.sin(2 * np.pi * pitch * harmonic * time) / harmonic for harmonic in (1, 2, 3))
    return level * np.sin(np.pi * time / seconds) * sound / 2 + generator.normal(0, 0.002, len(time))


def evaluated(turn: str, label: str, start: float, end: float) -> str:
    """A turn's block in EmoEvaluation, the annotators' lines included."""
    return (
        f"[{start:.4f} - {end:.4f}]\t{turn}\t{label}\t[2.5000, 3.0000, 3.0000]\n"
        "C-E2:\tNeutral;\t()\nC-E3:\tOther;\t(unsure)\nA-E3:\tval 3; act 3; dom  3;\t()\n"
    )


def session_of(name: str) -> int:
    """Of a conversation or a turn."""
    return int(name[3:5])


def evaluation_of(root: Path, conversation: str) -> Path:
    return root / f"Session{session_of(conversation)}/dialog/EmoEvaluation/{conversation}.txt"


def transcription_of(root: Path, conversation: str) -> Path:
    return root / f"Session{session_of(conversation)}/dialog/transcriptions/{conversation}.txt"


def audio_of(root: Path, turn: str) -> Path:
    return root / f"Session{session_of(turn)}/sentences/wav/{turn.rsplit('_', 1)[0]}/{turn}.wav"


def line_of(path: Path, content: str) -> int:
    """The number of the first line that holds some text, from 1."""
    return next(number for number, line in enumerate(path.read_text().splitlines(), start=1) if content in line)


def change(path: Path, number: int, old: str, new: str) -> None:
    """Replace text that stands in one line of a file."""
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new)
    path.write_text("".join(lines))


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def shorten(path: Path, size: int) -> None:
    """Keep a file's first bytes."""
    content = path.read_bytes()
    assert len(content) > size
    path.write_bytes(content[:size])


def clutter(root: Path) -> None:
    """Add what the full release holds beside the files that are read."""
    for session in sorted(root.glob("Session[0-9]")):
        for evaluation in sorted((session / "dialog/EmoEvaluation").glob("*.txt")):
            name = evaluation.stem
            beside = {
                f"dialog/EmoEvaluation/Categorical/{name}_e2_cat.txt": f"{name}_F000 :Anger; ()\n",
                f"dialog/EmoEvaluation/Attribute/{name}_e3_atr.txt": f"{name}_F000 :act  4; :val  2; :dom  3; ()\n",
                f"dialog/EmoEvaluation/Self-evaluation/{name}_f3_self.txt": f"{name}_F000 :Anger; ()\n",
                f"dialog/EmoEvaluation/._{name}.txt": "\0\5\26\7 Mac OS X",
                f"dialog/transcriptions/._{name}.txt": "\0\5\26\7 Mac OS X",
                f"dialog/lab/Ses_f/{name}.lab": "0.5 1.5 neu",
                f"dialog/MOCAP_rotated/{name}.txt": "Frame# Time pitch roll yaw",
                f"dialog/avi/DivX/{name}.avi": "RIFF",
                f"dialog/wav/{name}.wav": "RIFF",
                f"sentences/MOCAP_head/{name}/{name}_F000.txt": "Frame# Time pitch roll yaw",
                f"sentences/ForcedAlignment/{name}/{name}_F000.wdseg": "SFrm EFrm SegAScr Word",
                f"sentences/wav/{name}/._{name}_F000.wav": "\0\5\26\7 Mac OS X",
            }
            for path, content in beside.items():
                (session / path).parent.mkdir(parents=True, exist_ok=True)
                (session / path).write_text(content)
        (session / "dialog/EmoEvaluation/.DS_Store").write_text("\0")
    (root / "._Session1").write_text("\0")
    (root / "README.txt").write_text("IEMOCAP")
    (root / "Documentation").mkdir()
