"""Speech recognition: recognisers behind one small interface, in parallel processes."""

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from moodline.audio import io
from moodline.conversation import AudioClip
from moodline.errors import MoodlineError, format_install_hint, get_first_line
from moodline.io import hash_file
from moodline.runtime import end_with_parent

NAME = "pocketsphinx"
MIN_SAMPLES = 1_600  # samples, 0.1 s: of less its features cannot be computed, and nothing can be said in it
FULL_SCALE = 32_767


class PocketSphinx:
    """A decoder with its defaults.

    Raises MoodlineError where pocketsphinx is not installed.
    """

    name = f"{NAME} en-us"

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ModuleNotFoundError:
            raise MoodlineError(f"words are recognised by pocketsphinx: {format_install_hint('speech')}") from None
        self.version = metadata.version("pocketsphinx")
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL")

    def recognise(self, samples: np.ndarray) -> str:
        """See ``recogniser.Recogniser``."""
        if len(samples) < MIN_SAMPLES:
            return ""
        decoder = self._decoder
        with warnings.catch_warnings():
            # It calls this unnecessary; yet without it the noise of one utterance is subtracted from the next.
            warnings.simplefilter("ignore", DeprecationWarning)
            decoder.start_stream()
        decoder.start_utt()
        pcm = np.rint(np.clip(samples, -1, 1) * FULL_SCALE).astype("<i2")
        decoder.process_raw(pcm.tobytes(), full_utt=True)  # whole, so that the mean it normalises by is its own
        decoder.end_utt()
        heard = decoder.hyp()
        return heard.hypstr if heard is not None else ""


WEIGHTS_FILE = "model.bin"
CACHE_PREFIX = "models--"  # how a hub's cache begins the folder of a model, with -- for every / of its name


def find_model_folder(named: str) -> Path:
    """A model's folder: the one that is named, or that of a known name, fetched where it is not cached.

    Raises:
        MoodlineError: faster-whisper is not installed, or there is no such model
    """
    if (Path(named) / WEIGHTS_FILE).is_file():
        return Path(named).resolve()
    try:
        from faster_whisper import download_model  # pyright: ignore[reportMissingImports]  # an extra
    except ModuleNotFoundError:
        raise MoodlineError(
            f"a recogniser is pocketsphinx or a model of faster-whisper, not {named!r}; for the latter "
            f"{format_install_hint('whisper')}"
        ) from None
    try:
        return Path(download_model(named))
    except Exception as error:  # of the hub, of the network, of the name
        raise MoodlineError(
            f"a recogniser is pocketsphinx, a folder with {WEIGHTS_FILE}, or a name that faster-whisper knows or can "
            f"fetch: {named!r} is none ({get_first_line(error)})"
        ) from error


def find_cached_model() -> Path | None:
    """The folder of a model that was fetched before, the last in faster-whisper's own list; None if there is none."""
    if find_spec("faster_whisper") is None:
        return None
    from faster_whisper import available_models, download_model  # pyright: ignore[reportMissingImports]
    from huggingface_hub.errors import LocalEntryNotFoundError

    for name in reversed(available_models()):
        try:
            folder = Path(download_model(name, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        if (folder / WEIGHTS_FILE).is_file():  # not one of which the fetching was cut short
            return folder
    return None


class Whisper:
    """A model on one thread, or on a GPU; it finds the language itself.

    Args:
        folder: in CTranslate2's format
        device: cpu, cuda, cuda:N or auto; CTranslate2 has no MPS, in whose place it takes the CPU

    Raises MoodlineError where faster-whisper is not installed, or the folder holds no model.
    """

    def __init__(self, folder: str, device: str) -> None:
        try:
            from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise MoodlineError(f"{folder} is read by faster-whisper: {format_install_hint('whisper')}") from None
        self.folder = Path(folder)
        kind, _, index = device.partition(":")
        kind = "cpu" if kind == "mps" else kind
        try:
            self._model = WhisperModel(folder, device=kind, device_index=int(index or 0), cpu_threads=1)
        except Exception as error:  # of CTranslate2, of tokenizers, of a tokenizer that is not there
            raise MoodlineError(
                f"{folder} cannot be loaded on {device} as a model of faster-whisper: {get_first_line(error)}; "
                f"fetch it "
                "again, or choose another device"
            ) from error

    @property
    def name(self) -> str:
        inside = (part for part in self.folder.parts if part.startswith(CACHE_PREFIX))
        model = next(inside, self.folder.name).removeprefix(CACHE_PREFIX).replace("--", "/")
        return f"faster-whisper {model}"

    @property
    def version(self) -> str:
        """Of the package, and a hash of the weights."""
        return f"{metadata.version('faster-whisper')}, weights {hash_file(self.folder / WEIGHTS_FILE)}"

    def recognise(self, samples: np.ndarray) -> str:
        """See ``recogniser.Recogniser``."""
        # At temperature 0 alone nothing is drawn at random.
        segments, _ = self._model.transcribe(
            samples.astype(np.float32), temperature=0.0, condition_on_previous_text=False, without_timestamps=True
        )
        return " ".join(segment.text.strip() for segment in segments)


SAMPLE_RATE = 16_000  # Hz


class Recogniser(Protocol):
    """Hears words. It remembers nothing: the same samples give the same words, whatever was heard before."""

    @property
    def name(self) -> str:
        """The recogniser and its model, for people."""
        ...

    @property
    def version(self) -> str:
        """What tells this software and these weights from others of the name."""
        ...

    def recognise(self, samples: np.ndarray) -> str:
        """The words in one utterance's samples (T,), float within [-1, 1] at SAMPLE_RATE; empty where it hears none."""
        ...


def choose_recogniser(named: str | None) -> str:
    """Which recogniser ``load_recogniser`` is to load: pocketsphinx by its name, or the folder of a model of Whisper.

    Args:
        named: pocketsphinx, a folder, or a name that faster-whisper knows, whose model is fetched where it is not
            cached; None takes a cached model of Whisper, or else pocketsphinx, whose model is in its wheel

    Raises:
        MoodlineError: there is no such model, or what reads it is not installed
    """
    if named is None:
        return str(find_cached_model() or NAME)
    return named if named == NAME else str(find_model_folder(named))


def load_recogniser(chosen: str, device: str = "auto") -> Recogniser:
    """Load what ``choose_recogniser`` chose.

    Args:
        device: of Whisper, as in ``moodline.load``; PocketSphinx runs on the CPU

    Raises:
        MoodlineError: it is not installed, or its model cannot be read
    """
    return PocketSphinx() if chosen == NAME else Whisper(chosen, device)


class SpeechSource(Protocol):
    """Speech that can be had when it is needed; picklable, so that another process may hear it."""

    @property
    def origin(self) -> Sequence[object]:
        """Everything that the samples are a function of, as JSON has it."""
        ...

    def samples(self) -> np.ndarray:
        """(T,), float within [-1, 1] at SAMPLE_RATE."""
        ...


@dataclass(frozen=True, slots=True)
class RecordedSpeech:
    """A stretch of a recording."""

    clip: AudioClip

    @property
    def origin(self) -> Sequence[object]:
        # Tables of before recordings had hashes know them by their paths.
        return self.clip.file_hash or self.clip.path.as_posix(), self.clip.offset, self.clip.duration

    def samples(self) -> np.ndarray:
        return io.read_clip(self.clip, SAMPLE_RATE)


RecogniseFunction = Callable[[Sequence[SpeechSource]], Iterator[str]]
"""Words of utterances in their order, each as soon as it is heard."""


@contextmanager
def open_recognition(
    recogniser: Recogniser, chosen: str, jobs: int, device: str = "auto"
) -> Iterator[RecogniseFunction]:
    """A function that gives the words of each of some utterances, in their order.

    Args:
        recogniser: hears them where one job is all
        chosen: what each of several processes loads, see ``recogniser.choose_recogniser``
        jobs: how many are heard at a time
        device: of several processes' recognisers, see ``recogniser.load_recogniser``

    Raises:
        MoodlineError: from what it gives: speech cannot be read, or a process was killed
    """
    if jobs == 1:
        yield lambda sounds: (recognise_line(recogniser, sound) for sound in sounds)
        return
    # Not forked: a fork of a process with threads, as pyarrow's, may hang.
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _initialise_worker, (chosen, device))
    try:
        yield lambda sounds: _recognise_batch(executor, sounds)
    finally:
        executor.shutdown(cancel_futures=True)


def recognise_line(recogniser: Recogniser, sound: SpeechSource) -> str:
    """The words on one line."""
    return " ".join(recogniser.recognise(sound.samples()).split())


def _recognise_batch(executor: ProcessPoolExecutor, sounds: Sequence[SpeechSource]) -> Iterator[str]:
    try:
        yield from executor.map(_recognise_in_worker, sounds)
    except BrokenProcessPool as error:
        raise MoodlineError(
            "a process that recognises words was ended from outside, for its memory perhaps: take fewer --jobs; "
            "the same command goes on"
        ) from error


def _initialise_worker(chosen: str, device: str) -> None:
    """Load this process's recogniser, leave Ctrl-C to the parent, and end when the parent does."""
    global _recogniser
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _recogniser = load_recogniser(chosen, device)


def _recognise_in_worker(sound: SpeechSource) -> str:
    return recognise_line(_recogniser, sound)


_recogniser: Recogniser
