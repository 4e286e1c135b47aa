"""Convert conversations to the rows of a corpus's table and back, and describe its recognised words."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.errors import MoodlineError
from moodline.io import hash_file
from moodline.metrics import WordErrors

REFERENCE, RECOGNISED = "reference", "recognised"
WORDS = (REFERENCE, RECOGNISED)
RECORDED, SYNTHESIZED, IMPORTED = "recorded", "spoken", "elsewhere"
# Source of the recognised speech -> its name in sentences.
SOURCE_DESCRIPTIONS = {
    RECORDED: "in the recordings",
    SYNTHESIZED: "in the reference words, said by text-to-speech voices",
    IMPORTED: "elsewhere",
}


@dataclass(frozen=True, kw_only=True)
class RecogniserInfo:
    """Identifies a recogniser: different values give different words."""

    name: str  # the recogniser and its model, or the file of imported words
    version: str  # of the recogniser, or a hash of the file
    heard: str  # the speech that was recognised, a key of SOURCE_DESCRIPTIONS

    def __str__(self) -> str:
        return f"{self.name} ({self.version}), {SOURCE_DESCRIPTIONS[self.heard]}"


@dataclass(frozen=True, kw_only=True)
class AsrMetadata:
    """Describes the recognised words of a corpus."""

    recogniser: RecogniserInfo
    table_hash: str  # of the corpus
    words_hash: str
    utterances: int
    silent: int  # how many utterances have no recognised word
    errors: WordErrors
    by_voice: Mapping[str, WordErrors] = field(default_factory=dict)  # where text-to-speech voices spoke the reference

    def __str__(self) -> str:
        return f"words recognised by {self.recogniser}: {self.errors}"

    def to_json_content(self) -> dict[str, Any]:
        """Convert to the content of a JSON file, each error rate beside its counts."""
        by_voice = {voice: {"wer": errors.rate, **asdict(errors)} for voice, errors in self.by_voice.items()}
        return {**asdict(self), "errors": {"wer": self.errors.rate, **asdict(self.errors)}, "by_voice": by_voice}


def parse_asr_metadata(content: Mapping[str, Any]) -> AsrMetadata:
    """Parse the content of a JSON file; KeyError or TypeError where it is something else."""
    return AsrMetadata(
        recogniser=RecogniserInfo(**content["recogniser"]),
        errors=parse_word_errors(content["errors"]),
        by_voice={voice: parse_word_errors(errors) for voice, errors in content["by_voice"].items()},
        **{name: content[name] for name in ("table_hash", "words_hash", "utterances", "silent")},
    )


def parse_word_errors(content: Mapping[str, Any]) -> WordErrors:
    return WordErrors(**{name: content[name] for name in ("substitutions", "deletions", "insertions", "words")})


# Column -> its type, in the table's order.
COLUMN_TYPES = {
    **dict.fromkeys(("utterance_id", "conversation_id"), pa.string()),
    "order": pa.int32(),
    **dict.fromkeys(("speaker", "session", "part", "split"), pa.string()),
    **dict.fromkeys(("start", "end"), pa.float64()),
    **dict.fromkeys(("words", "label", "audio_file"), pa.string()),
    **dict.fromkeys(("audio_offset", "audio_duration"), pa.float64()),
    "sample_rate": pa.int32(),
    "audio_hash": pa.string(),
}
REQUIRED_COLUMNS = ("utterance_id", "conversation_id", "order", "speaker", "words")
COLUMNS = pa.schema([pa.field(name, kind, name not in REQUIRED_COLUMNS) for name, kind in COLUMN_TYPES.items()])
# Columns of a conversation and of an utterance by their attributes' names, and those of a clip: column -> attribute.
CONVERSATION_COLUMNS = ("session", "part", "split")
UTTERANCE_COLUMNS = ("speaker", "start", "end", "label")
CLIP_COLUMNS = {
    "audio_offset": "offset",
    "audio_duration": "duration",
    "sample_rate": "sample_rate",
    "audio_hash": "file_hash",
}
# Columns with the same values in many rows, each kept once in memory.
REPEATED_COLUMNS = (
    "conversation_id",
    "speaker",
    *CONVERSATION_COLUMNS,
    "label",
    "audio_file",
    "sample_rate",
    "audio_hash",
)
MAX_SHALLOW_PARTS = 2  # of a top-level folder's path: / and its name
ROWS_PER_GROUP = 2**14
ROWS_PER_BATCH = 2**10  # small, as temporary objects between kept ones fragment memory

UtteranceRow = dict[str, Any]


def iter_rows(source: Path, conversations: Iterable[Conversation]) -> Iterator[UtteranceRow]:
    prefix = f"{source.as_posix().rstrip('/')}/"  # a file elsewhere keeps its whole path
    for conversation in conversations:
        facts = {name: getattr(conversation, name) for name in CONVERSATION_COLUMNS}
        for order, utterance in enumerate(conversation.utterances):
            clip = utterance.audio
            yield {
                "utterance_id": utterance.id,
                "conversation_id": conversation.id,
                "order": order,
                "words": utterance.said,
                "audio_file": clip and clip.path.as_posix().removeprefix(prefix),
                **facts,
                **{name: getattr(utterance, name) for name in UTTERANCE_COLUMNS},
                **{column: clip and getattr(clip, name) for column, name in CLIP_COLUMNS.items()},
            }


class TableHasher:
    """Hashes a table's content, independently of the Parquet writer's version."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def add_each(self, rows: Iterable[UtteranceRow]) -> Iterator[UtteranceRow]:
        """Yield the same rows, and add each."""
        for row in rows:
            self.digest.update(json.dumps([row[name] for name in COLUMNS.names]).encode())
            yield row

    def __str__(self) -> str:
        return self.digest.hexdigest()[:16]


def write_table(path: Path, rows: Iterable[UtteranceRow]) -> None:
    with pq.ParquetWriter(path, COLUMNS) as writer:
        remaining = iter(rows)
        while some := list(islice(remaining, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(some, schema=COLUMNS))


def read_table(path: Path) -> Iterator[UtteranceRow]:
    kept: dict[object, object] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_PER_BATCH):
            for row in batch.to_pylist():
                for name in REPEATED_COLUMNS:
                    row[name] = kept.setdefault(row[name], row[name])
                yield row


def build_conversations(rows: Iterable[UtteranceRow], source: Path) -> Iterator[Conversation]:
    place = cache(place_within(source))
    for conversation_id, group in groupby(rows, key=lambda row: row["conversation_id"]):
        turns = sorted(group, key=lambda row: row["order"])
        yield Conversation(
            id=conversation_id,
            utterances=tuple(build_utterance(row, place) for row in turns),
            **{name: turns[0][name] for name in CONVERSATION_COLUMNS},
        )


def place_within(source: Path) -> Callable[[str, str | None], Path]:
    """Return the function from an ``audio_file`` and its hash to its path.

    A corpus that others made must not name any file of this machine. The function therefore refuses a path that leads
    out of the source folder, and any path where that folder is a top-level one or contains the user's home, unless the
    file has the hash that the corpus was prepared with, or does not exist.
    """
    place, home = source.resolve(), Path(os.path.expanduser("~")).resolve()
    is_here, is_far_above = source.is_dir(), len(place.parts) <= MAX_SHALLOW_PARTS or home.is_relative_to(place)

    def place_file(name: str, file_hash: str | None) -> Path:
        path, relative = source / name, Path(name)
        if not (is_far_above or relative.anchor or ".." in relative.parts):
            return path
        if not is_here:
            reason = "does not exist on this machine"
        elif path.exists() and not (path.is_file() and hash_file(path) == file_hash):
            reason = "does not limit it, and the file is not the one that the corpus was prepared from"
        else:
            return path
        raise MoodlineError(
            f"audio_file {name!r} may lead to any file: the corpus's source folder {source} {reason}; prepare the "
            "corpus here, from its own source",
            code="corpus.audio_outside_source",
        )

    return place_file


def build_utterance(row: UtteranceRow, place: Callable[[str, str | None], Path]) -> Utterance:
    clip = None
    if row["audio_file"] is not None:
        path = place(row["audio_file"], row["audio_hash"])
        clip = AudioClip(path=path, **{name: row[column] for column, name in CLIP_COLUMNS.items()})
    own = {name: row[name] for name in UTTERANCE_COLUMNS}
    return Utterance(id=row["utterance_id"], words=row["words"], audio=clip, **own)
