"""What several runs have in common is trained once: a finished stage of the same origin is taken over."""

import os
import shutil
from pathlib import Path

from moodline.checkpoint import BERT_CONFIG_FILE, TOKENIZER_FILE
from moodline.config import TEXT_UTTERANCE
from moodline.files import atomic_file, read_json
from moodline.training.origin import hash_of


def finished_stages(runs: Path) -> dict[str, Path]:
    """The record of a finished stage by the hash of its origin, of all runs in a folder and below it."""
    records = sorted(runs.glob("**/fold-*/stages/*.json"))
    finished = (record for record in records if not record.name.endswith(".unfinished.json"))
    return {hash_of(read_json(record, "stage")["origin"]): record for record in finished}


def take_over(record: Path, fold: Path) -> None:
    """Make another fold's finished stage one of this fold's; its record comes last, as when a stage is trained.

    Args:
        record: of the other fold's
        fold: this one's folder
    """
    stage, other = record.stem, record.parent.parent
    files = [f"embeddings/{stage}.parquet", f"model/{stage}.safetensors"]
    if stage == TEXT_UTTERANCE:
        files += [f"model/{BERT_CONFIG_FILE}", f"model/{TOKENIZER_FILE}"]
    for name in (*files, f"stages/{stage}.json"):
        if (other / name).exists():  # the fusion has no embeddings
            link(other / name, fold / name)


def link(source: Path, target: Path) -> None:
    """A second name of a file, or a copy where the file system has no such thing; files are only ever replaced."""
    with atomic_file(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
