"""Speech recognition: recognisers behind one small interface, in parallel processes."""

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, Self

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
    """A model of faster-whisper, which detects the language itself.

    Args:
        folder: in CTranslate2's format
        threads: of a CPU
        device: cpu, cuda, cuda:N or auto; CTranslate2 has no MPS and uses the CPU there

    Raises MoodlineError where faster-whisper is not installed, or the folder holds no model.
    """

    def __init__(self, folder: str, threads: int = 1, device: str = "auto") -> None:
        try:
            from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise MoodlineError(f"{folder} is read by faster-whisper: {format_install_hint('whisper')}") from None
        self.folder = Path(folder)
        kind, _, index = device.partition(":")
        kind = "cpu" if kind == "mps" else kind
        try:
            self._model = WhisperModel(folder, device=kind, device_index=int(index or 0), cpu_threads=threads)
        except Exception as error:  # of CTranslate2, of tokenizers, of a tokenizer that is not there
            raise MoodlineError(
                f"{folder} cannot be loaded on {device} as a model of faster-whisper: {get_first_line(error)}; "
                "fetch it again, or choose another device"
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


def has_threads(chosen: str) -> bool:
    """Whether one process of the recogniser makes use of all cores, or of a GPU."""
    return chosen != NAME


def load_recogniser(chosen: str, threads: int = 1, device: str = "auto") -> Recogniser:
    """Load the recogniser that ``choose_recogniser`` chose.

    Args:
        threads: on which it recognises one utterance, where it can use several
        device: of Whisper, see ``moodline.device.recogniser_device``; PocketSphinx runs on the CPU

    Raises:
        MoodlineError: it is not installed, or its model cannot be read
    """
    return PocketSphinx() if chosen == NAME else Whisper(chosen, threads, device)


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


@dataclass(frozen=True, slots=True)
class Samples:
    """Speech in memory: (T,) at SAMPLE_RATE."""

    waveform: np.ndarray

    @property
    def origin(self) -> Sequence[object]:
        return (self.waveform.tobytes(),)

    def samples(self) -> np.ndarray:
        return self.waveform


AHEAD = 4  # utterances of each process that wait for it, so that none waits while a long one is recognised


class SpeechRecogniser:
    """A recogniser that is loaded when the first words are recognised, and kept until it is closed.

    Args:
        named: see ``recogniser.choose_recogniser``
        jobs: processes that recognise words side by side, each with the model loaded once; 1 is this process. None
            takes what suits the recogniser: a process for each core, or one alone that has threads of its own
        device: of each process's recogniser, see ``load_recogniser``

    Raises:
        MoodlineError: jobs are fewer than 1; from what needs the recogniser: it is not installed, or no such model
    """

    def __init__(self, named: str | None = None, jobs: int | None = 1, device: str = "auto") -> None:
        if jobs is not None and jobs < 1:
            raise MoodlineError(f"jobs are 1 or more, not {jobs}")
        self.named, self._jobs, self._chosen, self._device = named, jobs, "", device

    def choose(self) -> str:
        """Choose the recogniser, once; see ``recogniser.choose_recogniser``."""
        self._chosen = self._chosen or choose_recogniser(self.named)
        return self._chosen

    @property
    def jobs(self) -> int:
        return self._jobs or (1 if has_threads(self.choose()) else cores())

    @property
    def name(self) -> str:
        """The recogniser and its model, for people."""
        return self._identity[0]

    @property
    def version(self) -> str:
        return self._identity[1]

    def recognise(self, sounds: Iterable[SpeechSource]) -> Iterator[str]:
        """The words of each utterance on one line, in order, each as soon as it is recognised.

        Few of the sounds are in memory at a time.

        Raises:
            MoodlineError: speech cannot be read, or a process was killed
        """
        if self.jobs == 1:
            return (_words(self._loaded, sound) for sound in sounds)
        return self._side_by_side(sounds)

    def close(self) -> None:
        """End the processes, and wait for them."""
        if "_processes" in self.__dict__:
            self._processes.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @cached_property
    def _loaded(self) -> Recogniser:
        return load_recogniser(self.choose(), cores(), self._device)

    @cached_property
    def _processes(self) -> ProcessPoolExecutor:
        # Not forked: a fork of a process with threads, as pyarrow's, may hang.
        context = multiprocessing.get_context("spawn")
        threads = max(1, cores() // self.jobs)
        return ProcessPoolExecutor(self.jobs, context, _initialise_worker, (self.choose(), threads, self._device))

    @cached_property
    def _identity(self) -> tuple[str, str]:
        if self.jobs == 1:
            return self._loaded.name, self._loaded.version
        return self._processes.submit(_identity_here).result()

    def _side_by_side(self, sounds: Iterable[SpeechSource]) -> Iterator[str]:
        pending: deque[Future[str]] = deque()
        try:
            for sound in sounds:
                pending.append(self._processes.submit(_words_here, sound))
                if len(pending) > AHEAD * self.jobs:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise MoodlineError(
                "a process that recognises words was killed, for its memory perhaps: take fewer --jobs; "
                "the same command resumes"
            ) from error
        finally:
            for future in pending:
                future.cancel()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _words(recogniser: Recogniser, sound: SpeechSource) -> str:
    return " ".join(recogniser.recognise(sound.samples()).split())


def _initialise_worker(chosen: str, threads: int, device: str) -> None:
    """Note the recogniser of this process, leave Ctrl-C to the parent, and end when the parent does."""
    global _chosen
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _chosen = chosen, threads, device


@cache
def _loaded_here() -> Recogniser:
    return load_recogniser(*_chosen)


def _words_here(sound: SpeechSource) -> str:
    return _words(_loaded_here(), sound)


def _identity_here() -> tuple[str, str]:
    return _loaded_here().name, _loaded_here().version


_chosen: tuple[str, int, str]
