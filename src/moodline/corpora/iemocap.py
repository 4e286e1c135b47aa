"""IEMOCAP: Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", LRE 42, 2008.

Dyadic conversations of ten actors in five sessions, a woman and a man each, improvised and scripted. The full
release is licensed by the University of Southern California (sail.usc.edu/iemocap). Read of it, for each session:

    SessionN/dialog/EmoEvaluation/NAME.txt      turns: times, id, the majority's label
    SessionN/dialog/transcriptions/NAME.txt     turns: id, times, words
    SessionN/sentences/wav/NAME/TURN.wav        16 kHz

Everything else in it (the annotators' own files in Categorical, Attribute and Self-evaluation, MOCAP, video, ``._``
files from macOS archives) is passed over.
"""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from moodline.audio import waveform
from moodline.conversation import Conversation, Utterance
from moodline.corpora.corpus import Corpus, corpus_of
from moodline.corpora.validation import Faults, Turn, conversation_of
from moodline.errors import MoodlineError

# Anger, happiness, excitement, sadness, neutral, frustration, fear, surprise, disgust, other, no majority.
LABELS = frozenset({"ang", "hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth", "xxx"})
PARTS = {"impro": "improvised", "script": "scripted"}

# The four classes' counts that the literature expects of the full release (paper, section 3).
EXPECTED_BY_SESSION = {"1": 1085, "2": 1023, "3": 1151, "4": 1031, "5": 1241}

CONVERSATION_NAME = re.compile(r"Ses0(?P<session>\d)[FM]_(?P<part>impro|script)\w*")
TURN_NAME = re.compile(r"(?P<conversation>Ses\d\d[FM]_(?:impro|script)\w*)_(?P<gender>[FM])\w+")
SCRIPT_NAME = re.compile(r"Ses\d\d[FM]_(?P<script>script\d\d_\d+)[a-z]?")
EVALUATION = re.compile(r"\[(?P<start>-?\d+\.?\d*) - (?P<end>-?\d+\.?\d*)\]\t(?P<turn>Ses\w+)\t(?P<label>\S+)\t\[.*\]")
TRANSCRIPTION = re.compile(r"\w+ \[[^\]]*\]: ?(?P<words>.*)")

NO_EVALUATION = "transcribed, but without an evaluation"
NO_WORDS = "evaluated, but without words"
NO_TURN = "a line of a transcription that names no turn"


class Transcribed(NamedTuple):
    """A turn's words, and what is wrong with its line."""

    words: str
    broken: tuple[str, ...] = ()


def read(source: Path) -> Corpus:
    """Read the full release, or a tree in its format.

    Raises:
        MoodlineError: ``source`` is no such tree, or nothing of it can be used
    """
    root = release_root(source)
    faults = Faults(root, LABELS)
    conversations = [
        read_conversation(session, evaluation, faults)
        for session in sorted(root.glob("Session[0-9]"))
        for evaluation in visible(session / "dialog" / "EmoEvaluation", "*.txt")
    ]
    return corpus_of("iemocap", conversations, faults)


def script_of(conversation: Conversation) -> str | None:
    """The script that a conversation performs, by its name; None for an improvised one.

    ``script01_2`` is the second excerpt of the first play, the same in every session, whoever of the two wears the
    markers. A letter after it tells a further recording of the same excerpt (``Ses05M_script01_1b``).
    """
    match = SCRIPT_NAME.fullmatch(conversation.id)
    return match["script"] if match else None


def release_root(source: Path) -> Path:
    """The folder that holds Session1 and so on: the source itself, or the release's folder in it."""
    if not source.is_dir():
        raise MoodlineError(f"IEMOCAP is read from a folder, and {source} is none: check the path")
    for folder in (source, source / "IEMOCAP_full_release"):
        if any(folder.glob("Session[0-9]/dialog/EmoEvaluation")):
            return folder.resolve()
    raise MoodlineError(
        f"{source} is not IEMOCAP: no Session1/dialog/EmoEvaluation is in it; "
        "give the folder that holds Session1 to Session5"
    )


def visible(folder: Path, pattern: str) -> list[Path]:
    """A folder's files, sorted, without hidden ones and those of macOS archives."""
    return sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))


def read_conversation(session: Path, evaluation: Path, faults: Faults) -> Conversation | None:
    name = evaluation.stem
    match = CONVERSATION_NAME.fullmatch(name)
    if match is None:
        faults.leave_out("an evaluation whose file name is no conversation's", evaluation.name)
        return None
    if session.name != f"Session{match['session']}":
        fault = f"a conversation lies in the session of its name: {name} is at {evaluation}; move or remove it"
        faults.add(str(evaluation), fault)
        return None
    transcription = session / "dialog" / "transcriptions" / evaluation.name
    audio_folder = session / "sentences" / "wav" / name
    try:
        if not transcription.is_file():
            raise MoodlineError(f"{evaluation} has no transcription: {transcription} is missing; complete the release")
        if not audio_folder.is_dir():
            raise MoodlineError(f"{transcription} has no audio: the folder {audio_folder} is missing; complete it")
        transcribed, evaluated = lines_of(transcription), lines_of(evaluation)
    except MoodlineError as error:
        faults.add(name, str(error))
        return None
    turns = read_evaluation(
        evaluation, evaluated, read_transcription(transcription, transcribed, faults), audio_folder, faults
    )
    return conversation_of(turns, faults, id=name, session=match["session"], part=PARTS[match["part"]])


def lines_of(path: Path) -> list[str]:
    """Lines, whatever ends them; the release is ASCII but for a few Windows characters.

    A byte that is no character becomes U+FFFD.

    Raises:
        MoodlineError: the file cannot be read, or is no text in an encoding that has ASCII's bytes
    """
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise MoodlineError(f"text is read from files: {path} cannot be ({error.strerror}); mend that") from error
    if b"\0" in data:
        raise MoodlineError(f"text is UTF-8 or Windows-1252, without bytes 0: {path} holds one; save it as UTF-8")
    return [decoded(line) for line in re.split(rb"\r\n|\r|\n", data)]


def decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def read_transcription(path: Path, lines: Sequence[str], faults: Faults) -> dict[str, Transcribed]:
    """What was said, by turn."""
    transcribed: dict[str, Transcribed] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        turn = TURN_NAME.match(line.strip())
        if turn is None or turn["conversation"] != path.stem:
            if line.strip():
                faults.leave_out(NO_TURN, f"{path.name}:{number}")
        elif turn[0] in transcribed:
            faults.add(where, f"a turn is transcribed once: {turn[0]} stands again at {where}; remove one")
        else:
            transcribed[turn[0]] = words_of(line, where)
    return transcribed


def words_of(line: str, where: str) -> Transcribed:
    match = TRANSCRIPTION.fullmatch(line.strip())
    if match is None:
        return Transcribed("", (f"a transcribed turn reads TURN [start-end]: WORDS, not {line!r} at {where}",))
    if "\ufffd" in line:
        return Transcribed("", (f"text is UTF-8 or Windows-1252: {line!r} at {where} is not; save it as UTF-8",))
    return Transcribed(match["words"])


def read_evaluation(
    path: Path, lines: Sequence[str], transcribed: Mapping[str, Transcribed], audio_folder: Path, faults: Faults
) -> Iterator[Turn]:
    """The turns that were transcribed; annotators' lines between them are passed over."""
    named: set[str] = set()
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        turn = TURN_NAME.search(line)
        match = EVALUATION.fullmatch(line.rstrip())
        if match and turn and turn["conversation"] == path.stem:
            named.add(turn[0])
            if turn[0] in transcribed:
                yield turn_of(match, turn["gender"], transcribed[turn[0]], audio_folder, where)
            else:
                faults.leave_out(NO_WORDS, turn[0])
        elif turn or line.startswith("["):
            identity = turn[0] if turn and turn[0] in transcribed.keys() - named else where
            named.add(identity)
            faults.add(
                identity,
                f"an evaluated turn reads [start - end] TURN LABEL [V, A, D], tabs between: {line!r} at {where}",
            )
    for turn in sorted(transcribed.keys() - named):
        faults.leave_out(NO_EVALUATION, turn)


def turn_of(match: re.Match[str], gender: str, transcribed: Transcribed, audio_folder: Path, where: str) -> Turn:
    turn = match["turn"]
    clip, broken = None, transcribed.broken
    try:
        clip = waveform.inspect(audio_folder / f"{turn}.wav")
    except MoodlineError as error:
        broken = (*broken, str(error))
    utterance = Utterance(
        id=turn,
        speaker=turn[:5] + gender,  # Ses01 and F: the letter after Ses01 tells who wore the markers
        words=transcribed.words,
        audio=clip,
        start=float(match["start"]),
        end=float(match["end"]),
        label=match["label"],
    )
    return Turn(utterance, where, broken)
