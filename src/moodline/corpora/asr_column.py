"""Read and write a corpus's recognised words, a column beside its table."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.conversation import Conversation
from moodline.corpora.corpus import ASR_COLUMN_FILE, ASR_METADATA_FILE, Corpus, read_corpus
from moodline.corpora.storage import REFERENCE, AsrMetadata, parse_asr_metadata
from moodline.errors import MoodlineError, get_first_line
from moodline.io import open_atomic_file, read_json, write_json

SCHEMA = 1
COLUMNS = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("utterance_id", "words", "source")])


class AsrResult(NamedTuple):
    """The recognised words of one utterance, and a hash of everything that determines them."""

    words: str
    source: str


@dataclass(frozen=True, kw_only=True)
class AsrColumn:
    """Recognised words of all utterances by id, and their description."""

    words: Mapping[str, str]
    recognition: AsrMetadata

    def replace_words(self, corpus: Corpus) -> Corpus:
        """Replace a corpus's words by these; each utterance keeps its reference words beside them."""
        return replace(
            corpus, conversations=tuple(map(self._replace_in, corpus.conversations)), recognition=self.recognition
        )

    def _replace_in(self, conversation: Conversation) -> Conversation:
        turns = (replace(turn, words=self.words[turn.id], reference=turn.said) for turn in conversation.utterances)
        return replace(conversation, utterances=tuple(turns))


def read_corpus_with_words(words: str, folder: Path) -> Corpus:
    """Read a corpus with its reference words or its recognised ones: ``words`` is one of ``storage.WORDS``.

    Raises:
        MoodlineError: see ``read_corpus`` and ``read_asr_column``
    """
    corpus = read_corpus(folder)
    return corpus if words == REFERENCE else read_asr_column(folder, corpus).replace_words(corpus)


def read_asr_column(folder: Path, corpus: Corpus) -> AsrColumn:
    """Read the recognised words of the corpus in a folder.

    Raises:
        MoodlineError: some or all are missing, or they do not match recognised.json
    """
    rows, recognition = read_asr_rows(folder), read_asr_metadata(folder)
    count = sum(1 for _ in corpus.utterances)
    missing = [turn.id for turn in corpus.utterances if turn.id not in rows]
    if missing or recognition is None:
        raise MoodlineError(
            f"{folder} has recognised words for {count - len(missing)} of {count} utterances: run moodline transcribe "
            f"{folder} for the others",
            code="corpus.missing_asr",
        )
    words = {turn.id: rows[turn.id].words for turn in corpus.utterances}
    for what, expected, found in (
        ("the recognised words of a table", recognition.table_hash, corpus.table_hash),
        ("recognised words", recognition.words_hash, hash_words(words)),
    ):
        if expected != found:
            raise MoodlineError(
                f"{folder / ASR_METADATA_FILE} describes {what} with the hash {expected}, and here it is "
                f"{found}: remove that file, and run moodline transcribe {folder}",
                code="corpus.changed",
            )
    return AsrColumn(words=words, recognition=recognition)


def describe_asr_column(folder: Path, corpus: Corpus) -> Iterator[str]:
    """Format lines for a person on the recognised words that a corpus has."""
    rows, recognition = read_asr_rows(folder), read_asr_metadata(folder)
    if recognition is None:
        if rows:
            found = [turn.id in rows for turn in corpus.utterances]
            yield f"words recognised so far: {sum(found)} of {len(found)} utterances; moodline transcribe goes on"
        return
    yield str(recognition)
    yield f"  nothing was recognised in {recognition.silent} of {recognition.utterances} utterances"
    for voice, errors in recognition.by_voice.items():
        yield f"  said by {voice}: {errors}"


def read_asr_rows(folder: Path) -> dict[str, AsrResult]:
    """Read what is recognised so far, by utterance id.

    Raises:
        MoodlineError: the file is not a table of recognised words
    """
    path = folder / ASR_COLUMN_FILE
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path, columns=COLUMNS.names).cast(COLUMNS)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise MoodlineError(
            f"{path} cannot be read as recognised words: {get_first_line(error)}; remove it, and run moodline "
            f"transcribe {folder}",
            code="corpus.unreadable",
        ) from error
    ids, words, sources = (table[name].to_pylist() for name in COLUMNS.names)
    return {name: AsrResult(*result) for name, *result in zip(ids, words, sources, strict=True)}


def read_asr_metadata(folder: Path) -> AsrMetadata | None:
    """Read the description of a corpus's recognised words; None where they are incomplete."""
    path = folder / ASR_METADATA_FILE
    if not path.is_file():
        return None
    content = read_json(path, "corpus folder with recognised words")
    try:
        if content["schema"] > SCHEMA:
            raise MoodlineError(
                f"{path} has schema {content['schema']}: install a newer moodline", code="corpus.newer_schema"
            )
        return parse_asr_metadata(content)
    except (KeyError, TypeError) as error:
        raise MoodlineError(
            f"{path} does not describe recognised words: {error}; remove it, and run moodline transcribe {folder}",
            code="corpus.unreadable",
        ) from error


def write_asr_rows(folder: Path, corpus: Corpus, rows: Mapping[str, AsrResult]) -> None:
    """Replace the file of what is recognised so far, in the corpus's order."""
    ordered = [{"utterance_id": turn.id, **rows[turn.id]._asdict()} for turn in corpus.utterances if turn.id in rows]
    with open_atomic_file(folder / ASR_COLUMN_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(ordered, schema=COLUMNS), temporary)


def write_asr_metadata(folder: Path, recognition: AsrMetadata) -> None:
    write_json(folder / ASR_METADATA_FILE, {"schema": SCHEMA, **recognition.to_json_content()})


def hash_words(words: Mapping[str, str]) -> str:
    """Hash recognised words by utterance id."""
    return hash_json(sorted(words.items()))


def hash_json(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
