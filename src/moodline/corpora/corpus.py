"""A corpus on disk: one Parquet table, a row an utterance, and a small JSON beside it.

    utterances.parquet   read as it is by pandas, polars, DuckDB and datasets.load_dataset("parquet")
    corpus.json          reader, source, counts, hash of the table, what was left out and why
    faults.csv           where the source has faults: id, sentence; a line for each that was left out for one
    recognised.*         a second column of words, where moodline transcribe made one: see recognised.py

``audio_file`` is relative to the source folder, so that the table, and its hash, are the same on every machine; only
a file outside that folder keeps its whole path, and is read only where that folder exists. ``audio_hash`` is a hash of
that file's bytes, so that a recording that is replaced in its place makes another table.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
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
from moodline.tabular import harmless, original

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
    """Conversations, where they come from, and what of the source was left out.

    Attributes:
        left_out: what a sound corpus of its kind has and a model does not read: reason -> ids
        faults: what is broken; no part of the table's hash
        notes: how the source as a whole was taken, a sentence each
        table: the name of the source's file that was read, where it is one file
        recognition: what the recognised words are that stand in the place of the reference ones; None for the latter
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
        """Which of ``recognition.WORDS`` its utterances have."""
        return REFERENCE if self.recognition is None else RECOGNISED

    @property
    def utterances(self) -> Iterable[Utterance]:
        return (utterance for conversation in self.conversations for utterance in conversation.utterances)

    @property
    def label_counts(self) -> Counter[str]:
        """How often each label stands, as the corpus spells it."""
        return Counter(utterance.label for utterance in self.utterances if utterance.label is not None)

    @cached_property
    def table_hash(self) -> str:
        """A hash of all rows, computed once."""
        table_hash = TableHasher()
        for row in iter_rows(self.source, self.conversations):
            table_hash.add(row)
        return str(table_hash)

    def conversation(self, conversation_id: str) -> Conversation:
        for conversation in self.conversations:
            if conversation.id == conversation_id:
                return conversation
        first = ", ".join(conversation.id for conversation in self.conversations[:3])
        raise MoodlineError(f"the corpus has no conversation {conversation_id!r}; it has {first}, ...")


def build_corpus(reader: str, conversations: Iterable[Conversation | None], faults: FaultCollector) -> Corpus:
    """What a reader returns; a conversation that could not be read is None.

    Raises:
        MoodlineError: no conversation is left
    """
    kept = tuple(add_file_hashes(one for one in conversations if one is not None))
    if not kept:
        why = summarise_faults(faults.found, faults.source) if faults.found else "check that it is the whole corpus"
        raise MoodlineError(f"no conversation of {faults.source} can be used: {why}")
    return Corpus(
        reader=reader,
        source=faults.source,
        conversations=kept,
        left_out={reason: tuple(ids) for reason, ids in faults.left_out.items()},
        faults=tuple(faults.found),
        notes=tuple(faults.notes),
    )


def add_file_hashes(conversations: Iterable[Conversation]) -> Iterator[Conversation]:
    """The conversations with a hash of each recording; a file is read once, however many utterances lie in it."""
    hashes: dict[Path, str] = {}

    def hashed(utterance: Utterance) -> Utterance:
        clip = utterance.audio
        if clip is None:
            return utterance
        if clip.path not in hashes:
            hashes[clip.path] = hash_file(clip.path)
        return replace(utterance, audio=replace(clip, file_hash=hashes[clip.path]))

    for conversation in conversations:
        yield replace(conversation, utterances=tuple(map(hashed, conversation.utterances)))


def refuse_faults(corpus: Corpus) -> None:
    """For who wants a corpus whole or not at all.

    Raises:
        MoodlineError: the source has a fault: the first is told whole, the others are counted
    """
    if corpus.faults:
        raise MoodlineError(summarise_faults(corpus.faults, corpus.source))


def write_corpus(corpus: Corpus, out: Path) -> bool:
    """Write a corpus folder, whole or not at all; the same corpus again is left as it is.

    Returns:
        whether it took the place of what the same reader had read of the same source before

    Raises:
        MoodlineError: ``out`` holds something else, or a name is no text
    """
    found = find_replaceable(out, corpus.reader, corpus.source, corpus.table)
    if found == corpus:
        return False
    source = str(corpus.source)
    if source.encode("utf-8", "replace").decode("utf-8") != source:
        raise MoodlineError(f"the name of a corpus's source is text in UTF-8: {source!r} is not; rename the folder")
    if found is not None:
        refuse_foreign_files(out)
        with open_replacement_folder(out) as folder:
            fill_folder(folder, corpus)
            if (out / ASR_COLUMN_FILE).is_file():  # words whose recording has not changed need not be heard again
                shutil.copy(out / ASR_COLUMN_FILE, folder)
        return True
    if out.exists():
        out.rmdir()
    with open_atomic_folder(out) as folder:
        fill_folder(folder, corpus)
    return False


def find_replaceable(out: Path, reader: str, source: Path, table: str | None = None) -> Corpus | None:
    """The corpus that the same reader has written to ``out`` from the same source; None where nothing is there yet.

    Raises:
        MoodlineError: ``out`` holds something else, which a corpus is not to take the place of
    """
    if not (out / DESCRIPTION_FILE).is_file():
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise MoodlineError(f"{out} is neither an empty folder nor a corpus: choose another -o")
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
                "that folder"
            )
    return found


def refuse_foreign_files(out: Path) -> None:
    """Refuse to replace a folder with files of one's own."""
    strangers = sorted(path.name for path in out.iterdir() if path.name not in CORPUS_FILES)
    if strangers:
        raise MoodlineError(
            f"{out} is replaced whole where its corpus has changed, and it holds {strangers[0]!r}, which is no part of "
            "a corpus: move that elsewhere"
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
        writer.writerows(map(harmless, (fault.identity, fault.sentence)) for fault in faults)


def read_faults(path: Path, count: int) -> tuple[Fault, ...]:
    """The faults that corpus.json counts.

    Raises:
        MoodlineError: the file cannot be read, or lists another number of them
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
            f"{path} lists {len(rows)} faults and corpus.json counts {count}: "
            "the list was changed after it was written; remove the folder and prepare it again"
        )
    return tuple(Fault(*map(original, row)) for row in rows)


def read_corpus(folder: Path) -> Corpus:
    """Read a corpus folder that ``moodline prepare`` wrote.

    Raises:
        MoodlineError: the folder is no corpus, or its table is not the one that corpus.json describes
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
            f"{table} has hash {table_hash} and corpus.json says {expected}: "
            "the table was changed after it was prepared; remove the folder and prepare it again"
        )
    return replace(described, conversations=conversations, faults=read_faults(folder / FAULTS_FILE, faults))


def read_description_file(folder: Path) -> tuple[Corpus, str, int]:
    """What a folder's corpus.json says: a corpus, still without conversations and faults, its hash, how many faults."""
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
        f"corpus {path.parent} cannot be read: {path.name}: {reason}; remove the folder and prepare it again"
    )
