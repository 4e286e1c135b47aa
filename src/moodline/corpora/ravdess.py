"""Read RAVDESS (Livingstone and Russo, PLoS ONE 13(5), 2018): its speech recordings, audio only (docs/corpora.md).

A recording is a conversation of one turn. The actor is the speaker and the session, the intensity the part.
"""

import re
from pathlib import Path

from moodline.audio import io
from moodline.conversation import Conversation, Utterance
from moodline.corpora.corpus import Corpus, build_corpus
from moodline.corpora.validation import FaultCollector, ParsedUtterance, build_conversation
from moodline.errors import MoodlineError

EMOTION_NAMES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
EMOTIONS = {f"{number:02d}": name for number, name in enumerate(EMOTION_NAMES, start=1)}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}

NAME = re.compile(
    r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<statement>0[12])-"
    r"(?P<repetition>0[12])-(?P<actor>[0-9]{2})"
)
AUDIO_ENDINGS = frozenset({".wav", ".flac"})
ENDINGS = AUDIO_ENDINGS | {".mp4"}

UNKNOWN_NAME = "a recording whose file name is not one of RAVDESS's"
OTHER_MODALITY = "song or video"
DUPLICATE = "a copy of a recording in another folder"


def read(source: Path) -> Corpus:
    """Read the recordings in a folder and its subfolders."""
    if not source.is_dir():
        raise MoodlineError(f"{source} is not a folder: check the path to RAVDESS", code="corpus.no_source")
    root = source.resolve()
    faults = FaultCollector(root)
    conversations: dict[str, Conversation] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in ENDINGS or path.name.startswith(".") or not path.is_file():
            continue
        name = NAME.fullmatch(path.stem)
        if name is None:
            faults.leave_out(UNKNOWN_NAME, path.relative_to(root).as_posix())
        elif name["modality"] != "03" or name["channel"] != "01" or path.suffix.lower() not in AUDIO_ENDINGS:
            faults.leave_out(OTHER_MODALITY, path.stem)
        elif path.stem in conversations:
            faults.leave_out(DUPLICATE, path.relative_to(root).as_posix())
        elif (conversation := read_recording(path, name, faults)) is not None:
            conversations[path.stem] = conversation
    if not conversations and not faults.found:
        raise MoodlineError(
            f"{root} is not RAVDESS, it has no speech recording with a name like 03-01-06-01-02-01-12.wav: give the "
            "folder that contains Actor_01 to Actor_24",
            code="corpus.wrong_source",
        )
    return build_corpus("ravdess", (conversation for _, conversation in sorted(conversations.items())), faults)


def read_recording(path: Path, name: re.Match[str], faults: FaultCollector) -> Conversation | None:
    try:
        clip = io.inspect_file(path)
    except MoodlineError as error:
        faults.add(path.stem, str(error))
        return None
    utterance = Utterance(
        id=path.stem,
        speaker=f"Actor_{name['actor']}",
        words=STATEMENTS[name["statement"]],
        audio=clip,
        label=EMOTIONS[name["emotion"]],
    )
    part = INTENSITIES[name["intensity"]]
    return build_conversation(
        [ParsedUtterance(utterance, str(path))], faults, id=path.stem, session=name["actor"], part=part
    )
