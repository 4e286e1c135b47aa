"""Whisper by faster-whisper: a folder in CTranslate2's format, or a name that faster-whisper knows."""

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from moodline.errors import MoodlineError, first_line
from moodline.files import hash_of_file
from moodline.wording import to_install

WEIGHTS_FILE = "model.bin"
CACHED = "models--"  # how a hub's cache begins the folder of a model, with -- for every / of its name


def folder_of(named: str) -> Path:
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
            f"{to_install('whisper')}"
        ) from None
    try:
        return Path(download_model(named))
    except Exception as error:  # of the hub, of the network, of the name
        raise MoodlineError(
            f"a recogniser is pocketsphinx, a folder with {WEIGHTS_FILE}, or a name that faster-whisper knows or can "
            f"fetch: {named!r} is none ({first_line(error)})"
        ) from error


def cached() -> Path | None:
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
    """A model on one thread, or on a GPU where there is one; it finds the language itself.

    Raises MoodlineError where faster-whisper is not installed, or the folder holds no model.
    """

    def __init__(self, folder: str) -> None:
        try:
            from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise MoodlineError(f"{folder} is read by faster-whisper: {to_install('whisper')}") from None
        self.folder = Path(folder)
        try:
            self._model = WhisperModel(folder, cpu_threads=1)
        except Exception as error:  # of CTranslate2, of tokenizers, of a tokenizer that is not there
            raise MoodlineError(
                f"{folder} cannot be read as a model of faster-whisper: {first_line(error)}; fetch it again"
            ) from error

    @property
    def name(self) -> str:
        inside = (part for part in self.folder.parts if part.startswith(CACHED))
        model = next(inside, self.folder.name).removeprefix(CACHED).replace("--", "/")
        return f"faster-whisper {model}"

    @property
    def version(self) -> str:
        """Of the package, and a hash of the weights."""
        return f"{metadata.version('faster-whisper')}, weights {hash_of_file(self.folder / WEIGHTS_FILE)}"

    def recognise(self, samples: np.ndarray) -> str:
        """See ``recogniser.Recogniser``."""
        # At temperature 0 alone nothing is drawn at random.
        segments, _ = self._model.transcribe(
            samples.astype(np.float32), temperature=0.0, condition_on_previous_text=False, without_timestamps=True
        )
        return " ".join(segment.text.strip() for segment in segments)
