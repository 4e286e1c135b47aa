"""Whisper's encoder by faster-whisper, in CTranslate2's format: frozen, and not a module of PyTorch."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from moodline.device import CPU
from moodline.errors import MoodlineError, format_install_hint, get_first_line
from moodline.io import open_atomic_file
from moodline.modeling.audio_backbone import FASTER_WHISPER
from moodline.modeling.pretrained_files import (
    WHEELS,
    Fingerprint,
    refuse_other_weights,
    resolve_model,
    silence_transformers,
)

WEIGHTS_FILE = "model.bin"
FILES = (WEIGHTS_FILE, "config.json", "vocabulary.json", "vocabulary.txt")  # a model has one of the vocabularies
FRAMES = 3_000  # of the log-mel spectrogram: 30 s


class EncoderSize(NamedTuple):
    """Describe the encoder in the terms of a configuration of ``transformers``."""

    hidden_size: int
    num_hidden_layers: int = 0  # whose hidden states are known, but for the last one's
    model_type: str = FASTER_WHISPER


class EncoderOutput(NamedTuple):
    hidden_states: tuple[Tensor]


class FasterWhisperEncoder:
    """Compute the last hidden states of Whisper's encoder, in single precision, from a folder in CTranslate2's format.

    Attributes:
        mels: number of mel filters that it reads
        config: its size

    Raises:
        MoodlineError: faster-whisper is not installed, the folder has no such model, or its weights are not finite
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._models: dict[torch.device, Any] = {}
        self.mels: int = self._load(CPU).n_mels
        try:
            # On the CPU also where sizes are checked on a default device without memory.
            silence = self(torch.zeros(1, self.mels, FRAMES, device="cpu"))
        except Exception as error:  # of CTranslate2
            raise build_load_error(folder, get_first_line(error)) from error
        if not silence.hidden_states[0].isfinite().all():
            raise build_load_error(folder, "its hidden states are NaN or infinite", code="model.not_finite")
        self.config = EncoderSize(silence.hidden_states[0].shape[-1])

    def __call__(self, features: Tensor, output_hidden_states: bool = True) -> EncoderOutput:
        """Map log-mel spectrograms (B, mel filters, frames) to hidden states (B, frames / 2, D) on their device."""
        import ctranslate2  # pyright: ignore[reportMissingImports]  # an extra

        values = ctranslate2.StorageView.from_array(np.ascontiguousarray(features.cpu().numpy()))
        states = self._load(features.device if features.is_cuda else CPU).encode(values, to_cpu=True)
        return EncoderOutput((torch.from_numpy(np.array(states)).to(features.device),))

    def save(self, folder: Path) -> None:
        """Copy the model's files into a folder."""
        for name in FILES:
            if (self.folder / name).is_file():
                with open_atomic_file(folder / name) as temporary:
                    shutil.copyfile(self.folder / name, temporary)

    def _load(self, device: torch.device) -> Any:
        if device not in self._models:
            self._models[device] = load_whisper(self.folder, device)
        return self._models[device]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_models": {}}  # a copy loads its own

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing of it changes


def load_whisper(folder: Path, device: torch.device) -> Any:
    """Load a Whisper model of CTranslate2, or raise MoodlineError."""
    try:
        import ctranslate2  # pyright: ignore[reportMissingImports]  # an extra
    except ModuleNotFoundError:
        raise build_missing_error() from None
    try:
        return ctranslate2.models.Whisper(
            str(folder),
            device=device.type,
            device_index=device.index or 0,
            compute_type="float32",
            intra_threads=torch.get_num_threads(),
        )
    except Exception as error:  # of CTranslate2, by the faulty file
        raise build_load_error(folder, get_first_line(error)) from error


def build_missing_error() -> MoodlineError:
    return MoodlineError(
        f"audio_utterance.encoder {FASTER_WHISPER} needs the extra whisper: {format_install_hint('whisper')}",
        code="recipe.missing_faster_whisper",
    )


def build_load_error(folder: Path, reason: str, code: str = "model.unreadable_encoder") -> MoodlineError:
    return MoodlineError(
        f"{folder} cannot be loaded by faster-whisper: {reason.removesuffix('.')}. Set audio_utterance.pretrained to a "
        f"name that faster-whisper knows, such as tiny.en, or to a folder with {WEIGHTS_FILE}.",
        code=code,
    )


def load_faster_whisper(name: str, *, key: str, revision: str | None = None) -> FasterWhisperEncoder:
    """Load Whisper's encoder from a folder, a wheel, or a hub by a name that faster-whisper knows.

    Raises:
        MoodlineError: faster-whisper or the wheel is not installed, there is no such model, or the wheel has other
            weights than those that are known
    """
    return FasterWhisperEncoder(find_known_folder(name, key, revision))


def find_known_folder(name: str, key: str, revision: str | None = None) -> Path:
    """Find a model's folder as ``find_folder`` does, and refuse a wheel with other weights than the known ones."""
    folder = find_folder(name, key, revision)
    if name in WHEELS:
        refuse_other_weights(folder, name)
    return folder


def find_folder(name: str, key: str, revision: str | None) -> Path:
    """Find a model's folder, that of a wheel or of the hub's cache, after downloading what the cache lacks."""
    folder = Path(resolve_model(name, key))
    return folder if folder.is_dir() else download(name, revision)


def fingerprint_faster_whisper(fingerprint: Fingerprint, name: str, key: str, revision: str | None) -> str:
    """Fingerprint a model's files; empty if they cannot be found, of which loading the model reports the reason."""
    try:
        return fingerprint(str(find_folder(name, key, revision)), key, None)
    except MoodlineError:
        return ""


def download(name: str, revision: str | None) -> Path:
    """Find a model in the hub's cache, or download it, or raise MoodlineError."""
    try:
        from faster_whisper import download_model  # pyright: ignore[reportMissingImports]  # an extra
    except ModuleNotFoundError:
        raise build_missing_error() from None
    try:
        with silence_transformers():
            return Path(download_model(name, revision=revision))
    except Exception as error:  # of the hub, of the network, or of the name
        raise build_load_error(Path(name), get_first_line(error)) from error
