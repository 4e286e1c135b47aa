"""Read MELD: Poria et al., "MELD: a multimodal multi-party dataset for emotion recognition in conversations", ACL 2019.

Dialogues of several speakers from the TV series Friends, in seven emotions, with a published split. The tables are at
github.com/declare-lab/MELD, the video clips in its MELD.Raw archive. The reader uses:

    {train,dev,test}_sent_emo.csv       words, speaker, emotion, dialogue, utterance, times in the episode
    CLIPS/dia0_utt0.wav, .flac, .mp4    optional: the folder is train_splits, dev_splits_complete or
                                        output_repeated_splits_test, as in the archive, or train, dev or test

A table or a folder of clips may also be in a folder train, dev or test. A split without clips has words only. Turns
are in the order of their numbers, which the clips' times do not always follow. Sentiment, season and episode are
ignored.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from moodline.audio import io
from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.corpora.corpus import Corpus, build_corpus
from moodline.corpora.validation import EMPTY_CONVERSATION, FaultCollector, ParsedUtterance, check_utterance
from moodline.errors import MoodlineError, format_count
from moodline.tabular import parse_cells, parse_seconds, read_text

LABELS = frozenset({"anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"})
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
TABLES = {"train": "train_sent_emo.csv", "validation": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
SPLIT_FOLDERS = {"train": "train", "validation": "dev", "test": "test"}
CLIP_FOLDERS = {"train": "train_splits", "validation": "dev_splits_complete", "test": "output_repeated_splits_test"}
NUMBER = re.compile(r"[0-9]{1,9}")
CLIP_ENDINGS = (".wav", ".flac", ".mp4")

MISSING_CLIP = "without a clip, in a split with clips"

MeldRow = Mapping[str, str]


def read(source: Path) -> Corpus:
    """Read a folder with the three tables, and the clips beside them.

    Raises:
        MoodlineError: ``source`` is not such a folder, a table lacks a column, or no conversation is usable
    """
    if not source.is_dir():
        raise MoodlineError(f"{source} is not a folder: check the path to MELD", code="corpus.no_source")
    root = source.resolve()
    faults = FaultCollector(root, LABELS)
    conversations = [conversation for split in TABLES for conversation in read_split(root, split, faults)]
    return build_corpus("meld", conversations, faults)


def find_table(root: Path, split: str) -> Path:
    for folder in (root, root / SPLIT_FOLDERS[split]):
        if (folder / TABLES[split]).is_file():
            return folder / TABLES[split]
    raise MoodlineError(
        f"{root} is not MELD, it has no {TABLES[split]}: give the folder that contains {', '.join(TABLES.values())}",
        code="corpus.wrong_source",
    )


def read_split(root: Path, split: str, faults: FaultCollector) -> list[Conversation]:
    clips = find_clips(root, split)
    if not clips:
        faults.note(f"{split} has no clips: its words are read without audio")
    dialogues: dict[int, dict[int, Utterance]] = {}
    for where, row in read_rows(find_table(root, split), faults):
        if not (NUMBER.fullmatch(row["Dialogue_ID"]) and NUMBER.fullmatch(row["Utterance_ID"])):
            faults.add(
                where,
                f"Dialogue_ID and Utterance_ID must be numbers, not {row['Dialogue_ID']!r} and "
                f"{row['Utterance_ID']!r} at {where}: correct that line",
            )
            continue
        dialogue, number = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
        turns = dialogues.setdefault(dialogue, {})
        identity = f"{split}_dia{dialogue}_utt{number}"
        if number in turns:
            faults.add(where, f"{identity} is in the table a second time, at {where}: remove one")
        elif clips and f"dia{dialogue}_utt{number}" not in clips:
            faults.leave_out(MISSING_CLIP, identity)
        elif (turn := build_turn(identity, row, clips.get(f"dia{dialogue}_utt{number}"), where, faults)) is not None:
            turns[number] = turn
    for dialogue in sorted(number for number, turns in dialogues.items() if not turns):
        faults.leave_out(EMPTY_CONVERSATION, f"{split}_dia{dialogue}")
    return [
        Conversation(
            id=f"{split}_dia{dialogue}", split=split, utterances=tuple(turn for _, turn in sorted(turns.items()))
        )
        for dialogue, turns in sorted(dialogues.items())
        if turns
    ]


def find_clips(root: Path, split: str) -> dict[str, Path]:
    """Map the names of clips to files, in the first folder that has some; WAV before FLAC before video."""
    clips, own = CLIP_FOLDERS[split], SPLIT_FOLDERS[split]
    for folder in (root / clips, root / own / clips, root / own):
        files = [path for ending in reversed(CLIP_ENDINGS) for path in sorted(folder.glob(f"dia*_utt*{ending}"))]
        if files:
            return {path.stem: path for path in files}
    return {}


def read_rows(path: Path, faults: FaultCollector) -> list[tuple[str, MeldRow]]:
    """Read a table's rows: file and line, and the cells by column."""
    lines = parse_cells(read_text(path), ",", str(path))
    _, header = next(lines, (0, []))
    names = [name.strip() for name in header]
    for name in COLUMNS:
        if name not in names:
            raise MoodlineError(
                f"{path} lacks the column {name}: a table of MELD has {', '.join(COLUMNS)}",
                code="corpus.missing_column",
            )
    rows: list[tuple[str, MeldRow]] = []
    for number, cells in lines:
        where = f"{path}:{number}"
        if len(cells) != len(names):
            faults.add(
                where, f"{where} has {len(cells)} cells for {format_count(len(names), 'column')}: correct that line"
            )
        else:
            rows.append((where, {name: cell.strip() for name, cell in zip(names, cells, strict=True)}))
    return rows


def build_turn(identity: str, row: MeldRow, path: Path | None, where: str, faults: FaultCollector) -> Utterance | None:
    start, end = parse_seconds(row["StartTime"]), parse_seconds(row["EndTime"])
    clip: AudioClip | None = None
    if not row["Speaker"] or not row["Utterance"]:
        faults.add(
            identity, f"{identity} at {where} has no {'words' if row['Speaker'] else 'speaker'}: correct that line"
        )
        return None
    if start is None or end is None or not start <= end:
        faults.add(
            identity,
            f"{identity} at {where} has the times {row['StartTime']!r} to {row['EndTime']!r}: they must be HH:MM:SS,mmm"
            " and ascend; correct that line",
        )
        return None
    try:
        clip = io.inspect_file(path) if path is not None else None
    except MoodlineError as error:
        faults.add(identity, str(error))
        return None
    utterance = Utterance(
        id=identity,
        speaker=row["Speaker"],
        words=row["Utterance"],
        audio=clip,
        start=start,
        end=end if end > start else None,  # one turn of the published test set has no duration
        label=row["Emotion"],
    )
    return check_utterance(ParsedUtterance(utterance, where), faults)
