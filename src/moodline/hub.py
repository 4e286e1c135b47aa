"""Models on the Hugging Face hub: download, check and upload. Nothing of a repository is ever run or unpickled."""

import errno
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

from moodline.config import STAGES
from moodline.errors import MoodlineError, get_first_line
from moodline.io import WRITE_REMEDIES, build_read_error, build_write_error, convert_to_path
from moodline.starter import STARTER, require_starter

logger = logging.getLogger("moodline")

HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\S+))?", re.ASCII)
# The files that a model consists of; others of a repository are neither downloaded nor uploaded.
MODEL_FILES = (
    "README.md",
    "config.json",
    *(f"{stage}.safetensors" for stage in STAGES),
    *(f"{part}/*.json" for part in ("bert", "audio")),
    *(f"audio/{name}" for name in ("model.bin", "vocabulary.txt")),  # of faster-whisper, in CTranslate2's format
)
DESCRIPTION_KEYS = {"schema", "recipe", "label_set", "provenance"}
LOGIN_HINT = "log in with hf auth login, or set HF_TOKEN"


def locate_model(named: str | Path, revision: str | None = None) -> Path:
    """Return a model's folder: the named one, a starter model's, or the checked download of a model on the hub.

    The string starter names the model of the package moodline-starter, unless a folder of that name is a model. Any
    other string names a folder where one exists; else org/name or org/name@revision names a model on the hub.

    Args:
        revision: a branch, tag or commit; None for the newest

    Raises:
        MoodlineError: the hub has no such model, refuses it or is out of reach; or a file differs from the hub's
    """
    place = convert_to_path(named, "a model")
    if named == STARTER and revision is None and not (place / "config.json").is_file():
        return require_starter()
    found = None if isinstance(named, Path) or os.path.exists(place) else HUB_NAME.fullmatch(str(named))
    if found is None:
        if revision is not None:
            raise MoodlineError(
                f"revision {revision!r} is for a model on the hub, and {named} names a folder; leave it out",
                code="option.unfit",
            )
        return place
    if None not in (revision, found["revision"]):
        raise MoodlineError(
            f"{named} names a revision, and revision is {revision!r}: give one", code="option.contradiction"
        )
    return download_model(found["name"], revision or found["revision"])


def find_hub_name(folder: Path) -> str | None:
    """Return org/name@commit for a folder of the hub's cache; None for any other."""
    commit, snapshots, repository = folder.name, folder.parent.name, folder.parent.parent.name
    if snapshots != "snapshots" or not repository.startswith("models--"):
        return None
    return f"{repository.removeprefix('models--').replace('--', '/')}@{commit}"


def download_model(name: str, revision: str | None) -> Path:
    """Return the cached folder of a model on the hub, after downloading what the cache lacks and checking it all."""
    from huggingface_hub import snapshot_download

    try:
        with silence_hub():
            found = snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(MODEL_FILES),
                library_name="moodline",
                library_version=metadata.version("moodline"),
            )
    except Exception as error:  # of the hub's library, its HTTP client or the system
        raise build_download_error(error, name, revision) from error
    folder = Path(found)
    for path in list_model_files(folder):
        check_file(path)
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # missing, or another library's
        content = None
    if not isinstance(content, dict) or not content.keys() >= DESCRIPTION_KEYS:
        fault = explain_encoder(name, content) or (
            f"{name} on the hub is not a model of moodline: it has no config.json with "
            f"{', '.join(sorted(DESCRIPTION_KEYS))}; give another name"
        )
        raise MoodlineError(fault, code="hub.not_a_model")
    return folder


def explain_encoder(name: str, content: object) -> str:
    """Explain that a config.json describes a pretrained encoder, and what takes it; empty if it does not."""
    if not isinstance(content, dict) or "schema" in content or "model_type" not in content:
        return ""
    return (
        f"{name} is a pretrained encoder ({content['model_type']}), not a model of moodline. Train a model with it: "
        f"moodline train CORPUS --audio_utterance.encoder pretrained --audio_utterance.pretrained {name} if it reads "
        f"speech, --text_utterance.pretrained {name} if it reads words."
    )


def list_model_files(folder: Path) -> list[Path]:
    """List the files of a model folder that belong to the model."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in paths if any(fnmatch(path.relative_to(folder).as_posix(), one) for one in MODEL_FILES)]


def check_file(path: Path) -> None:
    """Compare a file of the hub's cache with the hub's hash, or raise MoodlineError.

    The cache links each file to a blob that is named by its hash: SHA-256, or for a small file git's SHA-1 of it.
    """
    expected = Path(os.readlink(path)).name if path.is_symlink() else ""
    try:
        if re.fullmatch(r"[0-9a-f]{64}", expected):
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        elif re.fullmatch(r"[0-9a-f]{40}", expected):
            digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: digest).hexdigest()
        else:  # a cache on a file system without links
            logger.warning("%s is not checked: the hub's cache does not record its hash", path)
            return
    except OSError as error:
        raise build_read_error(path, error) from error
    if found != expected:
        raise MoodlineError(
            f"{path} differs from the hub's file: its hash is {found}, the hub's is {expected}; delete "
            f"{path.resolve()} and load the model again",
            code="hub.changed_file",
        )


@contextmanager
def silence_hub() -> Iterator[None]:
    """Suppress the notices of the hub's library, and its progress bars where standard error is not a terminal."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    with ExitStack() as restored:
        restored.callback(hub_logging.set_verbosity, hub_logging.get_verbosity())
        hub_logging.set_verbosity_error()
        if not sys.stderr.isatty() and not are_progress_bars_disabled():
            restored.callback(enable_progress_bars)
            disable_progress_bars()
        yield


def get_status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error reports; None if it has no answer of the hub."""
    return getattr(getattr(error, "response", None), "status_code", None)


def build_download_error(error: Exception, name: str, revision: str | None) -> MoodlineError:
    """Describe why a model cannot be downloaded, and the remedy."""
    from huggingface_hub import constants, errors

    lacks_copy = isinstance(error, errors.LocalEntryNotFoundError)
    cause = error.__cause__ if lacks_copy else error
    status = get_status(cause)
    if isinstance(cause, errors.RevisionNotFoundError):
        return MoodlineError(
            f"{name} on the hub has no revision {revision or 'main'!r}: correct it", code="hub.no_revision"
        )
    if isinstance(cause, errors.GatedRepoError) or status in (401, 403):
        return MoodlineError(
            f"there is no folder {name}, and the hub does not let you read a model of this name (HTTP {status}): "
            f"check the name, ask its owner for access, and {LOGIN_HINT}",
            code="hub.no_access",
        )
    if isinstance(cause, errors.RepositoryNotFoundError) or status == 404:
        return MoodlineError(
            f"there is no folder {name}, and the hub has no model of this name: check it; for a private model "
            f"{LOGIN_HINT}",
            code="hub.no_repository",
        )
    if isinstance(error, errors.HFValidationError):
        reason = get_first_line(error).removesuffix(".")
        return MoodlineError(
            f"there is no folder {name}, and the hub has no such names: {reason}; correct it", code="hub.invalid_name"
        )
    if lacks_copy:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else get_first_line(cause or error)
        wanted = name if revision is None else f"{name}@{revision}"
        return MoodlineError(
            f"there is no folder {name}, the hub is out of reach ({reason}), and its cache {constants.HF_HUB_CACHE} "
            f"has no whole {wanted}: connect, or give a folder",
            code="hub.out_of_reach",
        )
    if (number := find_write_fault(error)) is not None:
        return build_write_error(Path(constants.HF_HUB_CACHE), OSError(number, os.strerror(number)))
    return MoodlineError(
        f"the download of {name} stopped ({get_first_line(error)}): repeat it; files that are complete are kept",
        code="hub.download_stopped",
    )


def find_write_fault(error: Exception) -> int | None:
    """Return the number of the system's fault in writing the cache; None for another error."""
    if isinstance(error, OSError) and error.errno in WRITE_REMEDIES:
        return error.errno
    return errno.ENOSPC if os.strerror(errno.ENOSPC) in str(error) else None  # the hub's own storage client


def upload_model(folder: Path, name: str, *, revision: str | None, private: bool | None, message: str) -> str:
    """Upload a model folder in one commit, and return the commit's address; the repository is created if needed.

    Args:
        name: org/name
        revision: a branch, which is created if needed; None for the main one
        private: whether a new repository is private; None for its owner's default

    Raises:
        MoodlineError: there is no login, it may not write there, or the hub refuses the upload or is out of reach
    """
    from huggingface_hub import HfApi, get_token

    if "@" in name or not HUB_NAME.fullmatch(name):
        raise MoodlineError(f"a model on the hub is named org/name, not {name!r}", code="hub.invalid_name")
    if get_token() is None:
        raise MoodlineError(f"{name} cannot be uploaded without a login: {LOGIN_HINT}", code="hub.no_token")
    api = HfApi(library_name="moodline", library_version=metadata.version("moodline"))
    try:
        with silence_hub():
            api.create_repo(name, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(name, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                revision=revision,
                commit_message=message,
                allow_patterns=list(MODEL_FILES),
                delete_patterns=list(MODEL_FILES),  # those that a model before had, and this one lacks
            )
    except Exception as error:  # of the hub's library, its HTTP client or the system
        status = get_status(error)
        if status in (401, 403):
            fault = f"your login may not write {name} on the hub (HTTP {status}): {LOGIN_HINT} of one that may"
            raise MoodlineError(fault, code="hub.no_access") from error
        raise MoodlineError(
            f"{name} cannot be uploaded to the hub: {get_first_line(error)}; repeat it", code="hub.upload_failed"
        ) from error
    return str(commit.commit_url)
