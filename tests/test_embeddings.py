"""Files of embeddings: what comes back of them, from which writers, and what is refused with which words."""

from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moodline import embeddings
from moodline.conversation import Conversation, Utterance
from moodline.embeddings import (
    METADATA_KEY,
    EmbeddingsFile,
    TrainingRecord,
    collect_unique_ids,
    open_embeddings_writer,
    read_embeddings,
    require_embeddings,
    stack_embeddings,
    write_embeddings,
)
from moodline.errors import MoodlineError
from tests.refusals import refuses

IDS = ["Ses01F_impro01_F000", "Ses01F_impro01_M000", "é/ü"]
VECTORS = {name: torch.tensor([number, 0.5, -2.0]) for number, name in enumerate(IDS)}


def content(file: EmbeddingsFile) -> dict[str, list[float]]:
    return {name: vector.tolist() for name, vector in file.vectors.items()}


def table(path: Path, vector: object, ids: object = IDS, **columns: object) -> Path:
    pq.write_table(pa.table({"id": ids, "vector": vector, **columns}), path)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    vectors = torch.randn(3, 7)
    write_embeddings(tmp_path / "embeddings" / "stage.parquet", dict(zip(IDS, vectors, strict=True)))
    found = read_embeddings(tmp_path / "embeddings" / "stage.parquet")
    assert list(found.vectors) == IDS
    assert found.size == 7
    for name, vector in zip(IDS, vectors, strict=True):
        assert found.vectors[name].dtype == torch.float32
        assert found.vectors[name].equal(vector)
    assert [path.name for path in (tmp_path / "embeddings").iterdir()] == ["stage.parquet"]


def test_vectors_that_come_in_pieces_are_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, ids, vectors = TrainingRecord(trained_on=("a",)), [f"turn{turn}" for turn in range(8)], torch.randn(8, 7)
    write_embeddings(tmp_path / "whole.parquet", dict(zip(ids, vectors, strict=True)), seen)
    monkeypatch.setattr(embeddings, "ROWS_PER_BATCH", 4)
    with open_embeddings_writer(tmp_path / "pieces.parquet", seen) as writer:
        for first in range(0, 8, 3):
            writer.add(ids[first : first + 3], vectors[first : first + 3])
    assert pq.ParquetFile(tmp_path / "pieces.parquet").num_row_groups == 2
    whole, pieces = (read_embeddings(tmp_path / f"{name}.parquet") for name in ("whole", "pieces"))
    assert list(pieces.vectors) == ids
    assert (pieces.hash, pieces.training_record) == (whole.hash, whole.training_record)


def test_vectors_of_which_some_never_come_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "ROWS_PER_BATCH", 1)
    with suppress(KeyError), open_embeddings_writer(tmp_path / "a.parquet") as writer:
        writer.add(IDS, torch.randn(3, 7))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_their_model_has_seen_is_kept_with_them(tmp_path: Path) -> None:
    seen = TrainingRecord(notes=("a note",), trained_on=("a", "b"), selected_on=("c",))
    write_embeddings(tmp_path / "a.parquet", VECTORS, seen)
    assert read_embeddings(tmp_path / "a.parquet").training_record == seen
    write_embeddings(tmp_path / "b.parquet", VECTORS)
    assert read_embeddings(tmp_path / "b.parquet").training_record == TrainingRecord()


@pytest.mark.parametrize(
    "metadata", [b"[1,2]", b"null", b"{", b'{"trained_on": "a"}', b'{"trained_on": [1]}', b'{"x": []}']
)
def test_what_moodline_never_wrote_of_their_model_is_refused(tmp_path: Path, metadata: bytes) -> None:
    written = pa.table({"id": IDS, "vector": ROWS}).replace_schema_metadata({METADATA_KEY: metadata})
    pq.write_table(written, tmp_path / "a.parquet")
    assert "cannot be read" in refusal(tmp_path / "a.parquet")


def test_pandas_reads_them(tmp_path: Path) -> None:
    vectors = torch.arange(6.0).view(2, 3)
    write_embeddings(tmp_path / "a.parquet", dict(zip(IDS, vectors, strict=False)))
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert frame["id"].tolist() == IDS[:2]
    np.testing.assert_array_equal(np.stack(frame["vector"].tolist()), vectors.numpy())


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.parquet", VECTORS)
    write_embeddings(tmp_path / "a.parquet", {IDS[0]: torch.ones(4)})
    assert content(read_embeddings(tmp_path / "a.parquet")) == {IDS[0]: [1.0] * 4}


ROWS = [vector.tolist() for vector in VECTORS.values()]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.list_(number) for number in (pa.float16(), pa.float32(), pa.float64())),
        pa.large_list(pa.float32()),
        pa.list_(pa.float64(), 3),
        pa.list_(pa.float16(), 3),
    ],
    ids=str,
)
def test_every_float_and_every_kind_of_list_is_read_as_float32(tmp_path: Path, kind: pa.DataType) -> None:
    rows = [np.array(row, dtype=np.float16) for row in ROWS] if "halffloat" in str(kind) else ROWS
    found = read_embeddings(table(tmp_path / "a.parquet", pa.array(rows, type=kind)))
    assert content(found) == dict(zip(IDS, ROWS, strict=True))
    assert {vector.dtype for vector in found.vectors.values()} == {torch.float32}


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64()], ids=str)
def test_integers_are_read_as_float32(tmp_path: Path, kind: pa.DataType) -> None:
    rows = pa.array([[1, 2], [3, 4], [5, 6]], type=pa.list_(kind))
    assert list(content(read_embeddings(table(tmp_path / "a.parquet", rows))).values()) == rows.to_pylist()


def test_what_pandas_and_polars_write_is_read(tmp_path: Path) -> None:
    columns = {"id": IDS, "words": ["a", "b", "c"], "vector": [np.array(row) for row in ROWS]}
    pd.DataFrame(columns).to_parquet(tmp_path / "pandas.parquet")
    pd.DataFrame(columns | {"id": pd.Categorical(IDS)}).to_parquet(tmp_path / "categories.parquet")
    pl.DataFrame(columns | {"vector": ROWS}).write_parquet(tmp_path / "polars.parquet")
    pl.DataFrame(columns).with_columns(pl.col("vector").cast(pl.Array(pl.Float32, 3))).write_parquet(
        tmp_path / "array.parquet"
    )
    files = [read_embeddings(path) for path in sorted(tmp_path.iterdir())]
    assert len(files) == 4
    assert all(content(file) == dict(zip(IDS, ROWS, strict=True)) for file in files)
    assert len({file.hash for file in files}) == 1


@given(st.permutations(IDS), st.sampled_from(IDS), st.integers(0, 2))
def test_the_hash_goes_by_ids_and_numbers_alone(order: list[str], changed: str, place: int) -> None:
    def hash_of(vectors: dict[str, torch.Tensor], path: str = "a") -> str:
        return EmbeddingsFile(path=Path(path), vectors=vectors, training_record=TrainingRecord()).hash

    whole = hash_of(VECTORS)
    assert hash_of({name: VECTORS[name] for name in order}, "b") == whole
    vector = VECTORS[changed].clone()
    vector[place] += 1e-6
    others = [
        VECTORS | {changed: vector},
        {name: VECTORS[name] for name in IDS if name != changed},
        VECTORS | {"another": vector},
        {f"{name} " if name == changed else name: VECTORS[name] for name in IDS},
    ]
    assert len({whole, *map(hash_of, others)}) == 5


NAN, HUGE = float("nan"), 1e300


@pytest.mark.parametrize(
    ("ids", "vector", "words"),
    [
        (IDS, [[1.0], [1.0, 2.0], [1.0]], [f"length: 1 for {IDS[0]} and 2 for {IDS[1]}"]),
        (IDS, [[1.0], [1.0], [NAN]], [f"NaN or infinity for {IDS[2]}"]),
        (IDS, [[1.0, 0.0], [-float("inf"), 1.0], [0.0, 0.0]], [f"NaN or infinity for {IDS[1]}"]),
        (IDS, [[HUGE], [1.0], [1.0]], [f"NaN or infinity for {IDS[0]}"]),
        (IDS, [[1.0], [None], [1.0]], [f"NaN or infinity for {IDS[1]}"]),
        (IDS, [[1.0], None, [1.0]], ["a row lacks its id or its vector"]),
        ([*IDS[:2], None], [[1.0]] * 3, ["a row lacks its id or its vector"]),
        ([IDS[0], IDS[1], IDS[0]], [[1.0]] * 3, [f"the id {IDS[0]} is repeated"]),
        (IDS, [1.0, 2.0, 3.0], ["vector is of double"]),
        (IDS, [["a"], ["b"], ["c"]], ["has lists of string", "not of numbers"]),
        (IDS, [["1"], ["2"], ["3"]], ["has lists of string"]),
        (IDS, [[True], [False], [True]], ["has lists of bool"]),
        (IDS, [[Decimal(1)], [Decimal(2)], [Decimal(3)]], ["has lists of decimal"]),
        (IDS, [[None], [None], [None]], ["has lists of null"]),
        (IDS, [[[1.0]], [[2.0]], [[3.0]]], ["has lists of list"]),
        (IDS, pa.array([[], [], []], type=pa.list_(pa.float32())), ["length 0"]),
        (pa.array([], pa.string()), pa.array([], type=pa.list_(pa.float32())), ["no row"]),
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path: Path, ids: list, vector: list, words: list[str]) -> None:
    sentence = refusal(table(tmp_path / "a.parquet", vector, ids))
    assert all(word in sentence for word in words), sentence


def refusal(path: Path, code: str = "embeddings.bad_file") -> str:
    with pytest.raises(MoodlineError) as refused:
        read_embeddings(path)
    assert refused.value.code == code
    sentence = str(refused.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    refusal(path, "embeddings.not_found")
    path.write_text("id,vector\n")
    assert embeddings.EXPECTED in refusal(path)
    write_embeddings(path, VECTORS)
    path.write_bytes(path.read_bytes()[:-20])
    assert embeddings.EXPECTED in refusal(path)
    pq.write_table(pa.table({"name": IDS, "vector": ROWS}), path)
    assert "it lacks id, its columns are name, vector" in refusal(path)
    assert "cannot be read" in refusal(tmp_path)


def test_utterances_are_stacked_in_their_order() -> None:
    assert stack_embeddings(VECTORS, [IDS[2], IDS[0]])[:, 0].tolist() == [2.0, 0.0]


def test_missing_utterances_are_counted_and_the_first_three_named() -> None:
    require_embeddings(VECTORS, IDS[1:], 3, "mine.parquet")  # others are no matter
    with refuses("embeddings.missing_utterance", "mine.parquet", "1 of 4", "(d)"):
        require_embeddings(VECTORS, [*IDS, "d"], 3, "mine.parquet")
    with refuses("embeddings.missing_utterance", "mine.parquet", "4 of 5", "(d, e, f, ...)"):
        require_embeddings(VECTORS, ["d", "e", IDS[0], "f", "g"], 3, "mine.parquet")


def test_another_length_is_refused() -> None:
    with refuses("embeddings.other_size", "length 4", "mine.parquet has length 3", IDS[0]):
        require_embeddings(VECTORS, IDS, 4, "mine.parquet")


def conversation(name: str, *ids: str) -> Conversation:
    return Conversation(id=name, utterances=tuple(Utterance(id=each, speaker="F", words="") for each in ids))


def test_an_id_that_two_conversations_share_is_refused() -> None:
    assert collect_unique_ids([conversation("first", "1", "2"), conversation("second", "3")]) == ["1", "2", "3"]
    with refuses("embeddings.ambiguous_id", "'2'", "first", "second"):
        collect_unique_ids([conversation("first", "1", "2"), conversation("second", "2")])
