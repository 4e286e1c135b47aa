from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from moodline.errors import MoodlineError
from moodline.training.embeddings import read_embeddings, write_embeddings

IDS = ["Ses01F_impro01_F000", "Ses01F_impro01_M000", "é/ü"]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    vectors = torch.randn(3, 7)
    write_embeddings(tmp_path / "embeddings" / "stage.parquet", dict(zip(IDS, vectors, strict=True)))
    found = read_embeddings(tmp_path / "embeddings" / "stage.parquet")
    assert list(found) == IDS
    for name, vector in zip(IDS, vectors, strict=True):
        assert found[name].dtype == torch.float32
        assert found[name].equal(vector)
    assert [path.name for path in (tmp_path / "embeddings").iterdir()] == ["stage.parquet"]


def test_pandas_reads_them(tmp_path: Path) -> None:
    vectors = torch.arange(6.0).view(3, 2)
    write_embeddings(tmp_path / "a.parquet", dict(zip(IDS, vectors, strict=True)))
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert table["id"].tolist() == IDS
    np.testing.assert_array_equal(np.stack(table["vector"].tolist()), vectors.numpy())


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.parquet", dict(zip(IDS, torch.zeros(3, 2), strict=True)))
    write_embeddings(tmp_path / "a.parquet", {IDS[0]: torch.ones(4)})
    assert {name: vector.tolist() for name, vector in read_embeddings(tmp_path / "a.parquet").items()} == {
        IDS[0]: [1.0] * 4
    }


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil_columns(path: Path) -> None:
    pq.write_table(pa.table({"id": IDS}), path)


def spoil_sizes(path: Path) -> None:
    pq.write_table(pa.table({"id": IDS[:2], "vector": [[1.0], [1.0, 2.0]]}), path)


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_cut, spoil_columns, spoil_sizes])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, spoil) -> None:
    path = tmp_path / "a.parquet"
    write_embeddings(path, dict(zip(IDS, torch.zeros(3, 2), strict=True)))
    spoil(path)
    with pytest.raises(MoodlineError, match="remove the file to compute them anew") as refused:
        read_embeddings(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
