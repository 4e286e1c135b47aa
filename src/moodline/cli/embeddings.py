"""--audio-embeddings and --text-embeddings: what takes the place of an utterance encoder."""

from pathlib import Path
from typing import Any

from moodline.cli.parser import Parser
from moodline.config import EMBEDDINGS_OPTIONS


def add_to(command: Parser) -> None:
    for encoder, option in EMBEDDINGS_OPTIONS.items():
        told = f"a Parquet file (columns id, vector) in the place of the part {encoder}"
        command.add_argument(option, type=Path, default=None, help=told)


def chosen(options: Any) -> dict[str, Path]:
    """The files given, by the encoder whose place they take."""
    names = {encoder: option.removeprefix("--").replace("-", "_") for encoder, option in EMBEDDINGS_OPTIONS.items()}
    return {encoder: options[name] for encoder, name in names.items() if options[name] is not None}
