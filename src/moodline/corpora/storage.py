"""Convert conversations to the rows of a corpus's table and back, and describe its recognised words."""

import hashlib
import json
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
    """Identifies a recogniser: different values give different words.

    Attributes:
        name: the recogniser and its model, or the file of imported words
        version: of the recogniser, or a hash of the file
        heard: the speech that was recognised, a key of SOURCE_DESCRIPTIONS
    """

    name: str
    version: str
    heard: str

    def __str__(self) -> str:
        return f"{self.name} ({self.version}), {SOURCE_DESCRIPTIONS[self.heard]}"


@dataclass(frozen=True, kw_only=True)
class AsrMetadata:
    """Describes the recognised words of a corpus.

    Attributes:
        table_hash: the hash of the corpus's table
        words_hash: the hash of the words
        silent: how many utterances have no recognised word
        by_voice: errors by text-to-speech voice, where voices spoke the reference words
    """

    recogniser: RecogniserInfo
    table_hash: str
    words_hash: str
    utterances: int
    silent: int
    errors: WordErrors
    by_voice: Mapping[str, WordErrors] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"words recognised by {self.recogniser}: {self.errors}"

    def to_json_content(self) -> dict[str, Any]:
        """Convert to the content of a JSON file, each error rate beside its counts."""
        return {
            **asdict(self),
            "errors": add_rate(self.errors),
            "by_voice": {voice: add_rate(errors) for voice, errors in self.by_voice.items()},
        }


def add_rate(errors: WordErrors) -> dict[str, Any]:
    return {"wer": errors.rate, **asdict(errors)}


def parse_asr_metadata(content: Mapping[str, Any]) -> AsrMetadata:
    """Parse the content of a JSON file; KeyError or TypeError where it is something else."""
    return AsrMetadata(
        recogniser=RecogniserInfo(**content["recogniser"]),
        table_hash=content["table_hash"],
        words_hash=content["words_hash"],
        utterances=content["utterances"],
        silent=content["silent"],
        errors=parse_word_errors(content["errors"]),
        by_voice={voice: parse_word_errors(errors) for voice, errors in content["by_voice"].items()},
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
# Columns with the same values in many rows, each kept once in memory.
REPEATED_COLUMNS = {"conversation_id", "speaker", "session", "part", "split", "label", "audio_file", "audio_hash"}
ROWS_PER_GROUP = 2**14
ROWS_PER_BATCH = 2**10  # small, as temporary objects between kept ones fragment memory

UtteranceRow = dict[str, Any]


def iter_rows(source: Path, conversations: Iterable[Conversation]) -> Iterator[UtteranceRow]:
    return (
        build_row(source, conversation, order, utterance)
        for conversation in conversations
        for order, utterance in enumerate(conversation.utterances)
    )


def build_row(source: Path, conversation: Conversation, order: int, utterance: Utterance) -> UtteranceRow:
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
        "audio_file": make_relative(clip.path, source).as_posix() if clip else None,
        "audio_offset": clip.offset if clip else None,
        "audio_duration": clip.duration if clip else None,
        "sample_rate": clip.sample_rate if clip else None,
        "audio_hash": clip.file_hash if clip else None,
    }


def make_relative(path: Path, source: Path) -> Path:
    """Return the path within the source folder; a file elsewhere keeps its own path."""
    return path.relative_to(source) if path.is_relative_to(source) else path


class TableHasher:
    """Hashes a table's content, independently of the Parquet writer's version."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def add(self, row: UtteranceRow) -> None:
        self.digest.update(json.dumps([row[name] for name in COLUMNS.names]).encode())

    def add_each(self, rows: Iterable[UtteranceRow]) -> Iterator[UtteranceRow]:
        """Yield the same rows, and add each."""
        for row in rows:
            self.add(row)
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
                yield row | {name: kept.setdefault(row[name], row[name]) for name in (*REPEATED_COLUMNS, "sample_rate")}


def build_conversations(rows: Iterable[UtteranceRow], source: Path) -> Iterator[Conversation]:
    place = cache(place_within(source))
    for conversation_id, group in groupby(rows, key=lambda row: row["conversation_id"]):
        turns = sorted(group, key=lambda row: row["order"])
        yield Conversation(
            id=conversation_id,
            session=turns[0]["session"],
            part=turns[0]["part"],
            split=turns[0]["split"],
            utterances=tuple(build_utterance(row, place) for row in turns),
        )


def place_within(source: Path) -> Callable[[str], Path]:
    """Return the function from an ``audio_file`` to its path.

    An absolute path, or one with ``..``, leads out of the source folder. It is trusted on the machine where the corpus
    was prepared, where the source folder exists: in a foreign corpus it could name any file of this machine.

    Raises:
        MoodlineError: by the returned function: the path leads out of a source folder that this machine lacks
    """
    is_here = source.is_dir()

    def place(name: str) -> Path:
        path = Path(name)
        if not is_here and (path.is_absolute() or ".." in path.parts):
            raise MoodlineError(
                f"audio_file {name!r} leads out of the corpus's source folder {source}, which does not exist on this "
                "machine: prepare the corpus here, from its own source",
                code="corpus.audio_outside_source",
            )
        return source / path

    return place


def build_utterance(row: UtteranceRow, place: Callable[[str], Path]) -> Utterance:
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
