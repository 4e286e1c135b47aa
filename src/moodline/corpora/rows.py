"""What a row of a corpus's table is: one utterance, its conversation's facts, and where its speech lies."""

import hashlib
import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

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


def rows_of(source: Path, conversations: Iterable[Conversation]) -> list[dict[str, Any]]:
    return [
        row_of(source, conversation, order, utterance)
        for conversation in conversations
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


def hash_rows(rows: list[dict[str, Any]]) -> str:
    """A hash of the table's content, whatever version of Parquet's writer wrote it."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row[name] for name in COLUMNS.names]).encode())
    return digest.hexdigest()[:16]


def conversations_of(rows: list[dict[str, Any]], source: Path) -> tuple[Conversation, ...]:
    return tuple(
        Conversation(
            id=conversation_id,
            session=turns[0]["session"],
            part=turns[0]["part"],
            split=turns[0]["split"],
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
