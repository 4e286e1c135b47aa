"""Ten voices, spoken by libespeak-ng through ctypes.

A voice here speaks without memory: the same words in the same delivery give the same samples, whatever was
said before. In libespeak-ng four things outlive an utterance and no call resets them: the place in the
table of pitch flutter, the count of glottal cycles behind roughness, the random numbers behind breath, and
the echo's buffer. So the voices are written here, with flutter and roughness at 0 and neither breath nor
echo, in the format of espeak-ng's docs/voices.md, rather than taken from the variants that it comes with.
"""

import ctypes
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soxr

from moodline.errors import MoodlineError
from moodline.wording import to_install

SAMPLE_RATE = 16_000  # Hz, of what speak returns

# speak_lib.h: output to the callback, no exit() where a file is missing, parameters, UTF-8
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _VOLUME, _WORD_GAP = 1, 2, 7
_LONGEST_PATH = 150  # bytes; libespeak-ng copies paths into buffers of 160 without looking
_HEADROOM = 25  # of the volume's 100: leaves room to shout in, and keeps off a gain control that has a memory
_SILENCE = 15  # of 32,768: samples below it at either end are no speech

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, kw_only=True, slots=True)
class Speaker:
    """One person's voice when nothing moves them.

    ``language`` is the accent, ``pitch`` where the voice usually lies (lowest and highest, in Hz), ``formants``
    their frequency in percent of espeak's own (a small head has high ones), ``rate`` in words a minute, ``level``
    that of the recording in dB. ``phonemes`` names one of espeak's tables of sounds; None takes its British one.
    """

    name: str
    language: str
    pitch: tuple[int, int]
    formants: int
    rate: int
    level: float
    phonemes: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """How something is said, relative to the speaker's usual way.

    ``rate`` is a factor, ``range`` that of the pitch's span in semitones, ``pitch`` how many semitones it lies higher;
    ``loudness`` is in dB, ``pause`` about so many seconds between words.
    """

    rate: float = 1.0
    pitch: float = 0.0
    range: float = 1.0
    loudness: float = 0.0
    pause: float = 0.0


class Synthesizer:
    """libespeak-ng, from ``with`` to its end. It is one per process: two at a time share its state.

    Raises MoodlineError where libespeak-ng is not installed, or cannot read its data.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ModuleNotFoundError:
            raise MoodlineError(f"the voices are those of espeakng-loader: {to_install('demo')}") from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._data = Path(espeakng_loader.get_data_path())
        self._blocks: list[np.ndarray] = []
        self._callback = _Callback(self._collect)  # the library keeps the bare pointer: this must live as long

    def __enter__(self) -> Self:
        if not (self._data / "phontab").is_file():  # espeak_Initialize may report success all the same
            raise MoodlineError(f"libespeak-ng speaks from its data: {self._data} has none; reinstall espeakng-loader")
        self._folder = tempfile.TemporaryDirectory(prefix="voices")
        path = os.fsencode(_short(self._data, Path(self._folder.name)))
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, path, _DONT_EXIT)
        _check(min(self._rate, 0), f"its data at {path}")
        self._library.espeak_SetSynthCallback(self._callback)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.espeak_Terminate()
        self._folder.cleanup()

    def speak(self, words: str, speaker: Speaker, delivery: Delivery) -> np.ndarray:
        """The words as this speaker says them: (T,) int16 at SAMPLE_RATE, from the first sound to the last.

        Empty where there is nothing to say, as in "...".
        """
        self._select(_definition(speaker, delivery))
        self._set(_RATE, speaker.rate * delivery.rate)
        self._set(_VOLUME, _HEADROOM)
        self._set(_WORD_GAP, delivery.pause * 100)  # in 10 ms at espeak's usual rate
        self._blocks.clear()
        text = words.encode() + b"\0"
        with _callbacks_raise():
            status = self._library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None)
        _check(status, words)
        samples = _trim(np.concatenate(self._blocks))
        if len(samples) == 0:
            return np.zeros(0, np.int16)
        return _project(soxr.resample(samples, self._rate, SAMPLE_RATE), delivery.loudness, speaker.level)

    def _collect(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int | None) -> int:
        if count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32))  # astype copies
        return 0

    def _select(self, definition: str) -> None:
        path = Path(self._folder.name) / "voice"
        path.write_text(definition, encoding="ascii")
        _check(self._library.espeak_SetVoiceByFile(os.fsencode(path)), definition)

    def _set(self, parameter: int, value: float) -> None:
        _check(self._library.espeak_SetParameter(parameter, round(value), 0), f"{parameter} = {value}")


def _definition(speaker: Speaker, delivery: Delivery) -> str:
    """The voice as a file of espeak-ng's, the pitch within it: espeak's parameters for pitch keep no intervals."""
    low, high = (math.log2(hertz) for hertz in speaker.pitch)
    centre, half = (low + high) / 2 + delivery.pitch / 12, (high - low) / 2 * delivery.range
    formants = "".join(f"formant {k} {speaker.formants} 100 100\n" for k in range(6))
    phonemes = f"phonemes {speaker.phonemes}\n" if speaker.phonemes else ""
    return (
        f"name {speaker.name}\nlanguage {speaker.language}\n{phonemes}flutter 0\nroughness 0\n"
        f"pitch {round(2 ** (centre - half))} {round(2 ** (centre + half))}\n{formants}"
    )


def _short(data: Path, folder: Path) -> Path:
    """A path to ``data`` that libespeak-ng can take: itself, or a link in ``folder``."""
    if len(os.fsencode(folder / data.name)) > _LONGEST_PATH:
        raise MoodlineError(
            f"libespeak-ng takes paths of {_LONGEST_PATH} bytes at most: the temporary folder {folder} is too "
            "long; set TMPDIR to a shorter one"
        )
    if len(os.fsencode(data)) <= _LONGEST_PATH:
        return data
    link = folder / "espeak-ng-data"
    link.symlink_to(data, target_is_directory=True)
    return link


@contextmanager
def _callbacks_raise() -> Iterator[None]:
    """Raise, when the block has ended, what a callback raised in it: ctypes would drop that, and samples with it.

    No ``try`` in the callback can keep an interruption, which comes as the callback begins.
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


def _trim(samples: np.ndarray) -> np.ndarray:
    """From the first sample of speech to the last: (T,) -> (T',)."""
    speech = np.flatnonzero(np.abs(samples) > _SILENCE)
    return samples[speech[0] : speech[-1] + 1] if len(speech) else samples[:0]


def _project(samples: np.ndarray, effort: float, level: float) -> np.ndarray:
    """Louder by ``effort`` of the voice and ``level`` of the recording, both in dB: (T,) float -> (T,) int16.

    Effort lifts the high frequencies more than the low, so a tilt of the spectrum goes with it.
    """
    tilt = np.clip(effort / 20, -0.6, 0.6)
    tilted = samples - tilt * np.concatenate([[0.0], samples[:-1]])
    gain = np.sqrt(np.mean(samples**2) / np.mean(tilted**2)) * 10 ** ((effort + level) / 20)
    return np.clip(np.rint(tilted * gain), -32768, 32767).astype(np.int16)
