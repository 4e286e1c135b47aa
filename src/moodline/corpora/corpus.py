"""Read and write a corpus folder (docs/corpora.md describes its files and the table's columns)."""

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from moodline.errors import MoodlineError, format_count, get_first_line, quote
from moodline.io import (
    FEATURES_FOLDER,
    convert_to_path,
    hash_file,
    link_file,
    open_atomic_folder,
    open_replacement_folder,
    read_description,
    write_json,
)
from moodline.tabular import escape_formula, restore_cell

SCHEMA = 4
TABLE_FILE = "utterances.parquet"
DESCRIPTION_FILE = "corpus.json"
FAULTS_FILE = "faults.csv"
ASR_COLUMN_FILE = "recognised.parquet"
ASR_METADATA_FILE = "recognised.json"
CORPUS_FILES = (TABLE_FILE, DESCRIPTION_FILE, FAULTS_FILE, ASR_COLUMN_FILE, ASR_METADATA_FILE)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Holds conversations, their source, and what of the source is left out."""

    reader: str
    source: Path
    conversations: tuple[Conversation, ...]
    left_out: Mapping[str, tuple[str, ...]]  # sound content that a model does not read: reason -> ids
    faults: tuple[Fault, ...] = ()  # broken content; it does not enter the table's hash
    notes: tuple[str, ...] = ()  # how the source as a whole was read, a sentence each
    table: str | None = None  # the name of the source's file, where the source is one file
    recognition: AsrMetadata | None = None  # of the recognised words that replace the reference words
    folder: Path | None = field(default=None, compare=False)  # the corpus folder that it was read from

    @property
    def place(self) -> Path:
        """The corpus folder as it was named, for errors; its source before it is written."""
        return self.folder or self.source

    @property
    def words(self) -> str:
        """Which of ``storage.WORDS`` the utterances have."""
        return REFERENCE if self.recognition is None else RECOGNISED

    @property
    def utterances(self) -> Iterator[Utterance]:
        return (utterance for conversation in self.conversations for utterance in conversation.utterances)

    @property
    def label_counts(self) -> Counter[str]:
        """How often each label occurs, as the corpus spells it."""
        return Counter(utterance.label for utterance in self.utterances if utterance.label is not None)

    @cached_property
    def table_hash(self) -> str:
        table_hash = TableHasher()
        for _ in table_hash.add_each(iter_rows(self.source, self.conversations)):
            pass
        return str(table_hash)

    def conversation(self, conversation_id: str) -> Conversation:
        found = [conversation for conversation in self.conversations if conversation.id == conversation_id]
        if not found:
            first = ", ".join(conversation.id for conversation in self.conversations[:3])
            raise MoodlineError(
                f"the corpus has no conversation {quote(conversation_id)}; it has {first}, ...",
                code="corpus.unknown_conversation",
            )
        return found[0]


def build_corpus(reader: str, conversations: Iterable[Conversation | None], faults: FaultCollector) -> Corpus:
    """Build the corpus that a reader returns, with the hash of each recording; an unreadable conversation is None."""
    hash_once = cache(hash_file)  # a file of several utterances

    def add_hash(utterance: Utterance) -> Utterance:
        clip = utterance.audio
        return utterance if clip is None else replace(utterance, audio=replace(clip, file_hash=hash_once(clip.path)))

    kept = tuple(replace(one, utterances=tuple(map(add_hash, one.utterances))) for one in conversations if one)
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


def refuse_faults(corpus: Corpus) -> None:
    """Refuse a corpus with faults: quote the first and count the others."""
    if corpus.faults:
        raise MoodlineError(summarise_faults(corpus.faults, corpus.source), code="corpus.faults")


def write_corpus(corpus: Corpus, out: Path) -> bool:
    """Write a corpus folder atomically; leave one that holds the same corpus, and refuse one with anything else.

    Returns:
        whether it replaced other content that the same reader had read from the same source
    """
    found = find_replaceable(out, corpus.reader, corpus.source, corpus.table)
    if found == corpus:
        return False
    source = str(corpus.source)
    if source.encode("utf-8", "replace").decode("utf-8") != source:
        raise MoodlineError(f"{source!r} is not UTF-8: rename the folder", code="corpus.source_not_utf8")
    if found is None:
        if out.exists():
            out.rmdir()
        with open_atomic_folder(out) as folder:
            fill_folder(folder, corpus)
        return False
    strangers = sorted(path.name for path in out.iterdir() if path.name not in (*CORPUS_FILES, FEATURES_FOLDER))
    if strangers:
        raise MoodlineError(
            f"{out} contains {strangers[0]!r}, which does not belong to a corpus: move that file elsewhere",
            code="corpus.foreign_file",
        )
    with open_replacement_folder(out) as folder:
        fill_folder(folder, corpus)
        if (out / ASR_COLUMN_FILE).is_file():  # unchanged recordings are not recognised again
            shutil.copy(out / ASR_COLUMN_FILE, folder)
        if (out / FEATURES_FOLDER).is_dir():  # the same recordings and words keep theirs
            unfinished = shutil.ignore_patterns(".*")
            shutil.copytree(out / FEATURES_FOLDER, folder / FEATURES_FOLDER, ignore=unfinished, copy_function=link_file)
    return True


def find_replaceable(out: Path, reader: str, source: Path, table: str | None = None) -> Corpus | None:
    """Read the corpus in ``out`` that the same reader read from the same source; None where ``out`` is empty."""
    if not (out / DESCRIPTION_FILE).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise MoodlineError(
                f"{out} is neither an empty folder nor a corpus: choose another folder", code="corpus.out_occupied"
            )
        return None
    found = read_corpus(out)
    for name, value in (("reader", reader), ("source", source), ("table", table)):
        if getattr(found, name) != value:
            raise MoodlineError(
                f"{out} holds another corpus: its {name} is {getattr(found, name)}, here it is {value}; choose another "
                "folder, or remove that one",
                code="corpus.out_occupied",
            )
    return found


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
        with (folder / FAULTS_FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("id", "sentence"))
            writer.writerows(map(escape_formula, fault) for fault in corpus.faults)


def read_corpus(folder: str | Path) -> Corpus:
    """Read a corpus folder that ``moodline prepare`` wrote.

    Raises:
        MoodlineError: the folder is not a corpus, or its table or list of faults does not match its corpus.json
    """
    folder = convert_to_path(folder, "a corpus folder")
    content = read_description(folder / DESCRIPTION_FILE, "corpus folder (moodline prepare makes one)", SCHEMA)
    with report_unreadable(folder / DESCRIPTION_FILE):
        described = Corpus(
            reader=content["reader"],
            source=Path(content["source"]),
            conversations=(),
            left_out={reason: tuple(ids) for reason, ids in content["left_out"].items()},
            notes=tuple(content["notes"]),
            table=content["table"],
        )
        expected_hash, expected_faults = content["table_hash"], format_count(content["faults"], "fault")
    with report_unreadable(folder / TABLE_FILE):
        table_hash = TableHasher()
        rows = table_hash.add_each(read_table(folder / TABLE_FILE))
        conversations = tuple(build_conversations(rows, described.source))
    faults: tuple[Fault, ...] = ()
    if content["faults"]:
        with report_unreadable(folder / FAULTS_FILE), (folder / FAULTS_FILE).open(encoding="utf-8", newline="") as file:
            _, *lines = csv.reader(file)
            faults = tuple(Fault(*map(restore_cell, line)) for line in lines)
    for name, found, expected in (
        (TABLE_FILE, f"the hash {table_hash}", f"the hash {expected_hash}"),
        (FAULTS_FILE, format_count(len(faults), "fault"), expected_faults),
    ):
        if found != expected:
            raise MoodlineError(
                f"{folder / name} has {found}, and {DESCRIPTION_FILE} says {expected}: the file was changed after it "
                "was written; remove the folder and prepare it again",
                code="corpus.changed",
            )
    return replace(described, conversations=conversations, faults=faults, folder=folder)


@contextmanager
def report_unreadable(path: Path, remedy: str = "remove the folder and prepare it again") -> Iterator[None]:
    """Report any error of the block as one of a file that is not a corpus's."""
    try:
        yield
    except (OSError, pa.ArrowException, csv.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else get_first_line(error)
        raise MoodlineError(
            f"corpus {path.parent} cannot be read: {path.name}: {reason}; {remedy}", code="corpus.unreadable"
        ) from error
