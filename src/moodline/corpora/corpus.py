"""Read and write a corpus folder.

    utterances.parquet   a row an utterance; pandas, polars, DuckDB and datasets.load_dataset("parquet") read it
    corpus.json          reader, source, counts, hash of the table, ids left out by reason
    faults.csv           id and sentence of each fault, where the source has some
    recognised.*         a second column of words, where moodline transcribe made one: see asr_column.py

``audio_file`` is relative to the source folder: the table and its hash are the same on every machine. A file outside
that folder keeps its whole path, and is read only where that folder exists. ``audio_hash`` is a hash of the file's
bytes: a replaced recording changes the table's hash.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import pyarrow as pa

from moodline.conversation import Conversation, Utterance
from moodline.corpora.storage import (
    RECOGNISED,
    REFERENCE,
    AsrMetadata,
    TableHasher,
    build_conversations,
    iter_rows,
    read_table,
    write_table,
)
from moodline.corpora.validation import Fault, FaultCollector, summarise_faults
from moodline.errors import MoodlineError
from moodline.io import hash_file, open_atomic_folder, open_replacement_folder, read_description, write_json
from moodline.tabular import escape_formula, restore_cell

SCHEMA = 4
TABLE_FILE = "utterances.parquet"
DESCRIPTION_FILE = "corpus.json"
FAULTS_FILE = "faults.csv"
ASR_COLUMN_FILE = "recognised.parquet"
ASR_METADATA_FILE = "recognised.json"
CORPUS_FILES = (TABLE_FILE, DESCRIPTION_FILE, FAULTS_FILE, ASR_COLUMN_FILE, ASR_METADATA_FILE)
FAULT_COLUMNS = ("id", "sentence")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Holds conversations, their source, and what of the source is left out.

    Attributes:
        left_out: sound content that a model does not read: reason -> ids
        faults: broken content; it does not enter the table's hash
        notes: how the source as a whole was read, a sentence each
        table: the name of the source's file, where the source is one file
        recognition: describes the recognised words that replace the reference words; None where none do
    """

    reader: str
    source: Path
    conversations: tuple[Conversation, ...]
    left_out: Mapping[str, tuple[str, ...]]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    table: str | None = None
    recognition: AsrMetadata | None = None

    @property
    def words(self) -> str:
        """Which of ``storage.WORDS`` the utterances have."""
        return REFERENCE if self.recognition is None else RECOGNISED

    @property
    def utterances(self) -> Iterable[Utterance]:
        return (utterance for conversation in self.conversations for utterance in conversation.utterances)

    @property
    def label_counts(self) -> Counter[str]:
        """How often each label occurs, as the corpus spells it."""
        return Counter(utterance.label for utterance in self.utterances if utterance.label is not None)

    @cached_property
    def table_hash(self) -> str:
        """The hash of all rows."""
        table_hash = TableHasher()
        for row in iter_rows(self.source, self.conversations):
            table_hash.add(row)
        return str(table_hash)

    def conversation(self, conversation_id: str) -> Conversation:
        for conversation in self.conversations:
            if conversation.id == conversation_id:
                return conversation
        first = ", ".join(conversation.id for conversation in self.conversations[:3])
        raise MoodlineError(
            f"the corpus has no conversation {conversation_id!r}; it has {first}, ...",
            code="corpus.unknown_conversation",
        )


def build_corpus(reader: str, conversations: Iterable[Conversation | None], faults: FaultCollector) -> Corpus:
    """Build the corpus that a reader returns; a conversation that could not be read is None.

    Raises:
        MoodlineError: no conversation is usable
    """
    kept = tuple(add_file_hashes(one for one in conversations if one is not None))
    if not kept:
        why = summarise_faults(faults.found, faults.source) if faults.found else "check that the corpus is complete"
        raise MoodlineError(f"{faults.source} has no usable conversation: {why}", code="corpus.empty")
    return Corpus(
        reader=reader,
        source=faults.source,
        conversations=kept,
        left_out={reason: tuple(ids) for reason, ids in faults.left_out.items()},
        faults=tuple(faults.found),
        notes=tuple(faults.notes),
    )


def add_file_hashes(conversations: Iterable[Conversation]) -> Iterator[Conversation]:
    """Add the hash of each recording to its utterances; a file of several utterances is read once."""
    hash_once = cache(hash_file)

    def add_hash(utterance: Utterance) -> Utterance:
        clip = utterance.audio
        return utterance if clip is None else replace(utterance, audio=replace(clip, file_hash=hash_once(clip.path)))

    for conversation in conversations:
        yield replace(conversation, utterances=tuple(map(add_hash, conversation.utterances)))


def refuse_faults(corpus: Corpus) -> None:
    """Refuse a corpus with faults.

    Raises:
        MoodlineError: quotes the first fault and counts the others
    """
    if corpus.faults:
        raise MoodlineError(summarise_faults(corpus.faults, corpus.source), code="corpus.faults")


def write_corpus(corpus: Corpus, out: Path) -> bool:
    """Write a corpus folder atomically; leave one that holds the same corpus as it is.

    Returns:
        whether it replaced other content that the same reader had read from the same source

    Raises:
        MoodlineError: ``out`` holds something else, or the source's name is not UTF-8
    """
    found = find_replaceable(out, corpus.reader, corpus.source, corpus.table)
    if found == corpus:
        return False
    source = str(corpus.source)
    if source.encode("utf-8", "replace").decode("utf-8") != source:
        raise MoodlineError(f"{source!r} is not UTF-8: rename the folder", code="corpus.source_not_utf8")
    if found is not None:
        refuse_foreign_files(out)
        with open_replacement_folder(out) as folder:
            fill_folder(folder, corpus)
            if (out / ASR_COLUMN_FILE).is_file():  # unchanged recordings are not recognised again
                shutil.copy(out / ASR_COLUMN_FILE, folder)
        return True
    if out.exists():
        out.rmdir()
    with open_atomic_folder(out) as folder:
        fill_folder(folder, corpus)
    return False


def find_replaceable(out: Path, reader: str, source: Path, table: str | None = None) -> Corpus | None:
    """Read the corpus in ``out`` that the same reader read from the same source; None where ``out`` is empty or absent.

    Raises:
        MoodlineError: ``out`` holds something else
    """
    if not (out / DESCRIPTION_FILE).is_file():
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise MoodlineError(
                f"{out} is neither an empty folder nor a corpus: choose another -o", code="corpus.out_occupied"
            )
        return None
    found = read_corpus(out)
    for what, there, here in (
        ("reader", found.reader, reader),
        ("source", found.source, source),
        ("table", found.table, table),
    ):
        if there != here:
            raise MoodlineError(
                f"{out} holds another corpus: its {what} is {there}, here it is {here}; choose another -o, or remove "
                "that folder",
                code="corpus.out_occupied",
            )
    return found


def refuse_foreign_files(out: Path) -> None:
    """Refuse to replace a folder that contains files of other programs."""
    strangers = sorted(path.name for path in out.iterdir() if path.name not in CORPUS_FILES)
    if strangers:
        raise MoodlineError(
            f"{out} would be replaced, and it contains {strangers[0]!r}, which does not belong to a corpus: move that "
            "file elsewhere",
            code="corpus.foreign_file",
        )


def fill_folder(folder: Path, corpus: Corpus) -> None:
    table_hash = TableHasher()
    write_table(folder / TABLE_FILE, table_hash.add_each(iter_rows(corpus.source, corpus.conversations)))
    write_json(
        folder / DESCRIPTION_FILE,
        {
            "schema": SCHEMA,
            "reader": corpus.reader,
            "source": str(corpus.source),
            "table": corpus.table,
            "conversations": len(corpus.conversations),
            "utterances": sum(1 for _ in corpus.utterances),
            "table_hash": str(table_hash),
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
        writer.writerows(map(escape_formula, (fault.identity, fault.sentence)) for fault in faults)


def read_faults(path: Path, count: int) -> tuple[Fault, ...]:
    """Read the faults that corpus.json counts.

    Raises:
        MoodlineError: the file cannot be read, or lists another number of faults
    """
    if not count:
        return ()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            _, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise build_unreadable_error(path, error) from error
    if len(rows) != count or not all(len(row) == len(FAULT_COLUMNS) for row in rows):
        raise MoodlineError(
            f"{path} lists {len(rows)} faults and corpus.json counts {count}: the list was changed after it was "
            "written; remove the folder and prepare it again",
            code="corpus.changed",
        )
    return tuple(Fault(*map(restore_cell, row)) for row in rows)


def read_corpus(folder: Path) -> Corpus:
    """Read a corpus folder that ``moodline prepare`` wrote.

    Raises:
        MoodlineError: the folder is not a corpus, or its table does not match its corpus.json
    """
    described, expected, faults = read_description_file(folder)
    table = folder / TABLE_FILE
    try:
        table_hash = TableHasher()
        conversations = tuple(build_conversations(table_hash.add_each(read_table(table)), described.source))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise build_unreadable_error(table, error) from error
    if expected != str(table_hash):
        raise MoodlineError(
            f"{table} has hash {table_hash} and corpus.json says {expected}: the table was changed after it was "
            "prepared; remove the folder and prepare it again",
            code="corpus.changed",
        )
    return replace(described, conversations=conversations, faults=read_faults(folder / FAULTS_FILE, faults))


def read_description_file(folder: Path) -> tuple[Corpus, str, int]:
    """Read a folder's corpus.json.

    Returns:
        the corpus, without conversations and faults; the table's hash; the number of faults
    """
    path = folder / DESCRIPTION_FILE
    content = read_description(path, "corpus folder (moodline prepare makes one)", SCHEMA)
    try:
        described = Corpus(
            reader=content["reader"],
            source=Path(content["source"]),
            conversations=(),
            left_out={reason: tuple(ids) for reason, ids in content["left_out"].items()},
            notes=tuple(content["notes"]),
            table=content["table"],
        )
        return described, content["table_hash"], content["faults"]
    except KeyError as error:
        raise build_unreadable_error(path, f"it lacks {error}") from error
    except (AttributeError, TypeError) as error:
        raise build_unreadable_error(path, error) from error


def build_unreadable_error(path: Path, reason: object) -> MoodlineError:
    return MoodlineError(
        f"corpus {path.parent} cannot be read: {path.name}: {reason}; remove the folder and prepare it again",
        code="corpus.unreadable",
    )
