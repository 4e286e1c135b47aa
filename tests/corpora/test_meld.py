"""MELD as its reader finds it: a small copy of its layout, its quirks, and the published tables."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodline.corpora import meld
from moodline.corpora.corpus import Corpus, read_corpus, write_corpus
from moodline.corpora.inspection import print_inspection
from moodline.corpora.validation import EMPTY_CONVERSATION
from tests.corpora.outcome import outcome
from tests.films import tone, write_film
from tests.refusals import refuses
from tests.system import moodline

COLUMNS = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
ROWS = {
    "train": [
        ("Hi, you!", "Ross", "joy", 0, 0, "00:00:01,500", "00:00:02,000"),
        ("Go \u201caway\u201d.", "Monica", "anger", 0, 1, "0:00:02,000", "0:00:03,250"),
        ("What?", "Ross", "surprise", 3, 2, "01:00:00,000", "01:00:01,000"),
    ],
    "dev": [("No.", "Joey", "neutral", 0, 0, "00:00:01,000", "00:00:02,000")],
    "test": [("Oh my God.", "Rachel", "surprise", 0, 3, "0:12:32,632", "0:12:32,632")],
}
Row = tuple[str, str, str, int, int, str, str]


def table(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS.split(","))
    for number, (words, speaker, emotion, dialogue, utterance, start, end) in enumerate(rows, start=1):
        writer.writerow([number, words, speaker, emotion, "neutral", dialogue, utterance, 1, 2, start, end])
    return text.getvalue()


def write_meld(root: Path, **changed: list[Row]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, rows in {**ROWS, **changed}.items():
        (root / f"{split}_sent_emo.csv").write_text(table(rows), encoding="utf-8", newline="")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_meld(tmp_path / "meld")


def turns(corpus: Corpus) -> Iterator[tuple[str, str | None]]:
    return ((u.id, one.split) for one in corpus.conversations for u in one.utterances)


def test_every_row_is_a_turn_of_its_dialogue_and_split(root: Path) -> None:
    corpus = meld.read(root)
    assert [(one.id, one.split, len(one.utterances)) for one in corpus.conversations] == [
        ("train_dia0", "train", 2),
        ("train_dia3", "train", 1),
        ("validation_dia0", "validation", 1),
        ("test_dia0", "test", 1),
    ]
    first, second, late, *_ = corpus.utterances
    assert (first.id, first.speaker, first.words, first.label) == ("train_dia0_utt0", "Ross", "Hi, you!", "joy")
    assert (first.start, first.end, second.start, second.end) == (1.5, 2.0, 2.0, 3.25)
    assert (late.start, late.end) == (3600.0, 3601.0)
    assert all(utterance.audio is None for utterance in corpus.utterances)
    assert [note.split(":")[0] for note in corpus.notes] == [f"{split} has no clips" for split in meld.TABLES]


def test_a_turn_that_ends_as_it_starts_has_no_end(root: Path) -> None:
    *_, last = meld.read(root).utterances
    assert (last.start, last.end) == (752.632, None)


def test_the_order_is_that_of_the_numbers(root: Path) -> None:
    expected = meld.read(root).conversations
    write_meld(root, train=ROWS["train"][::-1])
    assert meld.read(root).conversations == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_characters_are_read_as_they_are_meant(root: Path, encoding: str) -> None:
    path = root / "train_sent_emo.csv"
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert next(u.words for u in meld.read(root).utterances if u.speaker == "Monica") == "Go \u201caway\u201d."


def test_windows_characters_within_utf_8_are_read_as_they_are_meant(root: Path) -> None:
    path = root / "train_sent_emo.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("Hi, you!", "It\x92s me\x85"), encoding="utf-8")
    assert next(meld.read(root).utterances).words == "It\u2019s me\u2026"


@pytest.mark.parametrize("layout", [("train_splits", ""), ("train", ""), ("train/train_splits", "train")])
def test_clips_are_taken_where_they_are(root: Path, layout: tuple[str, str]) -> None:
    clips, tables = layout
    (root / clips).mkdir(parents=True)
    (root / "train_sent_emo.csv").rename(root / tables / "train_sent_emo.csv")
    for name in ("dia0_utt0", "dia0_utt1"):
        soundfile.write(root / clips / f"{name}.wav", np.zeros(8000), 16_000)
    (root / clips / "._dia0_utt0.wav").write_bytes(b"\0")
    corpus = meld.read(root)
    assert not any(note.startswith("train") for note in corpus.notes)
    found = {u.id: u.audio.path.name for u in corpus.utterances if u.audio}
    assert found == {"train_dia0_utt0": "dia0_utt0.wav", "train_dia0_utt1": "dia0_utt1.wav"}
    assert corpus.left_out == {meld.MISSING_CLIP: ("train_dia3_utt2",), EMPTY_CONVERSATION: ("train_dia3",)}
    assert [split for _, split in turns(corpus)] == ["train", "train", "validation", "test"]


def test_videos_are_clips_too_and_wav_comes_before_them(root: Path) -> None:
    for split, name in (("dev_splits_complete", "dia0_utt0"), ("output_repeated_splits_test", "dia0_utt3")):
        write_film(root / split / f"{name}.mp4", tone())
    soundfile.write(root / "output_repeated_splits_test" / "dia0_utt3.wav", np.zeros(8000), 16_000)
    found = {u.id: u.audio.path.name for u in meld.read(root).utterances if u.audio}
    assert found == {"validation_dia0_utt0": "dia0_utt0.mp4", "test_dia0_utt3": "dia0_utt3.wav"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",joy,", ",glee,", ["anger, disgust", "'glee'", "train_dia0_utt0", "train_sent_emo.csv:2"]),
        ('"Hi, you!"', "Hi, you!", ["12 cells for 11", "train_sent_emo.csv:2"]),
        ('"00:00:01,500"', "soon", ["HH:MM:SS,mmm", "'soon'", "train_sent_emo.csv:2"]),
        ('"00:00:01,500"', '"00:00:02,500"', ["ascend", "train_sent_emo.csv:2"]),
        (",0,1,1,", ",0,0,1,", ["second time", "train_dia0_utt0", "train_sent_emo.csv:3"]),
        (",0,1,1,", ",zero,1,1,", ["Dialogue_ID", "'zero'", "train_sent_emo.csv:3"]),
        (",Ross,joy", ",,joy", ["no speaker", "train_dia0_utt0", "train_sent_emo.csv:2"]),
    ],
)
def test_what_is_wrong_is_left_out_and_told_with_its_line(root: Path, old: str, new: str, words: list[str]) -> None:
    path = root / "train_sent_emo.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    whole = {utterance.id for utterance in meld.read(root).utterances}
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    corpus = meld.read(root)
    (fault,) = corpus.faults
    assert all(word in fault.sentence for word in words), fault
    missing = whole - {utterance.id for utterance in corpus.utterances}
    assert len(missing) == 1
    assert fault.identity in missing or fault.identity.startswith(str(path))


def test_a_table_without_a_column_is_refused(root: Path) -> None:
    path = root / "train_sent_emo.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("Speaker,", "Actor,", 1), encoding="utf-8")
    with refuses("corpus.missing_column", "train_sent_emo.csv", "Speaker"):
        meld.read(root)


def test_a_folder_without_the_tables_is_refused(tmp_path: Path, root: Path) -> None:
    with refuses("corpus.no_source", "none"):
        meld.read(tmp_path / "none")
    (root / "dev_sent_emo.csv").unlink()
    with refuses("corpus.wrong_source", "dev_sent_emo.csv"):
        meld.read(root)


@given(
    content=st.binary()
    | st.text().map(str.encode)
    | st.text(alphabet='",\n01:a').map(lambda t: f"{COLUMNS}\n{t}".encode())
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_table_holds_is_read_or_refused_in_a_sentence(root: Path, content: bytes) -> None:
    (root / "train_sent_emo.csv").write_bytes(content)
    corpus = outcome(meld.read, root)
    if corpus is not None:
        assert {"validation_dia0_utt0", "test_dia0_utt3"} <= {identity for identity, _ in turns(corpus)}


def test_it_is_prepared_and_inspected(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moodline("prepare", "meld", root, "-o", root / "corpus")
    told = capsys.readouterr().out
    assert "4 conversations, 5 utterances; left out: 0" in told
    assert "train has no clips" in told
    assert read_corpus(root / "corpus") == meld.read(root)
    moodline("inspect", root / "corpus")
    heading, *rows = (line.split() for line in capsys.readouterr().out.splitlines()[3:8])
    assert heading == ["split", "surprise", "joy", "anger", "neutral", "all"]
    assert rows == [
        ["test", "1", "0", "0", "0", "1"],
        ["train", "1", "1", "1", "0", "3"],
        ["validation", "0", "0", "0", "1", "1"],
        ["all", "2", "1", "1", "1", "5"],
    ]


@pytest.mark.realdata
def test_the_published_tables_are_read_whole(shared: Path, tmp_path: Path) -> None:
    corpus = meld.read(shared / "corpora" / "meld")
    assert Counter(split for _, split in turns(corpus)) == {"train": 9989, "validation": 1109, "test": 2610}
    dialogues = Counter(one.split for one in corpus.conversations)
    assert dialogues == {"train": 1038, "validation": 114, "test": 280}  # Poria et al. count one more in train
    assert not corpus.left_out
    lines = (shared / "corpora" / "meld" / "test_sent_emo.csv").read_text(encoding="utf-8")
    labels = Counter(re.findall(r",(\w+),(?:neutral|positive|negative),\d+,\d+,", lines))
    assert Counter(u.label for one in corpus.conversations if one.split == "test" for u in one.utterances) == labels
    assert len({one.fingerprint for one in corpus.conversations}) == len(corpus.conversations)
    write_corpus(corpus, tmp_path / "out")
    assert read_corpus(tmp_path / "out") == corpus
    print_inspection(corpus)
