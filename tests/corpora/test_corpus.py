"""A corpus on disk: what others read of it, and what it refuses."""

import hashlib
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.corpora import corpus as corpus_module
from moodline.corpora import iemocap, storage
from moodline.corpora.corpus import DESCRIPTION_FILE, TABLE_FILE, Corpus, build_corpus, read_corpus, write_corpus
from moodline.corpora.validation import FaultCollector
from moodline.errors import MoodlineError
from moodline.io import hash_file
from tests.corpora.files import content_of
from tests.refusals import refuses
from tests.trees import write_tree

TURNS = 20
COLUMNS = [
    "utterance_id",
    "conversation_id",
    "order",
    "speaker",
    "session",
    "part",
    "split",
    "start",
    "end",
    "words",
    "label",
    "audio_file",
    "audio_offset",
    "audio_duration",
    "sample_rate",
    "audio_hash",
]


@pytest.fixture
def folder(corpus: Corpus, tmp_path: Path) -> Path:
    write_corpus(corpus, tmp_path / "out")
    return tmp_path / "out"


def test_what_is_written_comes_back(corpus: Corpus, folder: Path) -> None:
    assert read_corpus(folder) == read_corpus(str(folder)) == corpus
    assert read_corpus(folder).table_hash == corpus.table_hash


def test_a_table_of_several_row_groups_is_the_same_corpus(
    corpus: Corpus, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ROWS_PER_GROUP", 3)
    write_corpus(corpus, tmp_path / "pieces")
    assert pq.ParquetFile(tmp_path / "pieces" / TABLE_FILE).num_row_groups > 1
    assert read_corpus(tmp_path / "pieces") == read_corpus(folder) == corpus
    assert (tmp_path / "pieces" / DESCRIPTION_FILE).read_bytes() == (folder / DESCRIPTION_FILE).read_bytes()


def test_memory_to_read_an_utterance_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows as dictionaries would take twice the bound, the conversations alone take half of it."""
    monkeypatch.setattr(storage, "ROWS_PER_GROUP", 100)
    peaks = []
    for talks in (50, 250):
        write_corpus(large(talks, tmp_path), tmp_path / f"{talks}")
        tracemalloc.start()
        read_corpus(tmp_path / f"{talks}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (200 * TURNS) < 800  # bytes


def large(talks: int, source: Path) -> Corpus:
    """Talks of ``TURNS`` turns, each talk in a recording of its own, which is not read."""
    conversations = tuple(
        Conversation(
            id=f"talk-{talk}",
            session=f"{talk % 5}",
            utterances=tuple(
                Utterance(
                    id=f"talk-{talk}-{turn}",
                    speaker=f"speaker-{talk}-{turn % 2}",
                    words=f"what is said in {talk} at {turn}",
                    label="neu",
                    start=turn + 0.25,
                    end=turn + 1.25,
                    audio=AudioClip(
                        path=source / f"talk-{talk}.wav", offset=turn + 0.25, duration=1.0, sample_rate=16000
                    ),
                )
                for turn in range(TURNS)
            ),
        )
        for talk in range(talks)
    )
    return Corpus(reader="table", source=source, conversations=conversations, left_out={})


def test_the_hash_is_that_of_every_row(folder: Path) -> None:
    digest = hashlib.sha256()
    for row in pq.read_table(folder / TABLE_FILE).to_pylist():
        digest.update(json.dumps(list(row.values())).encode())
    assert json.loads((folder / DESCRIPTION_FILE).read_text())["table_hash"] == digest.hexdigest()[:16]


def without_hashes(corpus: Corpus) -> Corpus:
    """All that a table says but for the hashes of recordings."""

    def without(turn: Utterance) -> Utterance:
        return replace(turn, audio=turn.audio and replace(turn.audio, file_hash=None))

    talks = (replace(one, utterances=tuple(map(without, one.utterances))) for one in corpus.conversations)
    return replace(corpus, conversations=tuple(talks))


def test_a_recording_that_is_replaced_in_place_is_another_table(tmp_path: Path) -> None:
    root = write_tree(tmp_path, sessions=1, conversations=1, turns=2)
    before = iemocap.read(root)
    assert iemocap.read(root).table_hash == before.table_hash
    clip = next(before.utterances).audio
    assert clip is not None
    samples, rate = soundfile.read(clip.path, dtype="int16")
    soundfile.write(clip.path, samples[::-1], rate)
    after = iemocap.read(root)
    assert after.table_hash != before.table_hash
    assert without_hashes(after) == without_hashes(before)


def test_a_recording_of_many_utterances_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(corpus_module, "hash_file", lambda path: hashed.append(path) or "hash")
    clips = [
        AudioClip(path=tmp_path / name, offset=at, duration=1.0, sample_rate=8000) for name in "ab" for at in (0, 1)
    ]
    talks = [
        Conversation(id=f"{at}", utterances=(Utterance(id=f"{at}", speaker="me", words="", audio=clip),))
        for at, clip in enumerate(clips)
    ]
    kept = build_corpus("talks", talks, FaultCollector(tmp_path))
    assert hashed == [tmp_path / "a", tmp_path / "b"]
    assert [turn.audio and turn.audio.file_hash for turn in kept.utterances] == ["hash"] * 4


def test_turns_without_sound_times_or_label_come_back(tmp_path: Path) -> None:
    turns = tuple(Utterance(id=f"b_{order}", speaker="me", words="naïve \u2019 \u4f60") for order in (2, 1))
    bare = Corpus(
        reader="words",
        source=tmp_path,
        conversations=(Conversation(id="b", utterances=turns), Conversation(id="a", utterances=turns[:1])),
        left_out={"too long": ("c", "d")},
    )
    write_corpus(bare, tmp_path / "out")
    assert read_corpus(tmp_path / "out") == bare


def test_the_description_counts_what_the_table_holds(corpus: Corpus, folder: Path) -> None:
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    assert sorted(path.name for path in folder.iterdir()) == [DESCRIPTION_FILE, TABLE_FILE]
    assert description["reader"] == "iemocap"
    assert description["source"] == str(corpus.source)
    assert (description["conversations"], description["utterances"]) == (10, 60)
    assert description["table_hash"] == corpus.table_hash
    assert description["left_out"] == {}


def expected_rows(corpus: Corpus) -> list[dict[str, Any]]:
    """The columns that name a row's turn, spelt out."""
    return [
        {
            "utterance_id": turn.id,
            "conversation_id": conversation.id,
            "order": order,
            "speaker": turn.speaker,
            "session": conversation.session,
            "words": turn.words,
            "label": turn.label,
            "audio_file": f"Session{conversation.session}/sentences/wav/{conversation.id}/{turn.id}.wav",
            "sample_rate": 16_000,
        }
        for conversation in corpus.conversations
        for order, turn in enumerate(conversation.utterances)
    ]


def test_pandas_reads_the_table(corpus: Corpus, folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(folder / TABLE_FILE)
    assert list(table.columns) == COLUMNS
    wanted = expected_rows(corpus)
    assert table[list(wanted[0])].to_dict("records") == wanted


def test_polars_reads_the_table(corpus: Corpus, folder: Path) -> None:
    polars = pytest.importorskip("polars")
    table = polars.read_parquet(folder / TABLE_FILE)
    assert table.columns == COLUMNS
    wanted = expected_rows(corpus)
    assert table.select(list(wanted[0])).to_dicts() == wanted


def test_datasets_reads_the_table(
    corpus: Corpus, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = str(folder / TABLE_FILE)
    table = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert table.column_names == COLUMNS
    wanted = expected_rows(corpus)
    assert table.select_columns(list(wanted[0])).to_list() == wanted


def test_the_hash_does_not_go_by_where_the_source_lies(tmp_path: Path) -> None:
    here, there = (iemocap.read(write_tree(tmp_path / name, sessions=1, turns=2)) for name in ("here", "there/deep"))
    assert here.source != there.source
    assert here.table_hash == there.table_hash


def test_the_hash_goes_by_every_word_and_label(corpus: Corpus) -> None:
    first, *others = corpus.conversations
    turn, *rest = first.utterances
    hashes = {corpus.table_hash}
    for changed in (replace(turn, words="Other words."), replace(turn, label="oth"), replace(turn, start=0.25)):
        conversation = replace(first, utterances=(changed, *rest))
        hashes.add(replace(corpus, conversations=(conversation, *others)).table_hash)
    assert len(hashes) == 4


def test_a_split_comes_back_and_counts(corpus: Corpus, tmp_path: Path) -> None:
    splits = ("train", "train", "validation", "test")
    conversations = tuple(
        replace(one, split=split) for one, split in zip(corpus.conversations[:4], splits, strict=True)
    )
    published = replace(corpus, conversations=conversations)
    write_corpus(published, tmp_path / "out")
    assert tuple(one.split for one in read_corpus(tmp_path / "out").conversations) == splits
    assert published.table_hash != replace(corpus, conversations=corpus.conversations[:4]).table_hash


def test_the_same_corpus_again_is_left_alone(corpus: Corpus, folder: Path) -> None:
    before = content_of(folder)
    write_corpus(corpus, folder)
    assert content_of(folder) == before


def test_a_corpus_that_has_changed_takes_the_old_ones_place(corpus: Corpus, folder: Path) -> None:
    other = replace(corpus, conversations=corpus.conversations[1:])
    assert write_corpus(other, folder)
    assert read_corpus(folder) == other
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert not write_corpus(other, folder)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("reader", "demo", "its reader is iemocap, here it is demo"),
        ("source", Path("/elsewhere"), "here it is /elsewhere"),
        ("table", "other.csv", "its table is one.csv, here it is other.csv"),
    ],
)
def test_another_corpus_is_not_written_over_one(
    corpus: Corpus, tmp_path: Path, key: str, value: Any, told: str
) -> None:
    mine = replace(corpus, table="one.csv" if key == "table" else None)
    write_corpus(mine, tmp_path / "out")
    before = content_of(tmp_path / "out")
    with refuses("corpus.out_occupied", told):
        write_corpus(replace(mine, **{key: value}), tmp_path / "out")
    assert content_of(tmp_path / "out") == before


def test_a_file_of_ones_own_is_not_lost_with_the_old_corpus(corpus: Corpus, folder: Path) -> None:
    (folder / "wavlm.parquet").write_text("vectors")
    before = content_of(folder)
    with refuses("corpus.foreign_file", "wavlm.parquet"):
        write_corpus(replace(corpus, conversations=corpus.conversations[1:]), folder)
    assert content_of(folder) == before


def test_a_corpus_that_is_replaced_keeps_the_features_of_frozen_encoders(corpus: Corpus, folder: Path) -> None:
    kept = folder / "features/encoder/some.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("features")
    (kept.parent / ".other.safetensors.0.part").write_text("another process writes this")
    assert write_corpus(replace(corpus, conversations=corpus.conversations[1:]), folder)
    assert [path for path in (folder / "features").rglob("*") if path.is_file()] == [kept]
    assert kept.read_text() == "features"


def test_a_corpus_that_cannot_be_replaced_stays(corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: Any) -> None:
        raise OSError(28, "No space left on device")

    before = content_of(folder)
    monkeypatch.setattr(corpus_module, "write_json", full)
    with refuses("file.not_writable", "No space left on device"):
        write_corpus(replace(corpus, conversations=corpus.conversations[1:]), folder)
    assert content_of(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_a_folder_of_other_files_is_not_written_to(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with refuses("corpus.out_occupied", tmp_path / "mine"):
        write_corpus(corpus, tmp_path / "mine")
    with refuses("corpus.out_occupied", "letter.txt"):
        write_corpus(corpus, tmp_path / "mine" / "letter.txt")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_source_whose_name_is_no_text_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    """Such as a folder's from an old archive, in another encoding than the system's."""
    with pytest.raises(MoodlineError, match=r"/old\\udcff' is not UTF-8: rename the folder") as refused:
        write_corpus(replace(corpus, source=Path(os.fsdecode(b"/old\xff"))), tmp_path / "out")
    assert str(refused.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_corpus(corpus, tmp_path / "out")
    assert read_corpus(tmp_path / "out") == corpus


def test_a_write_that_fails_leaves_nothing(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus_module, "write_json", full)
    with refuses("file.not_writable", "No space left on device"):
        write_corpus(corpus, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_table_is_refused(folder: Path) -> None:
    table = pq.read_table(folder / TABLE_FILE)
    rows = table.to_pylist()
    rows[7]["label"] = "oth"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / TABLE_FILE)
    expected = json.loads((folder / DESCRIPTION_FILE).read_text())["table_hash"]
    with pytest.raises(MoodlineError) as refused:
        read_corpus(folder)
    assert refused.value.code == "corpus.changed"
    assert all(value in str(refused.value) for value in (str(folder / TABLE_FILE), expected))


def test_a_table_that_another_tool_wrote_anew_is_the_same(corpus: Corpus, folder: Path) -> None:
    polars = pytest.importorskip("polars")
    polars.read_parquet(folder / TABLE_FILE).write_parquet(folder / TABLE_FILE)
    assert read_corpus(folder) == corpus


@pytest.mark.parametrize("column", ["order", "words", "split", "audio_duration", "audio_hash"])
def test_a_table_without_a_column_is_refused(folder: Path, column: str) -> None:
    table = pq.read_table(folder / TABLE_FILE)
    pq.write_table(table.drop_columns([column]), folder / TABLE_FILE)
    with refuses("corpus.unreadable", column):
        read_corpus(folder)


def test_a_table_that_is_none_is_refused(folder: Path) -> None:
    (folder / TABLE_FILE).write_text("no table")
    with refuses("corpus.unreadable", folder, TABLE_FILE):
        read_corpus(folder)
    (folder / TABLE_FILE).unlink()
    with refuses("corpus.unreadable", folder, TABLE_FILE):
        read_corpus(folder)


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with refuses("file.other_folder", tmp_path, "corpus.json"):
        read_corpus(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "corpus.json has no schema (a whole number), but None"),
        ({"schema": "x"}, "corpus.json has no schema (a whole number), but 'x'"),
        ({"schema": 1}, "corpus.json: it lacks 'reader'"),
        ({"schema": 1, "reader": "demo", "source": 3}, "corpus.json: "),
        ({"schema": 1, "reader": "demo", "source": "x", "left_out": []}, "corpus.json: "),
    ],
)
def test_a_description_of_no_corpus_is_told_as_that(folder: Path, content: Any, told: str) -> None:
    """The table, which is whole, is not blamed."""
    (folder / DESCRIPTION_FILE).write_text(json.dumps(content))
    with pytest.raises(MoodlineError) as refused:
        read_corpus(folder)
    assert f"{folder}" in str(refused.value)
    assert told in str(refused.value)
    assert TABLE_FILE not in str(refused.value)


def test_a_conversation_is_found_by_its_id(corpus: Corpus) -> None:
    assert corpus.conversation("Ses02F_impro01").session == "2"
    with refuses("corpus.unknown_conversation", "'Ses09F_impro01'", "Ses01F_impro01, "):
        corpus.conversation("Ses09F_impro01")


@pytest.mark.parametrize("leads_out", ["{outside}/voice.wav", "../outside/voice.wav"])
def test_a_recording_outside_the_source_is_read_only_where_the_source_is(
    corpus: Corpus, tmp_path: Path, leads_out: str
) -> None:
    """A corpus that others made could else name any file of this machine."""
    source = tmp_path / "source"
    source.mkdir()
    path = source / leads_out.format(outside=tmp_path / "outside")
    first, *others = corpus.conversations[0].utterances
    clip = AudioClip(path=path, duration=1.0, sample_rate=16_000)
    turns = (replace(first, audio=clip), *(replace(turn, audio=None) for turn in others))
    mine = replace(corpus, source=source, conversations=(replace(corpus.conversations[0], utterances=turns),))
    write_corpus(mine, tmp_path / "out")
    assert read_corpus(tmp_path / "out") == mine
    source.rmdir()
    with refuses("corpus.audio_outside_source", "outside/voice.wav'", tmp_path / "source"):
        read_corpus(tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "name"),
    [("source", "../home/secret.wav"), ("source", "{place}/home/secret.wav"), ("", "home/secret.wav")],
)
def test_a_corpus_that_others_made_names_no_file_that_they_did_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str
) -> None:
    """Neither outside a source folder that is here, nor inside one that is far above, as that of the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("home", "source"):
        (tmp_path / folder).mkdir()
    secret, name = tmp_path / "home" / "secret.wav", name.format(place=tmp_path)
    secret.write_bytes(b"private")
    place = storage.place_within(tmp_path / source)
    assert place(name, hash_file(secret)).resolve() == secret
    for file_hash in ("0" * 16, None):
        with pytest.raises(MoodlineError) as refused:
            place(name, file_hash)
        assert refused.value.code == "corpus.audio_outside_source"
        assert all(value in str(refused.value) for value in (repr(name), str(tmp_path / source)))


@pytest.mark.parametrize("source", [Path("/"), Path("/tmp/.."), Path("/proc/self/root"), Path("/dev")])
def test_a_top_level_folder_limits_nothing(source: Path) -> None:
    place = storage.place_within(source)
    with pytest.raises(MoodlineError) as refused:
        place(str(Path(__file__).resolve()), "0" * 16)
    assert refused.value.code == "corpus.audio_outside_source"
    with pytest.raises(MoodlineError):
        place("dev/zero" if source != Path("/dev") else "zero", "0" * 16)
