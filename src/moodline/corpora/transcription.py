"""Adding recognised words to a corpus: recognised from its recordings or synthetic speech, or imported."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moodline.asr import RecordedSpeech, SpeechRecogniser, SpeechSource
from moodline.conversation import Utterance
from moodline.corpora.asr_column import (
    AsrResult,
    hash_json,
    hash_words,
    read_asr_column,
    read_asr_metadata,
    read_asr_rows,
    write_asr_metadata,
    write_asr_rows,
)
from moodline.corpora.corpus import ASR_METADATA_FILE, Corpus
from moodline.corpora.storage import IMPORTED, RECORDED, SYNTHESIZED, AsrMetadata, RecogniserInfo
from moodline.corpora.table import FORMATS, format_cell, recognise_columns
from moodline.corpora.tts import Synthesizer, SyntheticSpeech, assign_voices
from moodline.corpora.validation import FaultCollector, clean_words, summarise_faults
from moodline.errors import MoodlineError, format_count
from moodline.io import hash_file, remove_leftovers
from moodline.metrics import BRACKETED_PATTERN, build_normalisation, count_word_errors

SAVE_INTERVAL = 16  # utterances of each process: so much is lost at most when a command is killed


@dataclass(frozen=True)
class AsrTask:
    """One utterance's sound, and the hash that its words are kept under."""

    utterance: Utterance
    sound: SpeechSource
    source: str


def transcribe_corpus(
    folder: Path,
    corpus: Corpus,
    recogniser: SpeechRecogniser,
    progress: Callable[[int, int], None],
    *,
    tts: bool,
) -> AsrMetadata:
    """Recognise the words of a corpus, or what is left of them.

    Args:
        progress: told how many of how many are recognised
        tts: recognise synthetic voices that speak the reference words, not the recordings

    Raises:
        MoodlineError: the folder has another's words; an utterance has no recording, or it cannot be read
    """
    build_normalisation()  # told before hours of work: that the error rate's package is missing
    by = RecogniserInfo(name=recogniser.name, version=recogniser.version, heard=SYNTHESIZED if tts else RECORDED)
    if is_complete(folder, by):
        return read_asr_column(folder, corpus).recognition
    remove_leftovers(folder)
    tasks = [
        AsrTask(turn, sound, hash_json([by.name, by.version, *sound.origin]))
        for turn, sound in zip(corpus.utterances, build_speech_sources(corpus, tts=tts), strict=True)
    ]
    kept = read_asr_rows(folder)
    rows = {one.utterance.id: kept[one.utterance.id] for one in tasks if is_up_to_date(one, kept)}
    left = [one for one in tasks if one.utterance.id not in rows]
    progress(len(rows), len(tasks))
    for block in split_tasks(left, SAVE_INTERVAL * recogniser.jobs):
        words = recogniser.recognise([one.sound for one in block])
        rows |= {one.utterance.id: AsrResult(text, one.source) for one, text in zip(block, words, strict=True)}
        write_asr_rows(folder, corpus, rows)
        progress(len(rows), len(tasks))
    return write_description(folder, corpus, by, {name: heard.words for name, heard in rows.items()})


def is_complete(folder: Path, by: RecogniserInfo) -> bool:
    """Whether a folder has the whole of these words.

    Raises:
        MoodlineError: it has the whole of another's
    """
    found = read_asr_metadata(folder)
    if found is not None and found.recogniser != by:
        raise MoodlineError(
            f"{folder} has words recognised by {found.recogniser}, and here they are to be by {by}: remove "
            f"{folder / ASR_METADATA_FILE} to replace them"
        )
    return found is not None


def build_speech_sources(corpus: Corpus, *, tts: bool) -> list[SpeechSource]:
    """What is heard of each utterance.

    Raises:
        MoodlineError: an utterance has no recording, or none has words to speak
    """
    turns = list(corpus.utterances)
    if tts:
        if not any(turn.said for turn in turns):
            raise MoodlineError("the corpus has no reference words for --tts to speak: leave out --tts")
        Synthesizer()  # raises before hours of work where the voices are not installed
        voices = assign_voices(turns)
        return [SyntheticSpeech(re.sub(BRACKETED_PATTERN, " ", turn.said), voices[turn.speaker]) for turn in turns]
    silent = [turn.id for turn in turns if turn.audio is None]
    if silent:
        raise MoodlineError(
            f"{format_count(len(silent), 'utterance')} without a recording, {silent[0]} the first: recognise "
            f"synthesised "
            "reference words with --tts, or import words that are recognised already with --import-words FILE"
        )
    return [RecordedSpeech(turn.audio) for turn in turns if turn.audio is not None]


def is_up_to_date(task: AsrTask, kept: Mapping[str, AsrResult]) -> bool:
    found = kept.get(task.utterance.id)
    return found is not None and found.source == task.source


def split_tasks(tasks: Sequence[AsrTask], size: int) -> Iterator[Sequence[AsrTask]]:
    return (tasks[start : start + size] for start in range(0, len(tasks), size))


def write_description(folder: Path, corpus: Corpus, by: RecogniserInfo, words: Mapping[str, str]) -> AsrMetadata:
    """Write what stands beside recognised words that are whole, last of all."""
    turns = list(corpus.utterances)
    voices = assign_voices(turns) if by.heard == SYNTHESIZED else {}
    by_voice: dict[str, list[Utterance]] = {}
    for turn in turns:
        if turn.speaker in voices:
            by_voice.setdefault(voices[turn.speaker].name, []).append(turn)
    recognition = AsrMetadata(
        recogniser=by,
        table_hash=corpus.table_hash,
        words_hash=hash_words(words),
        utterances=len(turns),
        silent=sum(not words[turn.id] for turn in turns),
        errors=count_word_errors([turn.said for turn in turns], [words[turn.id] for turn in turns]),
        by_voice={
            voice: count_word_errors([turn.said for turn in those], [words[turn.id] for turn in those])
            for voice, those in sorted(by_voice.items())
        },
    )
    write_asr_metadata(folder, recognition)
    return recognition


MAX_SHOWN_IDS = 3


def import_asr(folder: Path, corpus: Corpus, file: Path) -> AsrMetadata:
    """Take a file's words as the recognised words of a corpus.

    Raises:
        MoodlineError: the folder has another's words; the file is no such table, has an id twice or one that the corpus
            lacks, or lacks one
    """
    words = read_asr_words(file)
    ids = {turn.id for turn in corpus.utterances}
    refuse_file(file, "names utterances that the corpus does not have", words.keys() - ids)
    refuse_file(file, "lacks utterances of the corpus, whose words may be empty", ids - words.keys())
    build_normalisation()  # told before anything is written: that the error rate's package is missing
    by = RecogniserInfo(name=file.name, version=f"file {hash_file(file)}", heard=IMPORTED)
    if not is_complete(folder, by):
        remove_leftovers(folder)
        source = hash_json([by.name, by.version])
        write_asr_rows(folder, corpus, {name: AsrResult(text, source) for name, text in words.items()})
    return write_description(folder, corpus, by, words)


def read_asr_words(file: Path) -> dict[str, str]:
    """Utterance id -> words.

    Raises:
        MoodlineError: it is no table of them, or an id stands twice
    """
    read_records = FORMATS.get(file.suffix.lower())
    if read_records is None or not file.is_file():
        raise MoodlineError(f"recognised words are a file that ends with {', '.join(FORMATS)}, and {file} is none")
    faults = FaultCollector(file.parent)
    names, records = read_records(file, faults)
    if faults.found:
        raise MoodlineError(summarise_faults(faults.found, file))
    columns = recognise_columns(names)
    if not columns.keys() >= {"utterance", "words"}:
        raise MoodlineError(
            f"recognised words are a table with the columns id and words: {file} has {', '.join(names) or 'none'}"
        )
    words: dict[str, str] = {}
    for where, record in records:
        try:
            name, text = (format_cell(record.get(columns[column])) for column in ("utterance", "words"))
        except MoodlineError as error:
            raise MoodlineError(f"{error} ({where}); correct that row") from error
        if not name or name in words:
            told = f"{where} has {name} again" if name else f"{where} has none"
            raise MoodlineError(
                f"each row of recognised words has an utterance id of its own: {told}; correct that row"
            )
        words[name] = clean_words(text)
    return words


def refuse_file(file: Path, what: str, ids: Iterable[str]) -> None:
    first = sorted(ids)
    if first:
        more = ", ..." if len(first) > MAX_SHOWN_IDS else ""
        raise MoodlineError(
            f"{file} {what}: {len(first)} ({', '.join(first[:MAX_SHOWN_IDS])}{more}); give the corpus's utterance ids, "
            "each once"
        )
