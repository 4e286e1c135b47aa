"""A corpus on disk: one Parquet table, a row an utterance, and a small JSON beside it.

    utterances.parquet   read as it is by pandas, polars, DuckDB and datasets.load_dataset("parquet")
    corpus.json          reader, source, counts, hash of the table, what was left out and why

``audio_file`` is relative to the source folder, so that the table, and its hash, are the same on every machine; only
a file outside that folder keeps its whole path.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.errors import MoodlineError
from moodline.files import atomic_folder, read_json, write_json

SCHEMA = 2
TABLE_FILE = "utterances.parquet"
DESCRIPTION_FILE = "corpus.json"
COLUMNS = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("order", pa.int32(), nullable=False),
        pa.field("speaker", pa.string(), nullable=False),
        pa.field("session", pa.string()),
        pa.field("part", pa.string()),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
        pa.field("words", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("audio_file", pa.string()),
        pa.field("audio_offset", pa.float64()),
        pa.field("audio_duration", pa.float64()),
        pa.field("sample_rate", pa.int32()),
        pa.field("split", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Conversations, where they come from, and what of the source was left out: reason -> ids."""

    reader: str
    source: Path
    conversations: tuple[Conversation, ...]
    left_out: Mapping[str, tuple[str, ...]]

    @property
    def utterances(self) -> Iterable[Utterance]:
        return (utterance for conversation in self.conversations for utterance in conversation.utterances)

    @property
    def table_hash(self) -> str:
        return hash_rows(rows_of(self))

    def conversation(self, conversation_id: str) -> Conversation:
        for conversation in self.conversations:
            if conversation.id == conversation_id:
                return conversation
        first = ", ".join(conversation.id for conversation in self.conversations[:3])
        raise MoodlineError(f"the corpus has no conversation {conversation_id!r}; it has {first}, ...")


def rows_of(corpus: Corpus) -> list[dict[str, Any]]:
    return [
        row_of(corpus.source, conversation, order, utterance)
        for conversation in corpus.conversations
        for order, utterance in enumerate(conversation.utterances)
    ]


def row_of(source: Path, conversation: Conversation, order: int, utterance: Utterance) -> dict[str, Any]:
    clip = utterance.audio
    return {
        "utterance_id": utterance.id,
        "conversation_id": conversation.id,
        "order": order,
        "speaker": utterance.speaker,
        "session": conversation.session,
        "part": conversation.part,
        "start": utterance.start,
        "end": utterance.end,
        "words": utterance.words,
        "label": utterance.label,
        "audio_file": relative(clip.path, source).as_posix() if clip else None,
        "audio_offset": clip.offset if clip else None,
        "audio_duration": clip.duration if clip else None,
        "sample_rate": clip.sample_rate if clip else None,
        "split": conversation.split,
    }


def relative(path: Path, source: Path) -> Path:
    """The path within the source folder; a file that lies elsewhere keeps its own."""
    return path.relative_to(source) if path.is_relative_to(source) else path


def hash_rows(rows: list[dict[str, Any]]) -> str:
    """A hash of the table's content, whatever version of Parquet's writer wrote it."""
    digest = hashlib.sha256()
    for row in rows:
        values = [row[name] for name in COLUMNS.names if name != "split"]
        # Tables of schema 1 have no split: one without keeps the hash that runs on it remember.
        split = row.get("split")
        digest.update(json.dumps([*values, split] if split else values).encode())
    return digest.hexdigest()[:16]


def write_corpus(corpus: Corpus, out: Path) -> None:
    """Write a corpus folder, whole or not at all.

    Raises:
        MoodlineError: ``out`` holds something else; the same corpus again is left as it is
    """
    if (out / DESCRIPTION_FILE).is_file():
        found = read_corpus(out)
        if found == corpus:
            return
        raise MoodlineError(f"{out} holds a corpus with other content: choose another -o, or remove that folder")
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    elif out.exists():
        raise MoodlineError(f"{out} is neither an empty folder nor a corpus: choose another -o")
    rows = rows_of(corpus)
    with atomic_folder(out) as folder:
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), folder / TABLE_FILE)
        write_json(
            folder / DESCRIPTION_FILE,
            {
                "schema": SCHEMA,
                "reader": corpus.reader,
                "source": str(corpus.source),
                "conversations": len(corpus.conversations),
                "utterances": len(rows),
                "table_hash": hash_rows(rows),
                "left_out": {reason: list(ids) for reason, ids in corpus.left_out.items()},
            },
        )


def read_corpus(folder: Path) -> Corpus:
    """Read a corpus folder that ``moodline prepare`` wrote.

    Raises:
        MoodlineError: the folder is no corpus, or its table is not the one that corpus.json describes
    """
    description = read_json(folder / DESCRIPTION_FILE, "corpus folder (moodline prepare makes one)")
    table = folder / TABLE_FILE
    try:
        if description["schema"] > SCHEMA:
            raise MoodlineError(f"corpus {folder} has schema {description['schema']}: install a newer moodline")
        rows = pq.read_table(table).to_pylist()
        source = Path(description["source"])
        corpus = Corpus(
            reader=description["reader"],
            source=source,
            conversations=conversations_of(rows, source),
            left_out={reason: tuple(ids) for reason, ids in description["left_out"].items()},
        )
        expected, found = description["table_hash"], hash_rows(rows)
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise MoodlineError(
            f"corpus {folder} cannot be read: {table.name}: {error}; remove the folder and prepare it again"
        ) from error
    if expected != found:
        raise MoodlineError(
            f"{table} has hash {found} and corpus.json says {expected}: "
            "the table was changed after it was prepared; remove the folder and prepare it again"
        )
    return corpus


def conversations_of(rows: list[dict[str, Any]], source: Path) -> tuple[Conversation, ...]:
    return tuple(
        Conversation(
            id=conversation_id,
            session=turns[0]["session"],
            part=turns[0]["part"],
            split=turns[0].get("split"),
            utterances=tuple(utterance_of(row, source) for row in sorted(turns, key=lambda row: row["order"])),
        )
        for conversation_id, turns in (
            (key, list(group)) for key, group in groupby(rows, key=lambda row: row["conversation_id"])
        )
    )


def utterance_of(row: dict[str, Any], source: Path) -> Utterance:
    clip = None
    if row["audio_file"] is not None:
        clip = AudioClip(
            path=source / row["audio_file"],
            offset=row["audio_offset"],
            duration=row["audio_duration"],
            sample_rate=row["sample_rate"],
        )
    return Utterance(
        id=row["utterance_id"],
        speaker=row["speaker"],
        words=row["words"],
        audio=clip,
        start=row["start"],
        end=row["end"],
        label=row["label"],
    )
