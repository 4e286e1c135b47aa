"""A corpus's second column of words, beside its table, which stays as it is.

recognised.parquet   utterance_id, words, source: a hash of all that the words are a function of
recognised.json      whose words, heard in what, word errors; written last: without it the words are not whole
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.conversation import Conversation
from moodline.corpora.corpus import RECOGNISED_FILE, RECOGNITION_FILE, Corpus, read_corpus
from moodline.corpora.recognition import REFERENCE, Recognition, recognition_from
from moodline.errors import MoodlineError, first_line
from moodline.files import atomic_file, read_json, write_json

SCHEMA = 1
COLUMNS = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("utterance_id", "words", "source")])


class Heard(NamedTuple):
    """The words of one utterance, and a hash of what they are a function of."""

    words: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """Recognised words by utterance id, of all utterances, and what stands beside them."""

    words: Mapping[str, str]
    recognition: Recognition

    def in_place(self, corpus: Corpus) -> Corpus:
        """The corpus with these words where its reference words were, which each utterance keeps beside them."""
        return replace(
            corpus, conversations=tuple(map(self._heard, corpus.conversations)), recognition=self.recognition
        )

    def _heard(self, conversation: Conversation) -> Conversation:
        turns = (replace(turn, words=self.words[turn.id], reference=turn.said) for turn in conversation.utterances)
        return replace(conversation, utterances=tuple(turns))


def read_corpus_with(words: str, folder: Path) -> Corpus:
    """A corpus with its reference words, or with recognised ones in their place: one of ``recognition.WORDS``.

    Raises:
        MoodlineError: as of ``read_corpus`` and ``read_recognised``
    """
    corpus = read_corpus(folder)
    return corpus if words == REFERENCE else read_recognised(folder, corpus).in_place(corpus)


def read_recognised(folder: Path, corpus: Corpus) -> Recognised:
    """The recognised words of the corpus in a folder.

    Raises:
        MoodlineError: there are none, some are missing, or they are not what recognised.json describes
    """
    rows, recognition = read_rows(folder), read_recognition(folder)
    count = sum(1 for _ in corpus.utterances)
    missing = [turn.id for turn in corpus.utterances if turn.id not in rows]
    if missing or recognition is None:
        raise MoodlineError(
            f"recognised words are read where every utterance has them: {folder} has them for {count - len(missing)} "
            f"of {count}; moodline transcribe {folder} recognises the others"
        )
    words = {turn.id: rows[turn.id].words for turn in corpus.utterances}
    for what, expected, found in (
        ("the recognised words of a table", recognition.table_hash, corpus.table_hash),
        ("recognised words", recognition.words_hash, hash_of(words)),
    ):
        if expected != found:
            raise MoodlineError(
                f"{folder / RECOGNITION_FILE} describes {what} with the hash {expected}, and here it is "
                f"{found}: remove that file, and run moodline transcribe {folder}"
            )
    return Recognised(words=words, recognition=recognition)


def told_words(folder: Path, corpus: Corpus) -> Iterator[str]:
    """Lines for a person: what recognised words a corpus has."""
    rows, recognition = read_rows(folder), read_recognition(folder)
    if recognition is None:
        if rows:
            found = [turn.id in rows for turn in corpus.utterances]
            yield f"words recognised so far: {sum(found)} of {len(found)} utterances; moodline transcribe goes on"
        return
    yield str(recognition)
    yield f"  nothing was recognised in {recognition.silent} of {recognition.utterances} utterances"
    for voice, errors in recognition.by_voice.items():
        yield f"  said by {voice}: {errors}"


def read_rows(folder: Path) -> dict[str, Heard]:
    """What is recognised so far, by utterance id.

    Raises:
        MoodlineError: the file is no such table
    """
    path = folder / RECOGNISED_FILE
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path, columns=COLUMNS.names).cast(COLUMNS)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise MoodlineError(
            f"{path} cannot be read as recognised words: {first_line(error)}; remove it, and moodline transcribe "
            f"{folder} makes it anew"
        ) from error
    ids, words, sources = (table[name].to_pylist() for name in COLUMNS.names)
    return {name: Heard(*heard) for name, *heard in zip(ids, words, sources, strict=True)}


def read_recognition(folder: Path) -> Recognition | None:
    """What stands beside a corpus's recognised words; None where they are not whole."""
    path = folder / RECOGNITION_FILE
    if not path.is_file():
        return None
    content = read_json(path, "corpus folder with recognised words")
    try:
        if content["schema"] > SCHEMA:
            raise MoodlineError(f"{path} has schema {content['schema']}: install a newer moodline")
        return recognition_from(content)
    except (KeyError, TypeError) as error:
        raise MoodlineError(
            f"{path} describes no recognised words: {error}; remove it, and moodline transcribe {folder} makes it anew"
        ) from error


def write_rows(folder: Path, corpus: Corpus, rows: Mapping[str, Heard]) -> None:
    """Put what is recognised so far in the place of what was there, in the corpus's order."""
    ordered = [{"utterance_id": turn.id, **rows[turn.id]._asdict()} for turn in corpus.utterances if turn.id in rows]
    with atomic_file(folder / RECOGNISED_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(ordered, schema=COLUMNS), temporary)


def write_recognition(folder: Path, recognition: Recognition) -> None:
    write_json(folder / RECOGNITION_FILE, {"schema": SCHEMA, **recognition.content()})


def hash_of(words: Mapping[str, str]) -> str:
    """Of recognised words by utterance id."""
    return hash_of_json(sorted(words.items()))


def hash_of_json(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
