"""Features of frozen encoders on disk, computed once for all folds, seeds and runs of a corpus."""

import json
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, cat, nn

from moodline.device import get_precision
from moodline.io import FEATURES_FOLDER, hash_file, hash_json, open_atomic_file
from moodline.modeling.checkpoint import hash_weights
from moodline.modeling.faster_whisper import WEIGHTS_FILE, FasterWhisperEncoder
from moodline.modeling.pretrained import describe_config
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.text_encoder import TextEncoder, Tokenizer

SUFFIX = ".safetensors"
VALUES = "values"
logger = logging.getLogger("moodline")


class FeatureStore:
    """Keeps an array (R, W) by name, with one W and any R, in files that are added and never changed.

    Several processes may write at once: each adds files of its own, and an array that two of them computed is there
    twice. Arrays are read from the disk one by one, so memory does not grow with their number.

    Args:
        folder: of one encoder's features; the first write creates it
        others: folders that are read as well
    """

    def __init__(self, folder: Path, *others: Path) -> None:
        self.folder, self.others = folder, others
        self._files: dict[Path, Any] = {}
        self._places: dict[str, tuple[Path, int, int]] = {}  # by name: a file, and the first and last row + 1 in it
        self.read_index()

    def read_index(self) -> None:
        """Find the arrays of files that appeared since the last call, also those of other processes."""
        for path in sorted(path for one in (self.folder, *self.others) for path in one.glob(f"[!.]*{SUFFIX}")):
            if path in self._files:
                continue
            try:
                file = safe_open(path, framework="pt")
                content = file.metadata()
                names, sizes = json.loads(content["names"]), json.loads(content["sizes"])
            except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
                logger.warning("%s cannot be read; its features are computed again: %s", path, error)
                self._files[path] = None
                if not isinstance(error, OSError):  # its content is broken: the next process need not meet it
                    with suppress(OSError):
                        path.unlink()
                continue
            self._files[path], start = file, 0
            for name, size in zip(names, sizes, strict=True):
                self._places[name] = path, start, start + size
                start += size

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Tensor:
        """Read an array (R, W)."""
        path, start, stop = self._places[name]
        return self._files[path].get_slice(VALUES)[start:stop]

    def get_size(self, name: str) -> int:
        """Return the number R of an array's rows without reading it."""
        _, start, stop = self._places[name]
        return stop - start

    def add(self, arrays: Mapping[str, Tensor]) -> None:
        """Write arrays (R_i, W) as one new file."""
        names, values = list(arrays), list(arrays.values())
        header = {"names": json.dumps(names), "sizes": json.dumps([len(one) for one in values])}
        with open_atomic_file(self.folder / f"{secrets.token_hex(8)}{SUFFIX}") as temporary:
            temporary.write_bytes(save({VALUES: cat(values).contiguous()}, metadata=header))
        self.read_index()

    def select_missing(self, names: Sequence[str]) -> list[int]:
        """Return the places of names without an array, the first of equal ones."""
        seen: set[str] = set()
        return [place for place, name in enumerate(names) if name not in self and not (name in seen or seen.add(name))]


class FeatureFolder:
    """Opens a store for each frozen encoder, named by its weights and settings; all share a folder, and read others."""

    def __init__(self, folder: Path, *others: Path) -> None:
        self.folder, self.others = folder, others
        self._stores: WeakKeyDictionary[nn.Module, FeatureStore] = WeakKeyDictionary()

    def open(self, part: TextEncoder | PretrainedAudio, tokenizer: Tokenizer | None) -> FeatureStore:
        """Open the store of a part's encoder; ``tokenizer`` is that of an encoder of words."""
        if part not in self._stores:
            name = hash_encoder(part, tokenizer)
            self._stores[part] = FeatureStore(*(one / name for one in (self.folder, *self.others)))
        return self._stores[part]


def choose_feature_folder(corpus: Path, otherwise: Path) -> FeatureFolder:
    """Keep features in a corpus's folder, where all its runs find them; elsewhere if that can only be read."""
    shared = corpus / FEATURES_FOLDER
    return FeatureFolder(shared) if os.access(corpus, os.W_OK) else FeatureFolder(otherwise / FEATURES_FOLDER, shared)


def is_cacheable(part: nn.Module) -> TypeGuard[TextEncoder | PretrainedAudio]:
    """Check whether a part reads features that never change, because its pretrained encoder is frozen."""
    return isinstance(part, TextEncoder | PretrainedAudio) and part.is_cacheable


def hash_encoder(part: TextEncoder | PretrainedAudio, tokenizer: Tokenizer | None) -> str:
    """Hash all that the features of a part depend on, beside the utterance."""
    precision = get_precision(part)
    if isinstance(part, TextEncoder):
        assert tokenizer is not None, "a model of words is loaded with its tokenizer"
        return hash_json([*identify(part.bert), tokenizer.tokenizer.to_str(), precision, *part.feature_settings])
    return hash_json([*identify(part.backbone), precision, *part.feature_settings])


def identify(backbone: Any) -> tuple[object, ...]:
    """Identify a pretrained encoder by its weights and its configuration, without the version that wrote the latter."""
    if isinstance(backbone, FasterWhisperEncoder):
        return (hash_file(backbone.folder / WEIGHTS_FILE),)
    config = describe_config(backbone)
    config.pop("transformers_version", None)
    return hash_weights(backbone), config
