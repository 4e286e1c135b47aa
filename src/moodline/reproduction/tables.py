"""The paper's tables as the systems that their rows compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from moodline.config import AUDIO_CONTEXT, FUSION, STAGE_NAMES, TEXT_CONTEXT, Recipe
from moodline.errors import MoodlineError
from moodline.reproduction.systems import System, base_system, fusion_system, unimodal_system

CONTEXT_OF = {"audio": AUDIO_CONTEXT, "text": TEXT_CONTEXT}
# Of Table 2; the paper's own values are not at hand, those of its text (3 layers of 120, 12 heads) are among them.
LAYERS = (1, 2, 3, 4)
HIDDEN = (60, 120, 240)
HEADS = (4, 8, 12)
SIZES = (50, 100, 200)
TABLES = (1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a row of a table is of.

    Args:
        cells: what tells it from the others, under the table's columns
        system: whose scores it shows, at the stage
        choice: rows of one choice are candidates for the same part, of which validation selects one; empty where
            nothing is selected
    """

    cells: tuple[str, ...]
    system: System
    stage: str
    choice: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under one protocol."""

    number: int
    title: str
    columns: tuple[str, ...]
    protocol: str
    rows: tuple[Row, ...]


def tables_of(numbers: Sequence[int], base: Recipe, protocols: Sequence[str], sizes: Sequence[int]) -> list[Table]:
    """The tables of these numbers: 1 and 2 under the first protocol, 3 under each.

    Raises:
        MoodlineError: there is no table of this number, or the base recipe lacks a modality
    """
    if strangers := [number for number in numbers if number not in TABLES]:
        raise MoodlineError(f"the tables are {', '.join(map(str, TABLES))}: {strangers[0]} is none of them")
    if base.modalities != "both":
        raise MoodlineError(f"the tables compare speech, words and both: modalities is both, not {base.modalities}")
    found = []
    if 1 in numbers:
        found.append(embeddings_table(base, protocols[0], sizes))
    if 2 in numbers:
        found.append(transformer_table(base, protocols[0]))
    if 3 in numbers:
        found += [protocol_table(base, protocol) for protocol in protocols]
    return found


def embeddings_table(base: Recipe, protocol: str, sizes: Sequence[int]) -> Table:
    """Table 1: the size of the utterance embedding, with and without self-attention, speech and words."""
    return Table(
        number=1,
        title="Size of the utterance embedding, and self-attention",
        columns=("part", "embedding", "self-attention"),
        protocol=protocol,
        rows=tuple(
            Row(
                cells=(STAGE_NAMES[CONTEXT_OF[modality]], str(size), "yes" if attention else "no"),
                system=unimodal_system(base, modality, size, self_attention=attention),
                stage=CONTEXT_OF[modality],
                choice=modality,
            )
            for modality, size, attention in product(CONTEXT_OF, sizes, (True, False))
        ),
    )


def transformer_table(base: Recipe, protocol: str) -> Table:
    """Table 2: layers and hidden size of the transformer, and its heads at the base's size."""
    own = base.fusion
    sizes = [(layers, hidden, own.heads) for layers, hidden in product(LAYERS, HIDDEN) if hidden % own.heads == 0]
    heads = [(own.layers, own.hidden, count) for count in HEADS if own.hidden % count == 0]
    return Table(
        number=2,
        title="Size of the transformer",
        columns=("layers", "hidden", "heads"),
        protocol=protocol,
        rows=tuple(
            Row(
                cells=(str(layers), str(hidden), str(count)),
                system=fusion_system(base, layers=layers, hidden=hidden, heads=count),
                stage=FUSION,
                choice="transformer",
            )
            for layers, hidden, count in dict.fromkeys([*sizes, (own.layers, own.hidden, own.heads), *heads])
        ),
    )


def protocol_table(base: Recipe, protocol: str) -> Table:
    """Table 3: speech, words and both."""
    return Table(
        number=3,
        title="Speech, words and both",
        columns=("part",),
        protocol=protocol,
        rows=tuple(
            Row(cells=(STAGE_NAMES[stage],), system=base_system(base), stage=stage)
            for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)
        ),
    )
