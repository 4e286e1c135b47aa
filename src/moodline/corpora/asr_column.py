"""Recognised words of a corpus: a column beside its table, from a recogniser or from an imported file."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.conversation import Utterance
from moodline.corpora.corpus import ASR_COLUMN_FILE, ASR_METADATA_FILE, Corpus, read_corpus, report_unreadable
from moodline.corpora.storage import (
    IMPORTED,
    RECORDED,
    REFERENCE,
    SYNTHESIZED,
    AsrMetadata,
    RecogniserInfo,
    parse_asr_metadata,
)
from moodline.corpora.table import format_cell, read_table, recognise_columns
from moodline.corpora.tts import Synthesizer, SyntheticSpeech, assign_voices
from moodline.corpora.validation import clean_words
from moodline.errors import MoodlineError, format_count, format_first
from moodline.io import hash_file, hash_json, open_atomic_file, read_json, remove_leftovers, write_json
from moodline.metrics import BRACKETED_PATTERN, WordErrors, build_normalisation, count_word_errors
from moodline.speech.asr import RecordedSpeech, SpeechRecogniser, SpeechSource

SCHEMA = 1
COLUMNS = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("utterance_id", "words", "source")])
SAVE_INTERVAL = 16  # utterances of each process: as many are lost at most when a command is killed


class AsrResult(NamedTuple):
    """The recognised words of one utterance, and a hash of everything that determines them."""

    words: str
    source: str


@dataclass(frozen=True, kw_only=True)
class AsrColumn:
    """Recognised words of all utterances by id, and their description."""

    words: Mapping[str, str]
    recognition: AsrMetadata


def read_corpus_with_words(words: str, folder: Path) -> Corpus:
    """Read a corpus with its reference words, or with recognised ones and the reference beside them.

    ``words`` is one of ``storage.WORDS``.
    """
    corpus = read_corpus(folder)
    if words == REFERENCE:
        return corpus
    column = read_asr_column(folder, corpus)

    def replace_words(turn: Utterance) -> Utterance:
        return replace(turn, words=column.words[turn.id], reference=turn.said)

    conversations = (replace(one, utterances=tuple(map(replace_words, one.utterances))) for one in corpus.conversations)
    return replace(corpus, conversations=tuple(conversations), recognition=column.recognition)


def read_asr_column(folder: Path, corpus: Corpus) -> AsrColumn:
    """Read the recognised words of the corpus in a folder; all must be there and match recognised.json."""
    rows, recognition = read_asr_rows(folder), read_asr_metadata(folder)
    found = [turn.id in rows for turn in corpus.utterances]
    if recognition is None or not all(found):
        raise MoodlineError(
            f"{folder} has recognised words for {sum(found)} of {len(found)} utterances: run moodline transcribe "
            f"{folder} for the others",
            code="corpus.missing_asr",
        )
    words = {turn.id: rows[turn.id].words for turn in corpus.utterances}
    for what, expected, actual in (
        ("the recognised words of a table", recognition.table_hash, corpus.table_hash),
        ("recognised words", recognition.words_hash, hash_json(sorted(words.items()))),
    ):
        if expected != actual:
            raise MoodlineError(
                f"{folder / ASR_METADATA_FILE} describes {what} with the hash {expected}, and here it is "
                f"{actual}: remove that file, and run moodline transcribe {folder}",
                code="corpus.changed",
            )
    return AsrColumn(words=words, recognition=recognition)


def describe_asr_column(folder: Path, corpus: Corpus) -> Iterator[str]:
    """Format lines for a person on the recognised words that a corpus has."""
    rows, recognition = read_asr_rows(folder), read_asr_metadata(folder)
    if recognition is not None:
        yield str(recognition)
        yield f"  nothing was recognised in {recognition.silent} of {recognition.utterances} utterances"
        for voice, errors in recognition.by_voice.items():
            yield f"  said by {voice}: {errors}"
    elif rows:
        found = [turn.id in rows for turn in corpus.utterances]
        yield f"words recognised so far: {sum(found)} of {len(found)} utterances; moodline transcribe adds the others"


def read_asr_rows(folder: Path) -> dict[str, AsrResult]:
    """Read what is recognised so far, by utterance id."""
    path = folder / ASR_COLUMN_FILE
    if not path.is_file():
        return {}
    with report_unreadable(path, f"remove that file, and run moodline transcribe {folder}"):
        table = pq.read_table(path, columns=COLUMNS.names).cast(COLUMNS)
    ids, words, sources = (table[name].to_pylist() for name in COLUMNS.names)
    return {name: AsrResult(*result) for name, *result in zip(ids, words, sources, strict=True)}


def read_asr_metadata(folder: Path) -> AsrMetadata | None:
    """Read the description of a corpus's recognised words; None where they are incomplete."""
    path = folder / ASR_METADATA_FILE
    if not path.is_file():
        return None
    content = read_json(path, "corpus folder with recognised words")
    with report_unreadable(path, f"remove that file, and run moodline transcribe {folder}"):
        if content["schema"] > SCHEMA:
            raise MoodlineError(
                f"{path} has schema {content['schema']}: install a newer moodline", code="corpus.newer_schema"
            )
        return parse_asr_metadata(content)


def write_asr_rows(folder: Path, corpus: Corpus, rows: Mapping[str, AsrResult]) -> None:
    """Replace the file of what is recognised so far, in the corpus's order."""
    ordered = [{"utterance_id": turn.id, **rows[turn.id]._asdict()} for turn in corpus.utterances if turn.id in rows]
    with open_atomic_file(folder / ASR_COLUMN_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(ordered, schema=COLUMNS), temporary)


def transcribe_corpus(
    folder: Path,
    corpus: Corpus,
    recogniser: SpeechRecogniser,
    progress: Callable[[int, int], None],
    *,
    tts: bool,
) -> AsrMetadata:
    """Recognise the words of a corpus, or of those utterances that were not recognised before.

    Args:
        progress: receives the numbers of recognised and of all utterances
        tts: recognise synthetic voices that speak the reference words, instead of the recordings
    """
    build_normalisation()  # reports that the error rate's package is missing, before hours of work
    by = RecogniserInfo(name=recogniser.name, version=recogniser.version, heard=SYNTHESIZED if tts else RECORDED)
    if is_complete(folder, by):
        return read_asr_column(folder, corpus).recognition
    remove_leftovers(folder)
    ids = [turn.id for turn in corpus.utterances]
    speech = dict(zip(ids, build_speech_sources(corpus, tts=tts), strict=True))
    sources = {name: hash_json([by.name, by.version, *one.origin]) for name, one in speech.items()}
    rows = {name: row for name, row in read_asr_rows(folder).items() if sources.get(name) == row.source}
    left = [name for name in sources if name not in rows]
    progress(len(rows), len(sources))
    size = SAVE_INTERVAL * recogniser.jobs
    for start in range(0, len(left), size):
        block = left[start : start + size]
        texts = recogniser.recognise([speech[name] for name in block])
        rows |= {name: AsrResult(text, sources[name]) for name, text in zip(block, texts, strict=True)}
        write_asr_rows(folder, corpus, rows)
        progress(len(rows), len(sources))
    return write_asr_metadata(folder, corpus, by, {name: row.words for name, row in rows.items()})


def is_complete(folder: Path, by: RecogniserInfo) -> bool:
    """Check whether a folder has all words of this recogniser, and refuse one that has another's."""
    found = read_asr_metadata(folder)
    if found is not None and found.recogniser != by:
        raise MoodlineError(
            f"{folder} has words recognised by {found.recogniser}, and this command recognises by {by}: remove "
            f"{folder / ASR_METADATA_FILE} to replace them",
            code="corpus.other_recogniser",
        )
    return found is not None


def build_speech_sources(corpus: Corpus, *, tts: bool) -> list[SpeechSource]:
    """Return the speech of each utterance: its recording, or its reference words spoken by its speaker's voice."""
    turns = list(corpus.utterances)
    if tts:
        if not any(turn.said for turn in turns):
            raise MoodlineError(
                "the corpus has no reference words for --tts to speak: leave out --tts", code="corpus.no_words"
            )
        Synthesizer()  # raises before hours of work where the voices are not installed
        voices = assign_voices(turns)
        return [SyntheticSpeech(re.sub(BRACKETED_PATTERN, " ", turn.said), voices[turn.speaker]) for turn in turns]
    silent = [turn.id for turn in turns if turn.audio is None]
    if silent:
        raise MoodlineError(
            f"{format_count(len(silent), 'utterance')} without a recording ({format_first(silent)}): recognise "
            "synthesised reference words with --tts, or import recognised words with --import-words FILE",
            code="corpus.no_audio",
        )
    return [RecordedSpeech(turn.audio) for turn in turns if turn.audio is not None]


def write_asr_metadata(folder: Path, corpus: Corpus, by: RecogniserInfo, words: Mapping[str, str]) -> AsrMetadata:
    """Write the description of complete recognised words, last of all."""
    turns = list(corpus.utterances)
    by_voice: dict[str, list[Utterance]] = {}
    if by.heard == SYNTHESIZED:
        voices = assign_voices(turns)
        for turn in turns:
            by_voice.setdefault(voices[turn.speaker].name, []).append(turn)

    def count_errors(some: Sequence[Utterance]) -> WordErrors:
        return count_word_errors([turn.said for turn in some], [words[turn.id] for turn in some])

    recognition = AsrMetadata(
        recogniser=by,
        table_hash=corpus.table_hash,
        words_hash=hash_json(sorted(words.items())),
        utterances=len(turns),
        silent=sum(not words[turn.id] for turn in turns),
        errors=count_errors(turns),
        by_voice={voice: count_errors(own) for voice, own in sorted(by_voice.items())},
    )
    write_json(folder / ASR_METADATA_FILE, {"schema": SCHEMA, **recognition.to_json_content()})
    return recognition


def import_asr(folder: Path, corpus: Corpus, file: Path) -> AsrMetadata:
    """Add a file's words to a corpus as its recognised words; the file must have each utterance of the corpus once."""
    words = read_asr_words(file)
    ids = {turn.id for turn in corpus.utterances}
    refuse_ids(file, "corpus.unknown_utterance", "names utterances that the corpus does not have", words.keys() - ids)
    refuse_ids(
        file, "corpus.missing_words", "lacks utterances of the corpus, whose words may be empty", ids - words.keys()
    )
    build_normalisation()  # reports that the error rate's package is missing, before anything is written
    by = RecogniserInfo(name=file.name, version=f"file {hash_file(file)}", heard=IMPORTED)
    if not is_complete(folder, by):
        remove_leftovers(folder)
        source = hash_json([by.name, by.version])
        write_asr_rows(folder, corpus, {name: AsrResult(text, source) for name, text in words.items()})
    return write_asr_metadata(folder, corpus, by, words)


def refuse_ids(file: Path, code: str, fault: str, ids: Iterable[str]) -> None:
    if found := sorted(ids):
        raise MoodlineError(
            f"{file} {fault}: {len(found)} ({format_first(found)}); use the corpus's utterance ids, each once",
            code=code,
        )


def read_asr_words(file: Path) -> dict[str, str]:
    """Read a table of utterance ids and words."""
    names, rows = read_table(file)
    columns = recognise_columns(names)
    for row in rows:
        if row.fault:
            raise MoodlineError(row.fault, code="corpus.faults")
    if not columns.keys() >= {"utterance", "words"}:
        raise MoodlineError(
            f"{file} lacks a column id or words: it has {', '.join(names) or 'no columns'}",
            code="corpus.missing_column",
        )
    words: dict[str, str] = {}
    for where, cells, _ in rows:
        try:
            name, text = (format_cell(cells.get(columns[column])) for column in ("utterance", "words"))
        except MoodlineError as error:
            raise MoodlineError(f"{error} ({where}); correct that row", code=error.code) from error
        if not name or name in words:
            raise MoodlineError(
                f"{where} has {f'the utterance id {name} again' if name else 'no utterance id'}: correct that row",
                code="corpus.duplicate_id" if name else "corpus.missing_id",
            )
        words[name] = clean_words(text)
    return words
