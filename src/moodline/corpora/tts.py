"""Synthesise speech with libespeak-ng through ctypes, for the demo corpus and for reference words without recordings.

The same words in the same delivery give the same samples: the voices, in the format of espeak-ng's docs/voices.md, have
no flutter, roughness, breath and echo, whose state in libespeak-ng outlives an utterance and cannot be reset.
"""

import ctypes
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from importlib import metadata
from pathlib import Path
from typing import Self

import numpy as np
import soxr

from moodline.conversation import Utterance
from moodline.errors import MoodlineError, format_install_hint
from moodline.speech.asr import SAMPLE_RATE

# speak_lib.h: output to the callback, no exit() where a file is missing, UTF-8; the numbers of parameters
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _VOLUME, _WORD_GAP = 1, 2, 7
_LONGEST_PATH = 150  # bytes; libespeak-ng copies paths into buffers of 160 without a check
_HEADROOM = 25  # of a volume of 100: leaves room to shout, and avoids a gain control that has a memory
_SILENCE = 15  # of 32,768: samples below it at either end are not speech

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, kw_only=True, slots=True)
class Speaker:
    """One person's usual voice."""

    name: str
    language: str  # the accent, by espeak's name
    pitch: Sequence[int]  # usual lowest and highest, Hz
    formants: int  # their frequencies in percent of espeak's own; a small head has high ones
    rate: int  # words per minute
    level: float  # of the recording, dB
    phonemes: str | None = None  # one of espeak's phoneme tables; None takes its British one


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A way of speaking, relative to the speaker's usual one."""

    rate: float = 1.0  # factor
    pitch: float = 0.0  # semitones higher
    range: float = 1.0  # factor of the pitch span in semitones
    loudness: float = 0.0  # dB
    pause: float = 0.0  # seconds between words, approximately


class Synthesizer:
    """Run libespeak-ng within a ``with`` block. One per process: two at a time share its state."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ModuleNotFoundError:
            raise MoodlineError(
                f"synthetic voices need the package espeakng-loader: {format_install_hint('demo')}",
                code="device.no_voices",
            ) from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._data = Path(espeakng_loader.get_data_path())
        self._blocks: list[np.ndarray] = []
        self._callback = _Callback(self._collect)  # the library keeps the bare pointer: this must live as long

    def __enter__(self) -> Self:
        if not (self._data / "phontab").is_file():  # espeak_Initialize may report success all the same
            raise MoodlineError(
                f"{self._data} does not contain the data of libespeak-ng: reinstall espeakng-loader",
                code="device.no_voices",
            )
        self._folder = tempfile.TemporaryDirectory(prefix="voices")
        path = os.fsencode(_shorten_path(self._data, Path(self._folder.name)))
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, path, _DONT_EXIT)
        _check(min(self._rate, 0), f"its data at {path}")
        self._library.espeak_SetSynthCallback(self._callback)
        return self

    def __exit__(self, *error: object) -> None:
        self._library.espeak_Terminate()
        self._folder.cleanup()

    def speak(self, words: str, speaker: Speaker, delivery: Delivery) -> np.ndarray:
        """Synthesise words: (T,) int16 at SAMPLE_RATE, from the first sound to the last; empty for words like "..."."""
        voice = Path(self._folder.name) / "voice"
        voice.write_text(_define_voice(speaker, delivery), encoding="ascii")
        _check(self._library.espeak_SetVoiceByFile(os.fsencode(voice)), speaker.name)
        word_gap = delivery.pause * 100  # in 10 ms at espeak's usual rate
        for parameter, value in ((_RATE, speaker.rate * delivery.rate), (_VOLUME, _HEADROOM), (_WORD_GAP, word_gap)):
            _check(self._library.espeak_SetParameter(parameter, round(value), 0), f"parameter {parameter} = {value}")
        self._blocks.clear()
        text = words.encode() + b"\0"
        with _reraise_from_callbacks():
            status = self._library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None)
        _check(status, words)
        samples = np.concatenate(self._blocks)  # (T',)
        speech = np.flatnonzero(np.abs(samples) > _SILENCE)
        if len(speech) == 0:
            return np.zeros(0, np.int16)
        samples = soxr.resample(samples[speech[0] : speech[-1] + 1], self._rate, SAMPLE_RATE)  # (T,)
        return _apply_loudness(samples, delivery.loudness, speaker.level)

    def _collect(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int | None) -> int:
        if count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32))  # astype copies
        return 0


def _define_voice(speaker: Speaker, delivery: Delivery) -> str:
    """Format an espeak-ng voice file. It holds the pitch too: espeak's parameters for pitch do not keep intervals."""
    low, high = (math.log2(hertz) for hertz in speaker.pitch)
    centre, half = (low + high) / 2 + delivery.pitch / 12, (high - low) / 2 * delivery.range
    formants = "".join(f"formant {k} {speaker.formants} 100 100\n" for k in range(6))
    phonemes = f"phonemes {speaker.phonemes}\n" if speaker.phonemes else ""
    return (
        f"name {speaker.name}\nlanguage {speaker.language}\n{phonemes}flutter 0\nroughness 0\n"
        f"pitch {round(2 ** (centre - half))} {round(2 ** (centre + half))}\n{formants}"
    )


def _shorten_path(data: Path, folder: Path) -> Path:
    """Return a path to ``data`` that libespeak-ng can take: itself, or a link in ``folder``."""
    link = folder / data.name
    if len(os.fsencode(link)) > _LONGEST_PATH:
        raise MoodlineError(
            f"the temporary folder {folder} has too long a path for libespeak-ng: set TMPDIR to a shorter one",
            code="file.path_too_long",
        )
    if len(os.fsencode(data)) <= _LONGEST_PATH:
        return data
    link.symlink_to(data, target_is_directory=True)
    return link


@contextmanager
def _reraise_from_callbacks() -> Iterator[None]:
    """Raise, at the end of the block, an error of a callback in it, which ctypes drops together with its samples.

    A ``try`` in the callback would miss an interruption that arrives as the callback begins.
    """
    raised: list[BaseException] = []
    hook = sys.unraisablehook
    sys.unraisablehook = lambda dropped: raised.append(dropped.exc_value or RuntimeError(dropped.err_msg))
    try:
        yield
    finally:
        sys.unraisablehook = hook
    if raised:
        raise raised[0]


def _check(status: int, what: str) -> None:
    if status != 0:
        raise RuntimeError(f"libespeak-ng refused {what!r}: status {status}")


def _apply_loudness(samples: np.ndarray, effort: float, level: float) -> np.ndarray:
    """Amplify by ``effort`` of the voice and ``level`` of the recording, both in dB: (T,) float -> (T,) int16.

    Effort lifts high frequencies more than low ones, so the spectrum is tilted as well.
    """
    tilt = np.clip(effort / 20, -0.6, 0.6)
    tilted = samples - tilt * np.concatenate([[0.0], samples[:-1]])
    gain = np.sqrt(np.mean(samples**2) / np.mean(tilted**2)) * 10 ** ((effort + level) / 20)
    return np.clip(np.rint(tilted * gain), -32768, 32767).astype(np.int16)


# The voices of reference words: high and low in turn, plain, and American, which recognisers recognise best.
VOICES = tuple(
    Speaker(name=name, language="en-us", phonemes="en-us", pitch=pitch, formants=formants, rate=150, level=0)
    for name, pitch, formants in (
        ("ada", (130, 190), 104),
        ("ben", (82, 118), 100),
        ("cleo", (160, 230), 110),
        ("dirk", (95, 140), 97),
        ("enid", (115, 165), 102),
        ("fred", (72, 104), 98),
    )
)
NOISE = 0.1  # of the speech's root mean square; recognisers make errors on digital silence
MARGIN = 0.2  # seconds before and after the words


@dataclass(frozen=True, slots=True)
class SyntheticSpeech:
    """Words spoken by a voice: a ``speech.sound.SpeechSource``."""

    words: str
    voice: Speaker

    @property
    def origin(self) -> tuple[object, ...]:
        return self.words, *astuple(self.voice), NOISE, MARGIN, metadata.version("espeakng-loader")

    def samples(self) -> np.ndarray:
        """See ``Sound``; with margins and faint noise, the same each time, and empty where nothing is spoken."""
        with Synthesizer() as synthesizer:
            speech = synthesizer.speak(self.words, self.voice, Delivery()) / 32_768
        if len(speech) == 0:
            return speech
        padded = np.pad(speech, round(MARGIN * SAMPLE_RATE))  # (T,) -> (T',)
        return padded + np.random.default_rng(0).normal(0, NOISE * np.sqrt(np.mean(speech**2)), len(padded))


def assign_voices(utterances: Iterable[Utterance]) -> Mapping[str, Speaker]:
    """Map speakers, in the order of their names, to the voices in turn."""
    speakers = sorted({utterance.speaker for utterance in utterances})
    return {speaker: VOICES[position % len(VOICES)] for position, speaker in enumerate(speakers)}
