"""File input and output: atomic writes, JSON and YAML."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from moodline.errors import MoodlineError, join_lines, quote

FEATURES_FOLDER = "features"  # of a corpus or a run: what frozen encoders computed
# Remedies by the reason for which a write fails.
WRITE_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space or choose another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable for you or choose another folder"),
}


def build_write_error(path: Path, error: OSError) -> MoodlineError:
    """Describe why a path cannot be written, and the remedy."""
    remedy = WRITE_REMEDIES.get(error.errno or 0, "choose another folder")
    return MoodlineError(f"{path} cannot be written: {error.strerror or error}; {remedy}", code="file.not_writable")


def convert_to_path(value: object, what: str) -> Path:
    """Convert a caller's path; refuse another type, with ``what`` the path leads to."""
    if not isinstance(value, str | os.PathLike):
        raise MoodlineError(f"{what} must be a path, not {quote(value)}; give its path", code="file.not_a_path")
    return Path(value)


def build_read_error(path: Path, error: Exception) -> MoodlineError:
    """Describe why a file cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return MoodlineError(f"{path} cannot be read: {reason}; check the path", code="file.not_readable")


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Convert an OSError of the block to a MoodlineError about writing ``path``."""
    try:
        yield
    except OSError as error:
        raise build_write_error(path, error) from error


@contextmanager
def open_atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes ``path`` when the block ends without an error.

    An OSError of the block becomes a MoodlineError about writing ``path``, unless it names a file elsewhere, which the
    block has read.
    """
    # A process id would not be unique: containers that share a folder have the same ids.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(*temporary.rglob("*"), temporary)
        os.replace(temporary, path)
        with suppress(OSError):  # the content has its name: an error here would report a failed write
            flush(path.parent)
    except OSError as error:
        named = temporary if error.filename is None else Path(str(error.filename))
        if not named.is_relative_to(temporary) and named not in path.parents:
            raise
        raise build_write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # it was a folder, has moved, or was never written
            temporary.unlink()


@contextmanager
def open_atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder, which becomes ``path`` when the block ends without an error; ``path`` must not exist."""
    with open_atomic_file(path) as temporary:
        temporary.mkdir()  # readable for others as far as the user's umask allows
        yield temporary


@contextmanager
def open_replacement_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder, which replaces the folder ``path``, if any, when the block ends without an error."""
    former = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open_atomic_folder(path) as temporary:
            yield temporary
            if path.exists():
                with report_write_errors(path):
                    os.rename(path, former)
    except BaseException:
        if former.exists() and not path.exists():
            os.rename(former, path)
        raise
    finally:
        shutil.rmtree(former, ignore_errors=True)


def flush(*paths: Path) -> None:
    """Write files' content, and folders' entries, from the system's memory to the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_file(source: str | Path, target: str | Path) -> None:
    """Link a file that is never edited under a second name, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def hash_file(path: Path) -> str:
    """Hash a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
    except OSError as error:
        raise build_read_error(path, error) from error


def hash_json(content: Any) -> str:
    """Hash content that JSON can represent."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder and below it."""
    for path in folder.rglob(".*.part"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with open_atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; ``what`` names its kind, or that of its folder, in errors."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        folder = path.parent
        if not folder.exists():
            fault, code = f"there is no folder {folder}: check the path of the {what}", "file.no_folder"
        elif folder.is_dir():
            fault, code = f"{folder} is not a {what}: it has no {path.name}; check the path", "file.other_folder"
        else:
            fault, code = f"{folder} is not a {what}: it is a file; give the folder", "file.not_a_folder"
        raise MoodlineError(fault, code=code) from None
    except OSError as error:
        raise build_read_error(path, error) from error
    except (ValueError, RecursionError) as error:
        fault = f"{path} is not valid JSON (expected a {what}): {error}; create it again"
        raise MoodlineError(fault, code="file.bad_json") from error


def read_description(path: Path, what: str, schema: int) -> dict[str, Any]:
    """Read the JSON that describes a folder; ``schema`` is the newest that can be read."""
    content = read_json(path, what)
    found = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(found, int):
        fault = f"{path} has no schema (a whole number), but {quote(found)}; create the {what} again"
        raise MoodlineError(fault, code="file.no_schema")
    if found > schema:
        fault = f"{path} has schema {found}, and this moodline reads up to {schema}: install a newer moodline"
        raise MoodlineError(fault, code="file.newer_schema")
    return content


def flatten_keys(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys, and convert tuples to lists, as JSON does."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flatten_keys(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


class UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a repeated key, where PyYAML's safe loader silently uses the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        found: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in found:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is repeated", problem_mark=key.start_mark
                    )
                found.add((key.tag, key.value))
        return node


def read_yaml(path: Path, what: str) -> Any:
    """Read a YAML file; ``what`` names its kind in errors."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return yaml.load(file, Loader=UniqueKeyLoader)
    except Exception as error:  # PyYAML raises any exception where a value does not fit its tag
        raise MoodlineError(f"{what} {path} cannot be read: {join_lines(error)}", code="file.bad_yaml") from error
