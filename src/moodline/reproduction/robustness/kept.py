"""Each point's predictions in a file of its own, so that a kill loses one point of one fold.

RUN/robustness/fold-<name>/<curve><x>.parquet: the columns of predictions.parquet; its metadata has a hash of all that
the point is a function of, without which it is drawn anew.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.files import atomic_file, hash_of_file

FOLDER = "robustness"
KEY = b"moodline_robustness"


class Kept(NamedTuple):
    """Where a point's predictions are kept, and the hash that they must have."""

    path: Path
    key: str

    def predictions(self, compute: Callable[[], pa.Table]) -> pa.Table:
        """Those kept; computed first where there are none, or others."""
        if self.is_there():
            return pq.read_table(self.path)
        table = compute()
        metadata = {**(table.schema.metadata or {}), KEY: self.key.encode()}
        with atomic_file(self.path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)
        return table

    def is_there(self) -> bool:
        """Whether a whole file of this hash is there; what cannot be read is no such file."""
        try:
            return (pq.read_schema(self.path).metadata or {}).get(KEY) == self.key.encode()
        except (OSError, pa.ArrowException):
            return False


def hash_of_model(folder: Path) -> list[tuple[str, str]]:
    """Of all that a model predicts with: its weights, its description, and what its BERT is."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    return [(path.relative_to(folder).as_posix(), hash_of_file(path)) for path in files]
