"""Read IEMOCAP (Busso et al., LRE 42, 2008): conversations of two actors, improvised and scripted (docs/iemocap.md).

In each session, the reader uses dialog/EmoEvaluation/NAME.txt (times, ids, majority labels),
dialog/transcriptions/NAME.txt (ids, words) and sentences/wav/NAME/TURN.wav.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from moodline.conversation import Conversation
from moodline.corpora.corpus import Corpus, build_corpus
from moodline.corpora.validation import FaultCollector, ParsedUtterance, build_conversation, parse_utterance
from moodline.errors import MoodlineError, quote
from moodline.tabular import read_text

# Anger, happiness, excitement, sadness, neutral, frustration, fear, surprise, disgust, other, no majority
LABELS = frozenset({"ang", "hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth", "xxx"})
PARTS = {"impro": "improvised", "script": "scripted"}

# Utterances of the four classes in the full release, as the literature counts them (paper, section 3)
EXPECTED_BY_SESSION = {"1": 1085, "2": 1023, "3": 1151, "4": 1031, "5": 1241}

CONVERSATION_NAME = re.compile(r"Ses0(?P<session>\d)[FM]_(?P<part>impro|script)\w*")
TURN_NAME = re.compile(r"(?P<conversation>Ses\d\d[FM]_(?:impro|script)\w*)_(?P<gender>[FM])\w+")
SCRIPT_NAME = re.compile(r"Ses\d\d[FM]_(?P<script>script\d\d_\d+)[a-z]?")
EVALUATION = re.compile(r"\[(?P<start>-?\d+\.?\d*) - (?P<end>-?\d+\.?\d*)\]\t(?P<turn>Ses\w+)\t(?P<label>\S+)\t\[.*\]")
TRANSCRIPTION = re.compile(r"\w+ \[[^\]]*\]: ?(?P<words>.*)")

MISSING_EVALUATION = "transcribed, but not evaluated"
MISSING_WORDS = "evaluated, but not transcribed"
UNNAMED_TURN = "a line of a transcription without a turn id"

TranscribedTurn = tuple[str, tuple[str, ...]]  # a turn's words, and the faults of its line


def read(source: Path) -> Corpus:
    """Read the full release, or a tree in its format."""
    if not source.is_dir():
        raise MoodlineError(f"{source} is not a folder: check the path to IEMOCAP", code="corpus.no_source")
    roots = (source, source / "IEMOCAP_full_release")
    root = next((folder.resolve() for folder in roots if any(folder.glob("Session[0-9]/dialog/EmoEvaluation"))), None)
    if root is None:
        raise MoodlineError(
            f"{source} is not IEMOCAP, it has no Session1/dialog/EmoEvaluation: give the folder that contains Session1 "
            "to Session5",
            code="corpus.wrong_source",
        )
    faults = FaultCollector(root, LABELS)
    conversations = [
        read_conversation(session, path, faults)
        for session in sorted(root.glob("Session[0-9]"))
        for path in sorted((session / "dialog" / "EmoEvaluation").glob("*.txt"))
        if path.is_file() and not path.name.startswith(".")  # ._ files are from macOS archives
    ]
    return build_corpus("iemocap", conversations, faults)


def find_script(conversation: Conversation) -> str | None:
    """Return the script that a conversation performs, from its name; None for an improvised one.

    ``script01_2`` is the second excerpt of the first play, the same in every session, whoever wears the markers. A
    letter after it marks a further recording of the same excerpt (``Ses05M_script01_1b``).
    """
    match = SCRIPT_NAME.fullmatch(conversation.id)
    return match["script"] if match else None


def read_conversation(session: Path, evaluation: Path, faults: FaultCollector) -> Conversation | None:
    name = evaluation.stem
    match = CONVERSATION_NAME.fullmatch(name)
    if match is None:
        faults.leave_out("an evaluation whose file name is not a conversation's", evaluation.name)
        return None
    if session.name != f"Session{match['session']}":
        faults.add(str(evaluation), f"{name} is in the folder of another session, at {evaluation}: move or remove it")
        return None
    transcription = session / "dialog" / "transcriptions" / evaluation.name
    audio_folder = session / "sentences" / "wav" / name
    for what, path, exists in (
        ("transcription", transcription, transcription.is_file()),
        ("audio", audio_folder, audio_folder.is_dir()),
    ):
        if not exists:
            faults.add(name, f"{evaluation} has no {what}, {path} is missing: complete the release")
            return None
    try:
        transcribed, evaluated = read_lines(transcription), read_lines(evaluation)
    except MoodlineError as error:
        faults.add(name, str(error))
        return None
    words = parse_transcription(transcription, transcribed, faults)
    turns = parse_evaluation(evaluation, evaluated, words, audio_folder, faults)
    return build_conversation(turns, faults, id=name, session=match["session"], part=PARTS[match["part"]])


def read_lines(path: Path) -> list[str]:
    """Read lines with any line ends."""
    text = read_text(path)
    if "\0" in text:
        raise MoodlineError(
            f"{path} is not UTF-8 or Windows-1252 text, it contains a zero byte: save it as UTF-8",
            code="corpus.zero_byte",
        )
    return re.split(r"\r\n|\r|\n", text)


def parse_transcription(path: Path, lines: Sequence[str], faults: FaultCollector) -> dict[str, TranscribedTurn]:
    """Parse a transcription's lines: turn id -> words."""
    transcribed: dict[str, TranscribedTurn] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        where = f"{path}:{number}"
        turn = TURN_NAME.match(line)
        match = TRANSCRIPTION.fullmatch(line)
        if turn is None or turn["conversation"] != path.stem:
            if line:
                faults.leave_out(UNNAMED_TURN, f"{path.name}:{number}")
        elif turn[0] in transcribed:
            faults.add(where, f"{turn[0]} is transcribed a second time, at {where}: remove one")
        elif match is None:
            fault = f"not a transcribed turn, TURN [start-end]: WORDS: {quote(line)} at {where}; correct it"
            transcribed[turn[0]] = "", (fault,)
        elif "\ufffd" in line:
            fault = f"not UTF-8 or Windows-1252 text: {quote(line)} at {where}; save it as UTF-8"
            transcribed[turn[0]] = "", (fault,)
        else:
            transcribed[turn[0]] = match["words"], ()
    return transcribed


def parse_evaluation(
    path: Path,
    lines: Sequence[str],
    transcribed: Mapping[str, TranscribedTurn],
    audio_folder: Path,
    faults: FaultCollector,
) -> Iterator[ParsedUtterance]:
    """Parse an evaluation's lines into the turns that are transcribed; the annotators' lines are ignored."""
    named: set[str] = set()
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        turn = TURN_NAME.search(line)
        match = EVALUATION.fullmatch(line.rstrip())
        if match and turn and turn["conversation"] == path.stem:
            named.add(turn[0])
            if turn[0] not in transcribed:
                faults.leave_out(MISSING_WORDS, turn[0])
                continue
            words, broken = transcribed[turn[0]]
            yield parse_utterance(
                where,
                audio_folder / f"{match['turn']}.wav",
                broken,
                id=match["turn"],
                speaker=match["turn"][:5] + turn["gender"],  # the letter after Ses01 is the role that wears the markers
                words=words,
                start=float(match["start"]),
                end=float(match["end"]),
                label=match["label"],
            )
        elif turn or line.startswith("["):
            identity = turn[0] if turn and turn[0] in transcribed.keys() - named else where
            named.add(identity)
            faults.add(
                identity,
                f"not an evaluated turn, [start - end] TURN LABEL [V, A, D] with tabs: {quote(line)} at {where}; "
                "correct it",
            )
    for turn in sorted(transcribed.keys() - named):
        faults.leave_out(MISSING_EVALUATION, turn)
