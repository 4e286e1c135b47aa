"""Read MELD (Poria et al., ACL 2019; github.com/declare-lab/MELD): its three tables and the clips beside them.

docs/corpora.md lists the files. Turns are in the order of their numbers, which the clips' times do not always follow.
"""

import re
from pathlib import Path

from moodline.conversation import Conversation
from moodline.corpora.corpus import Corpus, build_corpus
from moodline.corpora.validation import FaultCollector, ParsedUtterance, build_conversation, parse_utterance
from moodline.errors import MoodlineError, quote
from moodline.tabular import Row, normalise_name, parse_seconds, read_rows

LABELS = frozenset({"anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"})
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
TABLES = {"train": "train_sent_emo.csv", "validation": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
SPLIT_FOLDERS = {"train": "train", "validation": "dev", "test": "test"}
CLIP_FOLDERS = {"train": "train_splits", "validation": "dev_splits_complete", "test": "output_repeated_splits_test"}
NUMBER = re.compile(r"[0-9]{1,9}")
CLIP_ENDINGS = (".wav", ".flac", ".mp4")

MISSING_CLIP = "without a clip, in a split with clips"


def read(source: Path) -> Corpus:
    """Read a folder with the three tables, and the clips beside them."""
    if not source.is_dir():
        raise MoodlineError(f"{source} is not a folder: check the path to MELD", code="corpus.no_source")
    root = source.resolve()
    faults = FaultCollector(root, LABELS)
    conversations = [conversation for split in TABLES for conversation in read_split(root, split, faults)]
    return build_corpus("meld", conversations, faults)


def read_split(root: Path, split: str, faults: FaultCollector) -> list[Conversation | None]:
    clips = find_clips(root, split)
    if not clips:
        faults.note(f"{split} has no clips: its words are read without audio")
    dialogues: dict[int, dict[int, ParsedUtterance]] = {}
    for row in read_table(root, split):
        dialogue, number = (row.cells.get(name, "") for name in ("Dialogue_ID", "Utterance_ID"))
        if row.fault or not (NUMBER.fullmatch(dialogue) and NUMBER.fullmatch(number)):
            fault = f"Dialogue_ID and Utterance_ID must be numbers, not {quote(dialogue)} and {quote(number)}"
            faults.add(row.where, row.fault or f"{fault} at {row.where}: correct that line")
            continue
        turns = dialogues.setdefault(int(dialogue), {})
        name = f"dia{int(dialogue)}_utt{int(number)}"
        if int(number) in turns:
            faults.add(row.where, f"{split}_{name} is in the table a second time, at {row.where}: remove one")
        elif clips and name not in clips:
            faults.leave_out(MISSING_CLIP, f"{split}_{name}")
        else:
            turns[int(number)] = parse_turn(f"{split}_{name}", row, clips.get(name))
    return [
        build_conversation(
            [turn for _, turn in sorted(turns.items())], faults, id=f"{split}_dia{name}", split=split, by_time=False
        )
        for name, turns in sorted(dialogues.items())
    ]


def read_table(root: Path, split: str) -> list[Row]:
    """Read a split's table, in the root or in the split's folder; cells without spaces around them."""
    paths = [folder / TABLES[split] for folder in (root, root / SPLIT_FOLDERS[split])]
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        raise MoodlineError(
            f"{root} is not MELD, it has no {TABLES[split]}: give the folder that contains "
            f"{', '.join(TABLES.values())}",
            code="corpus.wrong_source",
        )
    names, rows = read_rows(path, {name: (normalise_name(name),) for name in COLUMNS})
    missing = [name for name in COLUMNS if name not in map(str.strip, names)]
    if missing:
        raise MoodlineError(
            f"{path} lacks the column {missing[0]}: a table of MELD has {', '.join(COLUMNS)}",
            code="corpus.missing_column",
        )
    return [row._replace(cells={name.strip(): cell.strip() for name, cell in row.cells.items()}) for row in rows]


def find_clips(root: Path, split: str) -> dict[str, Path]:
    """Map the names of clips to files, in the first folder that has some; WAV before FLAC before video."""
    clips, own = CLIP_FOLDERS[split], SPLIT_FOLDERS[split]
    for folder in (root / clips, root / own / clips, root / own):
        files = [path for ending in reversed(CLIP_ENDINGS) for path in sorted(folder.glob(f"dia*_utt*{ending}"))]
        if files:
            return {path.stem: path for path in files}
    return {}


def parse_turn(identity: str, row: Row, clip: Path | None) -> ParsedUtterance:
    words, speaker, label, *times = (
        row.cells.get(name, "") for name in ("Utterance", "Speaker", "Emotion", "StartTime", "EndTime")
    )
    start, end = map(parse_seconds, times)
    broken: list[str] = []
    if not words:
        broken += [f"{identity} at {row.where} has no words: correct that line"]
    if start is None or end is None or not start <= end:
        broken += [
            f"{identity} at {row.where} has the times {quote(times[0])} to {quote(times[1])}: they must be "
            "HH:MM:SS,mmm and ascend; correct that line"
        ]
    if broken or start == end:
        end = None  # one turn of the published test set has no duration
    facts = {"id": identity, "speaker": speaker, "words": words, "label": label, "start": start, "end": end}
    return parse_utterance(row.where, clip, broken, **facts)
