"""Frozen embeddings, computed once a stage and kept: a Parquet table of utterance ids and vectors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from moodline.errors import MoodlineError
from moodline.files import atomic_file


def write_embeddings(path: Path, embeddings: Mapping[str, Tensor]) -> None:
    """Vectors (D,) by utterance id to a table with the columns id and vector."""
    vectors = torch.stack(list(embeddings.values())).numpy().astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])  # (N D,) -> N rows of D
    with atomic_file(path) as temporary:
        pq.write_table(pa.table({"id": list(embeddings), "vector": column}), temporary)


def read_embeddings(path: Path) -> Mapping[str, Tensor]:
    """Vectors (D,) by utterance id."""
    try:
        table = pq.read_table(path)
        vectors = np.stack(table["vector"].to_numpy())
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise MoodlineError(
            f"embeddings {path} cannot be read: {error}; remove the file to compute them anew"
        ) from error
    return dict(zip(table["id"].to_pylist(), torch.from_numpy(vectors), strict=True))
