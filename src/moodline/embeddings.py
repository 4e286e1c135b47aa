"""Files of embeddings: Parquet tables with the columns id and vector, one row per utterance (docs/embeddings.md)."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from moodline.config import EMBEDDINGS_OPTIONS, Recipe
from moodline.conversation import Conversation
from moodline.errors import MoodlineError, format_first, get_first_line, quote
from moodline.io import open_atomic_file

METADATA_KEY = b"moodline"
PRODUCER_KEY = b"moodline_made_by"  # separate: its value may be any text
ROWS_PER_BATCH = 2**14
LIST_TYPES = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
NUMBER_TYPES = (pa.types.is_floating, pa.types.is_integer)
EXPECTED = "a Parquet table with the columns id and vector, a row per utterance"

Embeddings = Mapping[str, Tensor]
"""Vectors (D,), float32, by utterance id."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """The conversations that the model behind the embeddings has seen (see ``HasTrainingRecord``), as far as known.

    ``notes`` accompany every score of that model, and of models that read its embeddings.
    """

    trained_on: tuple[str, ...] = ()
    selected_on: tuple[str, ...] = ()
    selected_on_turns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EmbeddingsFile:
    """The content of a file of embeddings."""

    path: Path
    vectors: Embeddings
    training_record: TrainingRecord

    @property
    def size(self) -> int:
        """D."""
        return len(next(iter(self.vectors.values())))

    @cached_property
    def hash(self) -> str:
        """Hash ids and vectors, independently of their order and of Parquet's encoding."""
        digest = hashlib.sha256()
        for name in sorted(self.vectors):
            digest.update(json.dumps(name).encode())
            digest.update(self.vectors[name].numpy().astype("<f4").tobytes())
        return digest.hexdigest()[:16]


def write_embeddings(path: Path, embeddings: Embeddings, seen: TrainingRecord | None = None) -> None:
    """Write vectors (D,) by utterance id."""
    with open_embeddings_writer(path, seen) as writer:
        writer.add(list(embeddings), torch.stack(list(embeddings.values())))


@contextmanager
def open_embeddings_writer(
    path: Path, seen: TrainingRecord | None = None, maker: str = ""
) -> Iterator["EmbeddingsWriter"]:
    """Open a writer to which vectors are added in any number of calls; ``path`` appears when the block ends.

    Args:
        maker: the name of the model that computed the vectors, for ``read_producer``
    """
    metadata = {PRODUCER_KEY: maker.encode()} if maker else {}
    if seen is not None:
        metadata[METADATA_KEY] = json.dumps(asdict(seen)).encode()
    with open_atomic_file(path) as temporary:
        writer = EmbeddingsWriter(temporary, metadata)
        yield writer
        if writer.ids:
            writer.write_batch()
        if writer.file is not None:
            writer.file.close()


class EmbeddingsWriter:
    """Writes vectors in batches of bounded memory; see ``open_embeddings_writer``."""

    def __init__(self, path: Path, metadata: Mapping[bytes, bytes]) -> None:
        self.path, self.metadata = path, metadata
        self.ids: list[str] = []
        self.vectors: list[Tensor] = []
        self.file: pq.ParquetWriter | None = None

    def add(self, ids: Sequence[str], vectors: Tensor) -> None:
        """Add utterances' vectors (N, D), with the same D in all calls."""
        self.ids += ids
        self.vectors.append(vectors)
        if len(self.ids) >= ROWS_PER_BATCH:
            self.write_batch()

    def write_batch(self) -> None:
        vectors = torch.cat(self.vectors).numpy().astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])  # (N D,) -> N rows of D
        table = pa.table({"id": self.ids, "vector": column})
        if self.file is None:
            self.file = pq.ParquetWriter(self.path, table.schema.with_metadata(self.metadata or None))
        self.file.write_table(table)
        self.ids, self.vectors = [], []


def read_producer(path: Path) -> str:
    """Read the name of the model that computed the vectors; empty if unknown or unreadable."""
    try:
        return (pq.read_schema(path).metadata or {}).get(PRODUCER_KEY, b"").decode(errors="replace")
    except (OSError, pa.ArrowException):
        return ""


def read_embeddings(path: str | Path) -> EmbeddingsFile:
    """Read a file of embeddings, of any floating-point or integer type, as float32.

    Raises:
        MoodlineError: the file is no such table, repeats an id, or has vectors that are not finite or differ in length
    """
    path = Path(path)
    try:
        with pq.ParquetFile(path) as file:
            if missing := {"id", "vector"} - set(file.schema_arrow.names):
                raise ValueError(f"it lacks {min(missing)}, its columns are {', '.join(file.schema_arrow.names)}")
            table, record = file.read(columns=["id", "vector"]), parse_training_record(file.schema_arrow.metadata)
        ids = table["id"].cast(pa.string()).to_pylist()
        vectors = convert_to_matrix(table["vector"].combine_chunks(), ids)
    except FileNotFoundError:
        raise MoodlineError(
            f"there is no file of embeddings {path}: check the path", code="embeddings.not_found"
        ) from None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise MoodlineError(
            f"{path} cannot be read as embeddings: {get_first_line(error).removesuffix('.')}; write {EXPECTED}",
            code="embeddings.bad_file",
        ) from error
    by_id = dict(zip(ids, torch.from_numpy(vectors), strict=True))
    return EmbeddingsFile(path=path, vectors=by_id, training_record=record)


def parse_training_record(metadata: Mapping[bytes, bytes] | None) -> TrainingRecord:
    """Parse the table's metadata; empty for tables of other programs."""
    content = json.loads((metadata or {}).get(METADATA_KEY, b"{}"))
    is_valid = isinstance(content, dict) and all(
        isinstance(found, list) and all(isinstance(one, str) for one in found) for found in content.values()
    )
    if not is_valid:
        raise ValueError(f"its metadata {METADATA_KEY.decode()} is not what moodline embed writes")
    return TrainingRecord(**{name: tuple(found) for name, found in content.items()})


def convert_to_matrix(column: Any, ids: Sequence[str | None]) -> np.ndarray:
    """Convert a column of lists to an array (N, D), float32; a ValueError describes what prevents it."""
    if not any(is_kind(column.type) for is_kind in LIST_TYPES):
        raise ValueError(f"the column vector is of {column.type}, not of lists")
    if not any(is_kind(column.type.value_type) for is_kind in NUMBER_TYPES):
        raise ValueError(f"the column vector has lists of {column.type.value_type}, not of numbers")
    if not ids:
        raise ValueError("it has no row")
    if column.null_count or None in ids:
        raise ValueError("a row lacks its id or its vector")
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise ValueError(f"the id {name} is repeated")
    sizes = pc.call_function("list_value_length", [column]).to_numpy(zero_copy_only=False)
    other = int(np.argmax(sizes != sizes[0]))
    if sizes[other] != sizes[0]:
        raise ValueError(f"vectors differ in length: {sizes[0]} for {ids[0]} and {sizes[other]} for {ids[other]}")
    if sizes[0] == 0:
        raise ValueError("the vectors have length 0")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused below
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors = flat.reshape(len(sizes), sizes[0])  # (N D,) -> (N, D)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(f"NaN or infinity for {ids[int(np.argmin(finite))]}")
    return vectors


def require_embeddings(embeddings: Embeddings, ids: Sequence[str], size: int, origin: str) -> None:
    """Refuse embeddings that lack an utterance or have another size than the D that the model reads."""
    missing = [name for name in ids if name not in embeddings]
    if missing:
        raise MoodlineError(
            f"{origin} lacks {len(missing)} of {len(ids)} utterances ({format_first(missing)}): "
            "add their vectors under the corpus's utterance ids",
            code="embeddings.missing_utterance",
        )
    other = next((name for name in ids if tuple(embeddings[name].shape) != (size,)), None)
    if other is not None:
        raise MoodlineError(
            f"this model reads vectors of length {size}, and {origin} has length {embeddings[other].shape[-1]} for "
            f"{other}: use vectors of the model that it was trained with",
            code="embeddings.other_size",
        )


def stack_embeddings(embeddings: Embeddings, ids: Sequence[str]) -> Tensor:
    """Stack the vectors of utterances in the order of ``ids``: (N, D)."""
    return torch.stack([torch.as_tensor(embeddings[name], dtype=torch.float32) for name in ids])


def collect_unique_ids(conversations: Sequence[Conversation]) -> list[str]:
    """Collect the ids of all utterances; refuse an id in two conversations."""
    owners: dict[str, str] = {}
    for conversation in conversations:
        for utterance in conversation.utterances:
            if utterance.id in owners:
                raise MoodlineError(
                    f"the utterance id {quote(utterance.id)} is in {owners[utterance.id]} and in {conversation.id}, "
                    "and embeddings need unique ids; put the conversation's name before it",
                    code="embeddings.ambiguous_id",
                )
            owners[utterance.id] = conversation.id
    return list(owners)


def refuse_other_encoders(recipe: Recipe, encoders: Iterable[str]) -> None:
    """Refuse embeddings of fewer or other encoders than those that the model reads from files."""
    encoders = set(encoders)
    refuse_missing_embeddings(recipe.given, encoders)
    strangers = sorted(encoders - set(recipe.given))
    if strangers:
        option = EMBEDDINGS_OPTIONS.get(strangers[0], f"embeddings[{strangers[0]!r}]")
        raise MoodlineError(
            f"this model reads no embeddings instead of {strangers[0]}: leave out {option}",
            code="embeddings.unexpected",
        )


def refuse_missing_embeddings(sizes: Mapping[str, int], encoders: Iterable[str]) -> None:
    """Refuse to run without embeddings that a model reads; ``sizes`` are by encoder."""
    encoders = set(encoders)
    missing = [encoder for encoder in sizes if encoder not in encoders]
    if missing:
        raise MoodlineError(
            f"this model reads embeddings of length {sizes[missing[0]]} instead of its {missing[0]}: "
            f"give them with {EMBEDDINGS_OPTIONS[missing[0]]} FILE, or in Python with with_embeddings",
            code="embeddings.missing",
        )


def refuse_unfit_embeddings(
    recipe: Recipe, precomputed: Mapping[str, EmbeddingsFile], conversations: Sequence[Conversation]
) -> None:
    """Refuse files of other encoders or sizes than the recipe's, or that lack an utterance of these conversations."""
    refuse_other_encoders(recipe, precomputed)
    if precomputed:
        ids = collect_unique_ids(conversations)
        for encoder, file in precomputed.items():
            require_embeddings(file.vectors, ids, recipe.given[encoder], str(file.path))


def read_precomputed(
    recipe: Recipe, files: Mapping[str, Path], conversations: Sequence[Conversation]
) -> dict[str, EmbeddingsFile]:
    """Read a model's embeddings of these conversations from files, by encoder; refuse unfit ones."""
    refuse_other_encoders(recipe, files)
    precomputed = {encoder: read_embeddings(path) for encoder, path in files.items()}
    refuse_unfit_embeddings(recipe, precomputed, conversations)
    return precomputed


def get_vectors(precomputed: Mapping[str, EmbeddingsFile]) -> dict[str, Embeddings]:
    return {encoder: file.vectors for encoder, file in precomputed.items()}
