"""A small corpus as plain data, to be broken and then written as any reader's source."""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from moodline.corpora.corpus import Corpus

SESSIONS = ("1", "2")
CONVERSATIONS = 2  # in each session
TURNS = 3  # in each conversation
LABELS = ("ang", "hap", "sad", "neu", "fru", "xxx")
SECONDS = 0.3
RATE = 16_000


@dataclass(frozen=True)
class Turn:
    """An utterance as a source spells it: whatever may be wrong with it stands here as it is.

    Attributes:
        speaker: F, M, or a letter that is neither
        words: encoded
        start, end: as they are written
        line_end: of the line that holds it
        sound: the audio file's content; None: there is no file
    """

    id: str
    conversation: str
    session: str
    speaker: str
    words: bytes
    label: str
    start: str
    end: str
    line_end: bytes
    sound: bytes | None


Talk = tuple[Turn, ...]


class Source(Protocol):
    """How a reader's source is written and read. ``outcomes`` are those that are this source's own: fault -> outcome.

    ``place`` is the folder that it is written to, ``arguments`` what ``moodline prepare`` reads it by.
    """

    name: str
    outcomes: Mapping[str, "Outcome"]

    def write(self, talk: Talk, place: Path) -> None: ...
    def arguments(self, place: Path) -> tuple[object, ...]: ...


@dataclass(frozen=True)
class Outcome:
    """What a fault comes to.

    Attributes:
        rule: what the fault's sentence says; "" where it is no fault but defined
        leaves_out: "turn", "conversation", "line" (of a turn that has no proper id), or "": nothing, or a repetition
        kept: what holds of the corpus's utterance that stays, given the corpus and the utterance's id
    """

    rule: str = ""
    leaves_out: str = ""
    kept: Callable[[Corpus, str], None] = lambda corpus, identity: None


def sound(
    seconds: float = SECONDS,
    rate: int = RATE,
    *,
    channels: int = 1,
    subtype: str = "PCM_16",
    form: str = "WAV",
    pitch: float = 180.0,
    change: Callable[[np.ndarray], np.ndarray] = lambda samples: samples,
) -> bytes:
    """An audio file's content: a tone, changed."""
    time = np.arange(round(seconds * rate)) / rate
    samples = np.repeat(0.3 * np.sin(2 * np.pi * pitch * time)[:, None], channels, axis=1)
    file = io.BytesIO()
    soundfile.write(file, change(samples), rate, format=form, subtype=subtype)
    return file.getvalue()


def small_talk() -> Talk:
    """Two sessions of two conversations of three turns, nothing wrong with them."""
    return tuple(
        turn
        for session in SESSIONS
        for index in range(CONVERSATIONS)
        for turn in conversation_turns(f"Ses0{session}F_impro{index + 1:02d}", session, TURNS)
    )


def conversation_turns(name: str, session: str, turns: int) -> Iterable[Turn]:
    for number in range(turns):
        speaker = "FM"[number % 2]
        yield Turn(
            id=f"{name}_{speaker}{number // 2:03d}",
            conversation=name,
            session=session,
            speaker=speaker,
            words=f"These are words number {number}.".encode(),
            label=LABELS[number % len(LABELS)],
            start=f"{number:.4f}",
            end=f"{number + 0.5:.4f}",
            line_end=b"\n",
            sound=sound(pitch=120.0 + 20 * (number % 7)),
        )


class IemocapTree:
    """The format of IEMOCAP's full release."""

    name = "iemocap"
    outcomes: Mapping[str, Outcome] = {}

    def write(self, talk: Talk, place: Path) -> None:
        evaluations: dict[Path, bytes] = {}
        transcriptions: dict[Path, bytes] = {}
        for turn in talk:
            session = place / f"Session{turn.session}"
            evaluation = session / f"dialog/EmoEvaluation/{turn.conversation}.txt"
            transcription = session / f"dialog/transcriptions/{turn.conversation}.txt"
            audio = session / f"sentences/wav/{turn.conversation}/{turn.id}.wav"
            evaluations[evaluation] = evaluations.get(evaluation, b"% [START_TIME - END_TIME] TURN_NAME\n\n") + (
                f"[{turn.start} - {turn.end}]\t{turn.id}\t{turn.label}\t[2.5000, 3.0000, 3.0000]".encode()
                + turn.line_end
                + b"C-E2:\tNeutral;\t()\n\n"
            )
            transcriptions[transcription] = transcriptions.get(transcription, b"") + (
                f"{turn.id} [{turn.start}-{turn.end}]: ".encode() + turn.words + turn.line_end
            )
            audio.parent.mkdir(parents=True, exist_ok=True)
            if turn.sound is not None:
                audio.write_bytes(turn.sound)
        for path, content in (evaluations | transcriptions).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def arguments(self, place: Path) -> tuple[object, ...]:
        return "iemocap", place
