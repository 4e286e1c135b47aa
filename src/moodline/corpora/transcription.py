"""Giving a corpus recognised words: heard in its recordings, heard in voices that say the reference words, or brought.

What is recognised is kept as it comes, so that a command that was killed goes on where it was; and words whose
recording and recogniser are the same stay, so that a corpus that was corrected needs the others alone.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moodline.conversation import Utterance
from moodline.corpora.corpus import RECOGNITION_FILE, Corpus
from moodline.corpora.recognised import (
    Heard,
    hash_of,
    hash_of_json,
    read_recognised,
    read_recognition,
    read_rows,
    write_recognition,
    write_rows,
)
from moodline.corpora.recognition import RECORDED, SPOKEN, Recogniser, Recognition
from moodline.corpora.tts import Synthesizer, SyntheticSpeech, assign_voices
from moodline.errors import MoodlineError
from moodline.files import remove_leftovers
from moodline.speech import recogniser as speech
from moodline.speech.error_rate import MARKS, normalisation, word_errors
from moodline.speech.parallel import recognising
from moodline.speech.sound import Recorded, Sound
from moodline.wording import counted

KEPT_EVERY = 16  # utterances of each process: so much is lost at most when a command is killed


@dataclass(frozen=True)
class Task:
    """One utterance's sound, and the hash that its words are kept under."""

    utterance: Utterance
    sound: Sound
    source: str


def transcribe(
    folder: Path,
    corpus: Corpus,
    chosen: str,
    jobs: int,
    progress: Callable[[int, int], None],
    *,
    tts: bool,
) -> Recognition:
    """Recognise the words of a corpus, or what is left of them.

    Args:
        chosen: see ``speech.recogniser.choose``
        jobs: utterances that are recognised at a time
        progress: told how many of how many are recognised
        tts: recognise synthetic voices that speak the reference words, not the recordings

    Raises:
        MoodlineError: the folder has another's words; an utterance has no recording, or it cannot be read
    """
    normalisation()  # told before hours of work: that the error rate's package is missing
    recogniser = speech.load(chosen)
    by = Recogniser(name=recogniser.name, version=recogniser.version, heard=SPOKEN if tts else RECORDED)
    if described(folder, by):
        return read_recognised(folder, corpus).recognition
    remove_leftovers(folder)
    tasks = [
        Task(turn, sound, hash_of_json([by.name, by.version, *sound.origin]))
        for turn, sound in zip(corpus.utterances, sounds_of(corpus, tts=tts), strict=True)
    ]
    kept = read_rows(folder)
    rows = {one.utterance.id: kept[one.utterance.id] for one in tasks if is_kept(one, kept)}
    left = [one for one in tasks if one.utterance.id not in rows]
    progress(len(rows), len(tasks))
    with recognising(recogniser, chosen, jobs) as recognise:
        for block in blocks(left, KEPT_EVERY * jobs):
            words = recognise([one.sound for one in block])
            rows |= {one.utterance.id: Heard(text, one.source) for one, text in zip(block, words, strict=True)}
            write_rows(folder, corpus, rows)
            progress(len(rows), len(tasks))
    return describe(folder, corpus, by, {name: heard.words for name, heard in rows.items()})


def described(folder: Path, by: Recogniser) -> bool:
    """Whether a folder has the whole of these words.

    Raises:
        MoodlineError: it has the whole of another's
    """
    found = read_recognition(folder)
    if found is not None and found.recogniser != by:
        raise MoodlineError(
            f"{folder} has words recognised by {found.recogniser}, and here they are to be by {by}: remove "
            f"{folder / RECOGNITION_FILE} to replace them"
        )
    return found is not None


def sounds_of(corpus: Corpus, *, tts: bool) -> list[Sound]:
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
        return [SyntheticSpeech(re.sub(MARKS, " ", turn.said), voices[turn.speaker]) for turn in turns]
    silent = [turn.id for turn in turns if turn.audio is None]
    if silent:
        raise MoodlineError(
            f"{counted(len(silent), 'utterance')} without a recording, {silent[0]} the first: recognise synthesised "
            "reference words with --tts, or import words that are recognised already with --words FILE"
        )
    return [Recorded(turn.audio) for turn in turns if turn.audio is not None]


def is_kept(task: Task, kept: Mapping[str, Heard]) -> bool:
    found = kept.get(task.utterance.id)
    return found is not None and found.source == task.source


def blocks(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    return (tasks[start : start + size] for start in range(0, len(tasks), size))


def describe(folder: Path, corpus: Corpus, by: Recogniser, words: Mapping[str, str]) -> Recognition:
    """Write what stands beside recognised words that are whole, last of all."""
    turns = list(corpus.utterances)
    voices = assign_voices(turns) if by.heard == SPOKEN else {}
    by_voice: dict[str, list[Utterance]] = {}
    for turn in turns:
        if turn.speaker in voices:
            by_voice.setdefault(voices[turn.speaker].name, []).append(turn)
    recognition = Recognition(
        recogniser=by,
        table_hash=corpus.table_hash,
        words_hash=hash_of(words),
        utterances=len(turns),
        silent=sum(not words[turn.id] for turn in turns),
        errors=word_errors([turn.said for turn in turns], [words[turn.id] for turn in turns]),
        by_voice={
            voice: word_errors([turn.said for turn in those], [words[turn.id] for turn in those])
            for voice, those in sorted(by_voice.items())
        },
    )
    write_recognition(folder, recognition)
    return recognition
