"""What a row of a corpus's table is: one utterance, its conversation's facts, and where its speech lies.

Rows come and go one by one, and texts that stand in many of them are kept once, so that a corpus of many hours takes
little memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.conversation import AudioClip, Conversation, Utterance

COLUMNS = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("order", pa.int32(), nullable=False),
        pa.field("speaker", pa.string(), nullable=False),
        pa.field("session", pa.string()),
        pa.field("part", pa.string()),
        pa.field("split", pa.string()),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
        pa.field("words", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("audio_file", pa.string()),
        pa.field("audio_offset", pa.float64()),
        pa.field("audio_duration", pa.float64()),
        pa.field("sample_rate", pa.int32()),
        pa.field("audio_hash", pa.string()),
    ]
)
# Columns whose values stand in many rows.
REPEATED = (
    "conversation_id",
    "speaker",
    "session",
    "part",
    "split",
    "label",
    "audio_file",
    "audio_hash",
    "sample_rate",
)
ROWS_AT_ONCE = 2**14  # of a table, which are a row group of its file
ROWS_READ = 2**10  # together: what they leave behind among what is kept is memory that stays taken

Row = dict[str, Any]


def rows_of(source: Path, conversations: Iterable[Conversation]) -> Iterator[Row]:
    return (
        row_of(source, conversation, order, utterance)
        for conversation in conversations
        for order, utterance in enumerate(conversation.utterances)
    )


def row_of(source: Path, conversation: Conversation, order: int, utterance: Utterance) -> Row:
    clip = utterance.audio
    return {
        "utterance_id": utterance.id,
        "conversation_id": conversation.id,
        "order": order,
        "speaker": utterance.speaker,
        "session": conversation.session,
        "part": conversation.part,
        "split": conversation.split,
        "start": utterance.start,
        "end": utterance.end,
        "words": utterance.said,
        "label": utterance.label,
        "audio_file": relative(clip.path, source).as_posix() if clip else None,
        "audio_offset": clip.offset if clip else None,
        "audio_duration": clip.duration if clip else None,
        "sample_rate": clip.sample_rate if clip else None,
        "audio_hash": clip.file_hash if clip else None,
    }


def relative(path: Path, source: Path) -> Path:
    """The path within the source folder; a file that lies elsewhere keeps its own."""
    return path.relative_to(source) if path.is_relative_to(source) else path


class TableHash:
    """A hash of a table's content, whatever version of Parquet's writer wrote it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def add(self, row: Row) -> None:
        self.digest.update(json.dumps([row[name] for name in COLUMNS.names]).encode())

    def over(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, each added as it passes."""
        for row in rows:
            self.add(row)
            yield row

    def __str__(self) -> str:
        return self.digest.hexdigest()[:16]


def write_table(path: Path, rows: Iterable[Row]) -> None:
    with pq.ParquetWriter(path, COLUMNS) as writer:
        remaining = iter(rows)
        while some := list(islice(remaining, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema=COLUMNS))


def read_table(path: Path) -> Iterator[Row]:
    kept: dict[object, object] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_READ):
            for row in batch.to_pylist():
                yield row | {name: kept.setdefault(row[name], row[name]) for name in REPEATED}


def conversations_of(rows: Iterable[Row], source: Path) -> Iterator[Conversation]:
    place = cache(source.joinpath)
    for conversation_id, group in groupby(rows, key=lambda row: row["conversation_id"]):
        turns = sorted(group, key=lambda row: row["order"])
        yield Conversation(
            id=conversation_id,
            session=turns[0]["session"],
            part=turns[0]["part"],
            split=turns[0]["split"],
            utterances=tuple(utterance_of(row, place) for row in turns),
        )


def utterance_of(row: Row, place: Callable[[str], Path]) -> Utterance:
    """``place`` gives the path of an ``audio_file``."""
    clip = None
    if row["audio_file"] is not None:
        clip = AudioClip(
            path=place(row["audio_file"]),
            offset=row["audio_offset"],
            duration=row["audio_duration"],
            sample_rate=row["sample_rate"],
            file_hash=row["audio_hash"],
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
