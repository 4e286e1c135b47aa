"""IEMOCAP: Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", LRE 42, 2008.

Dyadic conversations of ten actors in five sessions, a woman and a man each, improvised and scripted. The full
release is licensed by the University of Southern California (sail.usc.edu/iemocap). Read of it, for each session:

    SessionN/dialog/EmoEvaluation/NAME.txt      turns: times, id, the majority's label
    SessionN/dialog/transcriptions/NAME.txt     turns: id, times, words
    SessionN/sentences/wav/NAME/TURN.wav        16 kHz

Everything else in it (the annotators' own files in Categorical, Attribute and Self-evaluation, MOCAP, video, ``._``
files from macOS archives) is passed over.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from moodline.audio import waveform
from moodline.conversation import Conversation, Utterance
from moodline.corpora.corpus import Corpus
from moodline.corpora.validation import Faults
from moodline.errors import MoodlineError

# Anger, happiness, excitement, sadness, neutral, frustration, fear, surprise, disgust, other, no majority.
LABELS = frozenset({"ang", "hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth", "xxx"})
PARTS = {"impro": "improvised", "script": "scripted"}

# The four classes' counts that the literature expects of the full release (paper, section 3).
EXPECTED_BY_SESSION = {"1": 1085, "2": 1023, "3": 1151, "4": 1031, "5": 1241}

CONVERSATION_NAME = re.compile(r"Ses0(?P<session>\d)[FM]_(?P<part>impro|script)\w*")
TURN_NAME = re.compile(r"(?P<conversation>Ses\d\d[FM]_(?:impro|script)\w*)_(?P<gender>[FM])\w+")
SCRIPT_NAME = re.compile(r"Ses\d\d[FM]_(?P<script>script\d\d_\d+)[a-z]?")
EVALUATION = re.compile(r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<turn>\S+)\t(?P<label>\S+)\t\[.*\]")
TRANSCRIPTION = re.compile(r"(?P<turn>Ses\S+) \[[\d.]+-[\d.]+\]: ?(?P<words>.*)")

NO_EVALUATION = "transcribed, but without an evaluation"
NO_WORDS = "evaluated, but without words"
NO_TURN = "a line of a transcription that names no turn"


def read(source: Path) -> Corpus:
    """Read the full release, or a tree in its format.

    Raises:
        MoodlineError: ``source`` is no such tree, or has faults: the first is named, with file and line
    """
    root = release_root(source)
    faults = Faults(root)
    conversations = [
        conversation
        for session in sorted(root.glob("Session[0-9]"))
        for evaluation in visible(session / "dialog" / "EmoEvaluation", "*.txt")
        if (conversation := read_conversation(session, evaluation, faults)) is not None
    ]
    faults.raise_if_any()
    if not conversations:
        raise MoodlineError(
            f"{root} has the folders of IEMOCAP, but no evaluated conversation in them: check the release"
        )
    return Corpus(
        reader="iemocap",
        source=root,
        conversations=tuple(conversations),
        left_out={reason: tuple(ids) for reason, ids in faults.left_out.items()},
    )


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


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, whatever ends them; the release is ASCII but for a few Windows characters."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    yield from enumerate(re.split(r"\r\n|\r|\n", text), start=1)


def read_conversation(session: Path, evaluation: Path, faults: Faults) -> Conversation | None:
    name = evaluation.stem
    match = CONVERSATION_NAME.fullmatch(name)
    if match is None:
        faults.leave_out("an evaluation whose file name is no conversation's", evaluation.name)
        return None
    if session.name != f"Session{match['session']}":
        faults.add(f"a conversation lies in the session of its name: {name} is at {evaluation}; move or remove it")
        return None
    transcription = session / "dialog" / "transcriptions" / evaluation.name
    audio_folder = session / "sentences" / "wav" / name
    if not transcription.is_file():
        faults.add(f"{evaluation} has no transcription: {transcription} is missing; complete the release")
        return None
    if not audio_folder.is_dir():
        faults.add(f"{transcription} has no audio: the folder {audio_folder} is missing; complete the release")
        return None
    words = read_transcription(transcription, faults)
    utterances = read_evaluation(evaluation, words, audio_folder, faults)
    for turn in sorted(words.keys() - {utterance.id for utterance in utterances}):
        faults.leave_out(NO_EVALUATION, turn)
    if not utterances:
        faults.leave_out("a conversation without a usable turn", name)
        return None
    return Conversation(
        id=name,
        session=match["session"],
        part=PARTS[match["part"]],
        utterances=tuple(sorted(utterances, key=lambda turn: (turn.start, turn.end, turn.id))),
    )


def read_transcription(path: Path, faults: Faults) -> dict[str, str]:
    """Words by turn."""
    words: dict[str, str] = {}
    for number, line in lines_of(path):
        match = TRANSCRIPTION.fullmatch(line.strip())
        if match is None:
            if line.strip():
                faults.leave_out(NO_TURN, f"{path.name}:{number}")
        elif match["turn"] in words:
            faults.add(f"a turn is transcribed once: {match['turn']} stands again at {path}:{number}; remove one")
        else:
            words[match["turn"]] = match["words"].strip()
    return words


def read_evaluation(path: Path, words: dict[str, str], audio_folder: Path, faults: Faults) -> list[Utterance]:
    """The turns that have a label, words and audio; annotators' lines between them are passed over."""
    utterances: list[Utterance] = []
    seen: set[str] = set()
    for number, line in lines_of(path):
        if not line.startswith("["):
            continue
        match = EVALUATION.fullmatch(line.rstrip())
        turn = TURN_NAME.fullmatch(match["turn"]) if match else None
        where = f"{path}:{number}"
        if match is None or turn is None or turn["conversation"] != path.stem:
            faults.add(f"an evaluated turn reads [start - end] TURN LABEL [V, A, D], tabs between: {line!r} at {where}")
        elif match["label"] not in LABELS:
            faults.add(
                f"IEMOCAP's labels are {', '.join(sorted(LABELS))}: "
                f"{match['label']!r} of {match['turn']} at {where} is none"
            )
        elif match["turn"] in seen:
            faults.add(f"a turn is evaluated once: {match['turn']} stands again at {where}; remove one")
        elif match["turn"] not in words:
            faults.leave_out(NO_WORDS, match["turn"])
        else:
            seen.add(match["turn"])
            utterance = utterance_of(match, turn["gender"], words[match["turn"]], audio_folder, where, faults)
            utterances += [utterance] if utterance else []
    return utterances


def utterance_of(
    match: re.Match[str], gender: str, words: str, audio_folder: Path, where: str, faults: Faults
) -> Utterance | None:
    try:
        start, end = float(match["start"]), float(match["end"])
        if not 0 <= start < end:
            raise MoodlineError(f"a turn ends after it starts: {match['turn']} has {start} to {end} s at {where}")
        clip = waveform.inspect(audio_folder / f"{match['turn']}.wav")
    except (MoodlineError, ValueError) as error:
        faults.add(str(error) if isinstance(error, MoodlineError) else f"times are numbers: {match[0]!r} at {where}")
        return None
    return Utterance(
        id=match["turn"],
        speaker=match["turn"][:5] + gender,  # Ses01 and F: the letter after Ses01 tells who wore the markers
        words=words,
        audio=clip,
        start=start,
        end=end,
        label=match["label"],
    )
