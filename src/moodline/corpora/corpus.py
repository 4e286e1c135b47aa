"""A corpus on disk: one Parquet table, a row an utterance, and a small JSON beside it.

    utterances.parquet   read as it is by pandas, polars, DuckDB and datasets.load_dataset("parquet")
    corpus.json          reader, source, counts, hash of the table, what was left out and why
    faults.csv           where the source has faults: id, sentence; a line for each that was left out for one

``audio_file`` is relative to the source folder, so that the table, and its hash, are the same on every machine; only
a file outside that folder keeps its whole path.
"""

import csv
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
from moodline.corpora.validation import Fault, Faults, summary
from moodline.errors import MoodlineError
from moodline.files import atomic_folder, read_json, write_json

SCHEMA = 2
TABLE_FILE = "utterances.parquet"
DESCRIPTION_FILE = "corpus.json"
FAULTS_FILE = "faults.csv"
FAULT_COLUMNS = ("id", "sentence")
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
    ]
)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Conversations, where they come from, and what of the source was left out.

    Attributes:
        left_out: what a sound corpus of its kind has and a model does not read: reason -> ids
        faults: what is broken; no part of the table's hash
        notes: how the source as a whole was taken, a sentence each
    """

    reader: str
    source: Path
    conversations: tuple[Conversation, ...]
    left_out: Mapping[str, tuple[str, ...]]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

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


def corpus_of(reader: str, conversations: Iterable[Conversation | None], faults: Faults) -> Corpus:
    """What a reader returns; a conversation that could not be read is None.

    Raises:
        MoodlineError: no conversation is left
    """
    kept = tuple(conversation for conversation in conversations if conversation is not None)
    if not kept:
        why = summary(faults.found, faults.source) if faults.found else "check that it is the whole corpus"
        raise MoodlineError(f"no conversation of {faults.source} can be used: {why}")
    return Corpus(
        reader=reader,
        source=faults.source,
        conversations=kept,
        left_out={reason: tuple(ids) for reason, ids in faults.left_out.items()},
        faults=tuple(faults.found),
        notes=tuple(faults.notes),
    )


def refuse_faults(corpus: Corpus) -> None:
    """For who wants a corpus whole or not at all.

    Raises:
        MoodlineError: the source has a fault: the first is told whole, the others are counted
    """
    if corpus.faults:
        raise MoodlineError(summary(corpus.faults, corpus.source))


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
        "split": conversation.split,
        "start": utterance.start,
        "end": utterance.end,
        "words": utterance.words,
        "label": utterance.label,
        "audio_file": relative(clip.path, source).as_posix() if clip else None,
        "audio_offset": clip.offset if clip else None,
        "audio_duration": clip.duration if clip else None,
        "sample_rate": clip.sample_rate if clip else None,
    }


def relative(path: Path, source: Path) -> Path:
    """The path within the source folder; a file that lies elsewhere keeps its own."""
    return path.relative_to(source) if path.is_relative_to(source) else path


def hash_rows(rows: list[dict[str, Any]]) -> str:
    """A hash of the table's content, whatever version of Parquet's writer wrote it.

    A corpus without a split of its own hashes as it did before the table had that column.
    """
    digest = hashlib.sha256()
    for row in rows:
        names = [name for name in COLUMNS.names if name != "split" or row.get("split") is not None]
        digest.update(json.dumps([row[name] for name in names]).encode())
    return digest.hexdigest()[:16]


def write_corpus(corpus: Corpus, out: Path) -> None:
    """Write a corpus folder, whole or not at all.

    Raises:
        MoodlineError: ``out`` holds something else, or a name is no text; the same corpus again is left as it is
    """
    source = str(corpus.source)
    if source.encode("utf-8", "replace").decode("utf-8") != source:
        raise MoodlineError(f"the name of a corpus's source is text in UTF-8: {source!r} is not; rename the folder")
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
                "faults": len(corpus.faults),
                "notes": list(corpus.notes),
            },
        )
        if corpus.faults:
            write_faults(folder / FAULTS_FILE, corpus.faults)


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FAULT_COLUMNS)
        writer.writerows((fault.identity, fault.sentence) for fault in faults)


def read_faults(path: Path, count: int) -> tuple[Fault, ...]:
    """The faults that corpus.json counts.

    Raises:
        MoodlineError: the file lists another number of them
    """
    if not count:
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    if len(rows) != count or not all(len(row) == len(FAULT_COLUMNS) for row in rows):
        raise MoodlineError(
            f"{path} lists {len(rows)} faults and corpus.json counts {count}: "
            "the list was changed after it was written; remove the folder and prepare it again"
        )
    return tuple(Fault(*row) for row in rows)


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
            faults=read_faults(folder / FAULTS_FILE, description.get("faults", 0)),
            notes=tuple(description.get("notes", ())),
        )
        expected, found = description["table_hash"], hash_rows(rows)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, csv.Error) as error:
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
