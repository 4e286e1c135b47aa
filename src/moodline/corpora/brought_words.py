"""Words recognised elsewhere, from a CSV, JSON lines or Parquet file with the columns id and words."""

from collections.abc import Iterable
from pathlib import Path

from moodline.corpora.columns import recognised, text_of_cell
from moodline.corpora.corpus import Corpus
from moodline.corpora.formats import FORMATS
from moodline.corpora.recognised import Heard, hash_of_json, write_rows
from moodline.corpora.recognition import ELSEWHERE, Recogniser, Recognition
from moodline.corpora.transcription import describe, described
from moodline.corpora.validation import Faults, cleaned, summary
from moodline.errors import MoodlineError
from moodline.files import hash_of_file, remove_leftovers
from moodline.speech.error_rate import normalisation

SHOWN_IDS = 3


def bring(folder: Path, corpus: Corpus, file: Path) -> Recognition:
    """Take a file's words as the recognised words of a corpus.

    Raises:
        MoodlineError: the folder has another's words; the file is no such table, has an id twice or one that the corpus
            lacks, or lacks one
    """
    words = read_words(file)
    ids = {turn.id for turn in corpus.utterances}
    refuse(file, "names utterances that the corpus does not have", words.keys() - ids)
    refuse(file, "lacks utterances of the corpus, whose words may be empty", ids - words.keys())
    normalisation()  # told before anything is written: that the error rate's package is missing
    by = Recogniser(name=file.name, version=f"file {hash_of_file(file)}", heard=ELSEWHERE)
    if not described(folder, by):
        remove_leftovers(folder)
        source = hash_of_json([by.name, by.version])
        write_rows(folder, corpus, {name: Heard(text, source) for name, text in words.items()})
    return describe(folder, corpus, by, words)


def read_words(file: Path) -> dict[str, str]:
    """Utterance id -> words.

    Raises:
        MoodlineError: it is no table of them, or an id stands twice
    """
    read_records = FORMATS.get(file.suffix.lower())
    if read_records is None or not file.is_file():
        raise MoodlineError(f"recognised words are a file that ends with {', '.join(FORMATS)}, and {file} is none")
    faults = Faults(file.parent)
    names, records = read_records(file, faults)
    if faults.found:
        raise MoodlineError(summary(faults.found, file))
    columns = recognised(names)
    if not columns.keys() >= {"utterance", "words"}:
        raise MoodlineError(
            f"recognised words are a table with the columns id and words: {file} has {', '.join(names) or 'none'}"
        )
    words: dict[str, str] = {}
    for where, record in records:
        try:
            name, text = (text_of_cell(record.get(columns[column])) for column in ("utterance", "words"))
        except MoodlineError as error:
            raise MoodlineError(f"{error} ({where}); correct that row") from error
        if not name or name in words:
            told = f"{where} has {name} again" if name else f"{where} has none"
            raise MoodlineError(
                f"each row of recognised words has an utterance id of its own: {told}; correct that row"
            )
        words[name] = cleaned(text)
    return words


def refuse(file: Path, what: str, ids: Iterable[str]) -> None:
    first = sorted(ids)
    if first:
        more = ", ..." if len(first) > SHOWN_IDS else ""
        raise MoodlineError(
            f"{file} {what}: {len(first)} ({', '.join(first[:SHOWN_IDS])}{more}); give the corpus's utterance ids, "
            "each once"
        )
