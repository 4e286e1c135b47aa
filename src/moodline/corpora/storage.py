"""A corpus's table on disk: a row per utterance, and the description of its recognised words."""

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
# What was heard, for people.
SOURCE_DESCRIPTIONS = {
    RECORDED: "in the recordings",
    SYNTHESIZED: "in the reference words, said by text-to-speech voices",
    IMPORTED: "elsewhere",
}


@dataclass(frozen=True, kw_only=True)
class RecogniserInfo:
    """Whose words they are; two of these that differ give different words.

    Attributes:
        name: the recogniser and its model, or the file that the words came in
        version: of the recogniser, or a hash of the file
        heard: one of HEARD's keys
    """

    name: str
    version: str
    heard: str

    def __str__(self) -> str:
        return f"{self.name} ({self.version}), {SOURCE_DESCRIPTIONS[self.heard]}"


@dataclass(frozen=True, kw_only=True)
class AsrMetadata:
    """What stands beside recognised words.

    Attributes:
        table_hash: of the corpus that they belong to
        words_hash: of the words
        silent: utterances of which nothing was recognised
        by_voice: errors by text-to-speech voice, where these spoke
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
        """As JSON has it, each rate beside the counts that it follows from."""
        return {
            **asdict(self),
            "errors": add_rate(self.errors),
            "by_voice": {voice: add_rate(errors) for voice, errors in self.by_voice.items()},
        }


def add_rate(errors: WordErrors) -> dict[str, Any]:
    return {"wer": errors.rate, **asdict(errors)}


def parse_asr_metadata(content: Mapping[str, Any]) -> AsrMetadata:
    """What ``content`` gave; KeyError or TypeError where it is something else."""
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
DICTIONARY_COLUMNS = (
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
ROWS_PER_GROUP = 2**14  # of a table, which are a row group of its file
ROWS_PER_BATCH = 2**10  # together: what they leave behind among what is kept is memory that stays taken

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
    """The path within the source folder; a file that lies elsewhere keeps its own."""
    return path.relative_to(source) if path.is_relative_to(source) else path


class TableHasher:
    """A hash of a table's content, whatever version of Parquet's writer wrote it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def add(self, row: UtteranceRow) -> None:
        self.digest.update(json.dumps([row[name] for name in COLUMNS.names]).encode())

    def add_each(self, rows: Iterable[UtteranceRow]) -> Iterator[UtteranceRow]:
        """The same rows, each added as it passes."""
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
                yield row | {name: kept.setdefault(row[name], row[name]) for name in DICTIONARY_COLUMNS}


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
    """What gives the path of an ``audio_file``.

    A path that leads out of the source folder, absolute or by ``..``, comes from a table that named it so on the
    machine where the corpus was prepared: there the source folder exists. In a corpus that others made it could name
    any file of this machine.

    Raises:
        MoodlineError: by what it returns: the path leads out of a source folder that is not on this machine
    """
    is_here = source.is_dir()

    def place(name: str) -> Path:
        path = Path(name)
        if not is_here and (path.is_absolute() or ".." in path.parts):
            raise MoodlineError(
                f"audio_file {name!r} leads out of the corpus's source folder {source}, which does not exist on this "
                "machine: prepare the corpus here, from its own source"
            )
        return source / path

    return place


def build_utterance(row: UtteranceRow, place: Callable[[str], Path]) -> Utterance:
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
