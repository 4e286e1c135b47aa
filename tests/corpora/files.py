"""Files that readers are given, and what a folder holds."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def written(folder: Path, text: str, name: str = "talks.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding, newline="")
    return path


def record(path: Path, seconds: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.linspace(-0.5, 0.5, round(RATE * seconds)), RATE)
    return path


def content_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The files' times and content."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
