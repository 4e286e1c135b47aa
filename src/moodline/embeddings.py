"""Files of embeddings: Parquet tables with the columns id and vector, one row per utterance.

They hold embeddings of other models, or those of a trained model. ``id`` is the corpus's utterance id; ``vector`` is a
list of numbers of the same length in every row. Other columns are ignored. ``moodline embed`` also writes into the
table's metadata the conversations that its model has seen, the model and the stage.
"""

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
from moodline.errors import MoodlineError, get_first_line
from moodline.io import open_atomic_file

METADATA_KEY = b"moodline"
PRODUCER_KEY = b"moodline_made_by"  # separate: its value may be any text
ROWS_PER_BATCH = 2**14
MAX_SHOWN_IDS = 3
LIST_TYPES = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
NUMBER_TYPES = (pa.types.is_floating, pa.types.is_integer)

Embeddings = Mapping[str, Tensor]
"""Vectors (D,), float32, by utterance id."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """The conversations that trained and selected the model behind the embeddings, if known.

    See ``moodline.conversation.HasTrainingRecord``. ``notes`` accompany every score of that model, and of models that
    read its embeddings.
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
    with open_atomic_file(path) as temporary:
        writer = EmbeddingsWriter(temporary, seen, maker)
        yield writer
        writer.close()


class EmbeddingsWriter:
    """Writes vectors in batches of bounded memory; see ``open_embeddings_writer``."""

    def __init__(self, path: Path, seen: TrainingRecord | None, maker: str = "") -> None:
        self.path, self.training_record, self.producer = path, seen, maker
        self.ids: list[str] = []
        self.vectors: list[Tensor] = []
        self.file: pq.ParquetWriter | None = None

    def add(self, ids: Sequence[str], vectors: Tensor) -> None:
        """Add utterances' vectors (N, D), with the same D in all calls."""
        self.ids += ids
        self.vectors.append(vectors)
        if len(self.ids) >= ROWS_PER_BATCH:
            self._write()

    def close(self) -> None:
        """Write the remaining vectors."""
        if self.ids:
            self._write()
        if self.file is not None:
            self.file.close()

    def _write(self) -> None:
        vectors = torch.cat(self.vectors).numpy().astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])  # (N D,) -> N rows of D
        table = pa.table({"id": self.ids, "vector": column})
        if self.file is None:
            metadata = {PRODUCER_KEY: self.producer.encode()} if self.producer else {}
            if self.training_record is not None:
                metadata[METADATA_KEY] = json.dumps(asdict(self.training_record)).encode()
            self.file = pq.ParquetWriter(self.path, table.schema.with_metadata(metadata or None))
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
            names = file.schema_arrow.names
            if not {"id", "vector"} <= set(names):
                raise build_refusal(
                    path, f"has the columns {', '.join(names)}", "a table with the columns id and vector"
                )
            table, seen = file.read(columns=["id", "vector"]), parse_training_record(file.schema_arrow.metadata)
        ids = table["id"].cast(pa.string()).to_pylist()
        vectors = convert_to_matrix(table["vector"].combine_chunks(), ids, path)
    except FileNotFoundError:
        raise MoodlineError(
            f"there is no file of embeddings {path}: check the path", code="embeddings.not_found"
        ) from None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = get_first_line(error).removesuffix(".")
        raise build_refusal(
            path, f"cannot be read ({reason})", "a Parquet table with the columns id and vector"
        ) from error
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise build_refusal(path, f"has the id {twice[0]} more than once", "a table with each utterance's vector once")
    return EmbeddingsFile(
        path=path, vectors=dict(zip(ids, torch.from_numpy(vectors), strict=True)), training_record=seen
    )


def build_refusal(path: Path, found: str, wanted: str) -> MoodlineError:
    """Describe a file that is not as ``wanted``."""
    return MoodlineError(f"{path} {found}; a file of embeddings is {wanted}", code="embeddings.bad_file")


def parse_training_record(metadata: Mapping[bytes, bytes] | None) -> TrainingRecord:
    """Parse the table's metadata; empty for tables of other programs.

    Raises:
        ValueError: the metadata is not as ``moodline embed`` writes it
    """
    content = json.loads((metadata or {}).get(METADATA_KEY, b"{}"))
    if not isinstance(content, dict) or not all(is_string_list(one) for one in content.values()):
        raise ValueError(f"its metadata {METADATA_KEY.decode()} is not what moodline embed writes")
    return TrainingRecord(**{name: tuple(fingerprints) for name, fingerprints in content.items()})


def is_string_list(content: Any) -> bool:
    """Check for a list of strings."""
    return isinstance(content, list) and all(isinstance(one, str) for one in content)


def convert_to_matrix(column: Any, ids: Sequence[str | None], path: Path) -> np.ndarray:
    """Convert a column of lists to an array (N, D), float32."""
    if not any(is_kind(column.type) for is_kind in LIST_TYPES):
        raise build_refusal(path, f"has a column vector of {column.type}", "a table whose column vector holds lists")
    if not any(is_kind(column.type.value_type) for is_kind in NUMBER_TYPES):
        found = f"has lists of {column.type.value_type}"
        raise build_refusal(
            path, found, "a table whose column vector holds lists of floating-point numbers or integers"
        )
    if len(column) == 0:
        raise build_refusal(path, "has no row", "a table with a row for each utterance")
    if column.null_count or None in ids:
        raise build_refusal(path, "has a row without one", "an id and a vector in every row")
    sizes = pc.call_function("list_value_length", [column]).to_numpy(zero_copy_only=False)
    other = int(np.argmax(sizes != sizes[0]))
    if sizes[other] != sizes[0]:
        found = f"has length {sizes[0]} for {ids[0]} and {sizes[other]} for {ids[other]}"
        raise build_refusal(path, found, "a table of vectors of one length")
    if sizes[0] == 0:
        raise build_refusal(path, "has vectors of length 0", "a table of vectors of at least one number")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused below
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors = flat.reshape(len(sizes), sizes[0])  # (N D,) -> (N, D)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise build_refusal(path, f"has NaN or infinity for {ids[int(np.argmin(finite))]}", "a table of finite numbers")
    return vectors


def require_embeddings(embeddings: Embeddings, ids: Sequence[str], size: int, origin: str) -> None:
    """Refuse embeddings that lack an utterance or have another size.

    Args:
        size: D that the model reads
        origin: the vectors' file, for the error
    """
    missing = [name for name in ids if name not in embeddings]
    if missing:
        first = ", ".join(missing[:MAX_SHOWN_IDS]) + (", ..." if len(missing) > MAX_SHOWN_IDS else "")
        raise MoodlineError(
            f"{origin} lacks {len(missing)} of {len(ids)} utterances ({first}): "
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
    """Collect the ids of all utterances.

    Raises:
        MoodlineError: two conversations share an id
    """
    owners: dict[str, str] = {}
    for conversation in conversations:
        for utterance in conversation.utterances:
            if utterance.id in owners:
                raise MoodlineError(
                    f"the utterance id {utterance.id!r} is in {owners[utterance.id]} and in {conversation.id}, and "
                    "embeddings need unique ids; put the conversation's name before it",
                    code="embeddings.ambiguous_id",
                )
            owners[utterance.id] = conversation.id
    return list(owners)


def refuse_other_encoders(recipe: Recipe, encoders: Iterable[str]) -> None:
    """Refuse embeddings of other encoders than those that the model reads from files.

    Raises:
        MoodlineError: an option is missing or superfluous
    """
    encoders = set(encoders)
    refuse_missing_embeddings(recipe.given, encoders)
    strangers = sorted(encoders - set(recipe.given))
    if strangers:
        option = EMBEDDINGS_OPTIONS.get(strangers[0], f"embeddings[{strangers[0]!r}]")
        raise MoodlineError(
            f"this model reads no embeddings instead of {strangers[0]}: leave out {option}",
            code="embeddings.unexpected",
        )


def refuse_missing_embeddings(given: Mapping[str, int], encoders: Iterable[str]) -> None:
    """Refuse to run without embeddings that a model reads.

    Args:
        given: the size that the model reads, by encoder
        encoders: those with embeddings

    Raises:
        MoodlineError: an encoder's embeddings are missing
    """
    encoders = set(encoders)
    for encoder, size in given.items():
        if encoder not in encoders:
            raise MoodlineError(
                f"this model reads embeddings of length {size} instead of its {encoder}: "
                f"give them with {EMBEDDINGS_OPTIONS[encoder]} FILE, or in Python with with_embeddings",
                code="embeddings.missing",
            )


def refuse_unfit_embeddings(
    recipe: Recipe, given: Mapping[str, EmbeddingsFile], conversations: Sequence[Conversation]
) -> None:
    """Refuse files that lack an utterance of these conversations or have another size than the recipe's.

    Raises:
        MoodlineError: that, a missing or superfluous file, or an id in two conversations
    """
    refuse_other_encoders(recipe, given)
    if given:
        ids = collect_unique_ids(conversations)
        for encoder, file in given.items():
            require_embeddings(file.vectors, ids, recipe.given[encoder], str(file.path))


def read_precomputed(
    recipe: Recipe, files: Mapping[str, Path], conversations: Sequence[Conversation]
) -> dict[str, EmbeddingsFile]:
    """Read a model's embeddings of these conversations from files, by encoder.

    Raises:
        MoodlineError: a file cannot be read, or ``refuse_unfit_embeddings`` refuses it
    """
    refuse_other_encoders(recipe, files)
    given = {encoder: read_embeddings(path) for encoder, path in files.items()}
    refuse_unfit_embeddings(recipe, given, conversations)
    return given


def get_vectors(given: Mapping[str, EmbeddingsFile]) -> dict[str, Embeddings]:
    """Return the files' vectors, by encoder."""
    return {encoder: file.vectors for encoder, file in given.items()}
