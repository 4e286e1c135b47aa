"""--audio-embeddings and --text-embeddings: what takes the place of an utterance encoder."""

from pathlib import Path
from typing import Any

from moodline.cli.parser import Parser
from moodline.config import EMBEDDINGS_OPTIONS

NAMES = tuple(option.removeprefix("--").replace("-", "_") for option in EMBEDDINGS_OPTIONS.values())


def add_to(command: Parser) -> None:
    for encoder, option in EMBEDDINGS_OPTIONS.items():
        told = f"a Parquet file (columns id, vector) in the place of the part {encoder}"
        command.add_argument(option, type=Path, default=None, help=told)


def chosen(options: Any) -> dict[str, Path]:
    """The files given, by the encoder whose place they take."""
    return {
        encoder: options[name]
        for encoder, name in zip(EMBEDDINGS_OPTIONS, NAMES, strict=True)
        if options[name] is not None
    }
