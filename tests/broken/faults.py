"""Ways to break one turn, and what each comes to.

``FAULTS`` goes from a fault's name to what it does to a turn and its outcome, unless the source has its own.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from moodline.audio import io
from moodline.conversation import Utterance
from moodline.corpora.corpus import Corpus
from tests.broken.talk import RATE, SECONDS, Outcome, Talk, Turn, sound

FOREIGN = "\u201cna\u00efve\u201d"
MANY_WORDS = 5_000


class Break(NamedTuple):
    """Does something to the turn at a place of a talk."""

    change: Callable[[Talk, int], Talk]
    outcome: Outcome


def one(turn_change: Callable[[Turn], Turn]) -> Callable[[Talk, int], Talk]:
    """A change of that turn alone."""

    def change(talk: Talk, place: int) -> Talk:
        return (*talk[:place], turn_change(talk[place]), *talk[place + 1 :])

    return change


def sounding(content: bytes | None) -> Callable[[Talk, int], Talk]:
    return one(lambda turn: replace(turn, sound=content))


def saying(words: bytes) -> Callable[[Talk, int], Talk]:
    return one(lambda turn: replace(turn, words=words))


def timed(start: str, end: str) -> Callable[[Talk, int], Talk]:
    return one(lambda turn: replace(turn, start=start, end=end))


def utterance(corpus: Corpus, identity: str) -> Utterance:
    (found,) = (each for each in corpus.utterances if each.id == identity)
    return found


def heard(corpus: Corpus, identity: str, *, rate: int = RATE, seconds: float = SECONDS, level: float = 0.3) -> None:
    """The clip is as long as it was made and, at 16 kHz, as loud: a tone's mean absolute value is 2/pi of its level."""
    clip = utterance(corpus, identity).audio
    assert clip is not None
    assert clip.sample_rate == rate
    assert abs(clip.duration - seconds) <= 1 / rate
    samples = io.read_clip(clip, RATE)
    assert abs(len(samples) - seconds * RATE) <= 1
    assert np.abs(samples).max() <= 0.31
    if seconds > 0.02:  # a shorter one is no whole period
        assert abs(np.abs(samples).mean() - level * 2 / np.pi) < 0.01


def said(corpus: Corpus, identity: str, *, words: str) -> None:
    assert utterance(corpus, identity).words == words


def overlaps(corpus: Corpus, identity: str) -> None:
    (conversation,) = (each for each in corpus.conversations if identity in {u.id for u in each.utterances})
    starts = [turn.start for turn in conversation.utterances if turn.start is not None]
    assert starts == sorted(starts)
    assert utterance(corpus, identity).end == 1000.0


def rotated(corpus: Corpus, identity: str) -> None:
    """A turn's line is last in its file, and first in time."""
    first = next(each for each in corpus.conversations if identity in {u.id for u in each.utterances}).utterances[0]
    assert first.id == identity


def repeat(talk: Talk, place: int) -> Talk:
    return (*talk, replace(talk[place], words=b"Once more.", start="90.0000", end="91.0000"))


def go_last(talk: Talk, place: int) -> Talk:
    """The turn begins first, overlapping all others, but stands last."""
    return (*talk[:place], *talk[place + 1 :], replace(talk[place], start="0.0000", end="0.4000"))


def cut(content: bytes, share: float = 0.6) -> bytes:
    return content[: round(share * len(content))]


def filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda samples: np.full_like(samples, value)


def late(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(samples: np.ndarray) -> np.ndarray:
        samples[-1, 0] = value
        return samples

    return change


def left_out(rule: str) -> Outcome:
    return Outcome(rule=rule, leaves_out="turn")


def whole(rule: str) -> Outcome:
    return Outcome(rule=rule, leaves_out="conversation")


def kept(check: Callable[..., None], **expected: object) -> Outcome:
    return Outcome(kept=partial(check, **expected))


NOT_FINITE = left_out("audio samples must be finite numbers")
MALFORMED = left_out("not an evaluated turn, [start - end] TURN LABEL [V, A, D]")

AUDIO: dict[str, Break] = {
    "wav missing": Break(sounding(None), left_out("an audio file must exist")),
    "wav of 0 bytes": Break(sounding(b""), left_out("is empty (0 bytes)")),
    "wav without samples": Break(sounding(sound(0)), left_out("an audio file must hold samples")),
    "wav that is text": Break(sounding(b"this is no sound " * 100), left_out("must be WAV, FLAC, OGG")),
    "wav truncated": Break(sounding(cut(sound())), left_out("an audio file must be complete")),
    "wav truncated in its header": Break(sounding(sound()[:30]), left_out("must be WAV, FLAC, OGG")),
    "rf64 truncated": Break(sounding(cut(sound(form="RF64"))), left_out("an audio file must be complete")),
    "w64 truncated": Break(sounding(cut(sound(form="W64"))), left_out("an audio file must be complete")),
    "flac truncated": Break(sounding(cut(sound(form="FLAC"))), left_out("must be WAV, FLAC, OGG")),
    "all nan": Break(sounding(sound(change=filled(np.nan), subtype="FLOAT")), NOT_FINITE),
    "one inf at the end": Break(sounding(sound(change=late(-np.inf), subtype="FLOAT")), NOT_FINITE),
    "nan in one channel": Break(sounding(sound(channels=2, change=late(np.nan), subtype="DOUBLE")), NOT_FINITE),
    "float beyond all bounds": Break(sounding(sound(change=filled(1e30), subtype="FLOAT")), NOT_FINITE),
    "silent": Break(sounding(sound(change=filled(0.0))), kept(heard, level=0.0)),
    "8 bit": Break(sounding(sound(subtype="PCM_U8")), kept(heard)),
    "24 bit": Break(sounding(sound(subtype="PCM_24")), kept(heard)),
    "float": Break(sounding(sound(subtype="FLOAT")), kept(heard)),
    "stereo": Break(sounding(sound(channels=2)), kept(heard)),
    "8 kHz": Break(sounding(sound(rate=8_000)), kept(heard, rate=8_000)),
    "48 kHz": Break(sounding(sound(rate=48_000)), kept(heard, rate=48_000)),
    "48 kHz, stereo, 24 bit": Break(
        sounding(sound(rate=48_000, channels=2, subtype="PCM_24")), kept(heard, rate=48_000)
    ),
    "10 ms": Break(sounding(sound(0.01)), kept(heard, seconds=0.01)),
    "one sample": Break(sounding(sound(1 / RATE)), kept(heard, seconds=1 / RATE)),
}
TEXT: dict[str, Break] = {
    "words undecodable": Break(saying(b"What \x81 did I say?"), left_out("not UTF-8 or Windows-1252 text")),
    "a byte 0 in the words": Break(saying(b"What \0 did I say?"), whole("zero byte")),
    "words in UTF-16": Break(saying("What?".encode("utf-16")), whole("zero byte")),
    "no words": Break(saying(b""), kept(said, words="")),
    "blank words": Break(saying(b" \t "), kept(said, words="")),
    "5,000 words": Break(saying(b"so happy " * (MANY_WORDS // 2)), kept(said, words=("so happy " * 2500).strip())),
    "control characters": Break(saying(b"I\x1b[31m am\x07\x08 so\x7f happy."), kept(said, words="I [31m am so happy.")),
    "Windows characters": Break(saying(FOREIGN.encode("cp1252")), kept(said, words=FOREIGN)),
    "UTF-8 characters": Break(saying(FOREIGN.encode()), kept(said, words=FOREIGN)),
    "a carriage return ends the line": Break(one(lambda turn: replace(turn, line_end=b"\r")), Outcome()),
    "mixed line ends": Break(one(lambda turn: replace(turn, line_end=b"\r\n")), Outcome()),
}
TIMES: dict[str, Break] = {
    "times reversed": Break(timed("9.0000", "8.0000"), left_out("it must end after it starts")),
    "no time at all": Break(timed("1.5000", "1.5000"), left_out("it must end after it starts")),
    "a negative start": Break(timed("-1.0000", "2.0000"), left_out("must be finite and not negative")),
    "negative times": Break(timed("-2.0000", "-1.0000"), left_out("must be finite and not negative")),
    "an infinite end": Break(timed("1.0000", "9" * 400), left_out("must be finite and not negative")),
    "a time missing": Break(timed("", "2.0000"), MALFORMED),
    "times missing": Break(timed("", ""), MALFORMED),
    "a time that is no number": Break(timed("1.2.3", "2.0000"), MALFORMED),
    "overlapping": Break(timed("0.2500", "1000.0000"), kept(overlaps)),
    "the first turn stands last": Break(go_last, kept(rotated)),
}
OTHERS: dict[str, Break] = {
    "an id twice": Break(repeat, Outcome(rule="a second time, at")),
    "an unknown label": Break(one(lambda turn: replace(turn, label="joy")), left_out("the label 'joy'")),
    "a label in capitals": Break(one(lambda turn: replace(turn, label="ANG")), left_out("the label 'ANG'")),
    "no label": Break(one(lambda turn: replace(turn, label="")), MALFORMED),
    "no speaker": Break(
        one(lambda turn: replace(turn, id=turn.id.replace("_F0", "_X0").replace("_M0", "_X0"), speaker="X")),
        Outcome(rule="not an evaluated turn, [start - end] TURN LABEL [V, A, D]", leaves_out="line"),
    ),
}
FAULTS: dict[str, Break] = AUDIO | TEXT | TIMES | OTHERS
