"""The paper's tables, and those that belong beside them, as the systems that their rows compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, STAGES, TEXT_CONTEXT, TEXT_UTTERANCE, Recipe
from moodline.corpora.storage import RECOGNISED, REFERENCE
from moodline.errors import MoodlineError
from moodline.evaluation.scores import MAJORITY
from moodline.evaluation.scores import STAGES as SCORED_STAGES
from moodline.experiments.baselines import BASELINE_NAMES
from moodline.experiments.systems import (
    System,
    create_base,
    create_bc_lstm,
    create_classical,
    create_concatenation,
    create_fusion,
    create_log_mel,
    create_recognised,
    create_released,
    create_unimodal,
)

PART_NAMES: Mapping[str, str] = {**SCORED_STAGES, **BASELINE_NAMES}


CONTEXT_BY_MODALITY = {"audio": AUDIO_CONTEXT, "text": TEXT_CONTEXT}
# Of Table 2; the paper's own values are not at hand, those of its text (3 layers of 120, 12 heads) are among them.
LAYERS = (1, 2, 3, 4)
HIDDEN = (60, 120, 240)
HEADS = (4, 8, 12)
SIZES = (50, 100, 200)
# What the rows' names take for granted of the base recipe.
BASE_VALUES = {
    "selection": "fold",
    "audio_utterance.front_end": "leaf",
    "audio_utterance.padding": "masked",
    "audio_context.kind": "bigru_attention",
    "text_context.kind": "bigru_attention",
    "audio_context.attention": "paper",
    "text_context.attention": "paper",
    "fusion.kind": "transformer",
}


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """What a row of a table is of.

    Args:
        cells: what tells it from the others, under the table's columns
        system: whose scores it shows, at the stage
        words: those of the corpus that it is tested on
        choice: rows of one choice are candidates for the same part, of which validation selects one; empty where
            nothing is selected
    """

    cells: tuple[str, ...]
    system: System
    stage: str
    words: str = REFERENCE
    choice: str = ""

    @property
    def title(self) -> str:
        return ", ".join(self.cells)


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """Rows under one protocol.

    Args:
        key: what the command line calls it
        notes: what a reader of the table must know, whatever its numbers
        differences: the places of two rows, one minus the other; None: the selected row minus each other one
    """

    key: str
    title: str
    columns: tuple[str, ...]
    protocol: str
    rows: tuple[TableRow, ...]
    differences: tuple[tuple[int, int], ...] | None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """With the paper's number, where the paper has it."""
        numbered = f"Table {self.key}: " if self.key.isdigit() else ""
        return f"{numbered}{self.title} ({self.protocol})"


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What some tables depend on beside the base recipe.

    Args:
        sizes: of the utterance embedding, in Table 1
        longest_seconds: of the corpus's utterances, to which the released code pads all
    """

    sizes: Sequence[int]
    longest_seconds: float


class TableRequest(NamedTuple):
    """A table by its key and its protocol."""

    key: str
    protocol: str


def select_tables(keys: Sequence[str], protocols: Sequence[str]) -> list[TableRequest]:
    """Tables 3 and 4 under each protocol, the others under the first.

    Raises:
        MoodlineError: there is no table of a key
    """
    if strangers := [key for key in keys if key not in TABLE_BUILDERS]:
        raise MoodlineError(f"the tables are {', '.join(TABLE_BUILDERS)}: {strangers[0]} is none of them")
    return [
        TableRequest(key, protocol)
        for key in TABLE_BUILDERS
        if key in keys
        for protocol in (protocols if key in PROTOCOL_TABLES else protocols[:1])
    ]


def build_tables(asked: Sequence[TableRequest], base: Recipe, choices: TableOptions) -> list[PaperTable]:
    """The tables that are asked for.

    Raises:
        MoodlineError: the base recipe is not of what the tables name
    """
    if base.modalities != "both" or base.given:
        what = (
            f"modalities is both, not {base.modalities}" if not base.given else f"{next(iter(base.given))} is trained"
        )
        raise MoodlineError(f"the tables compare speech, words and both, from sound and text on: {what}")
    for key, value in BASE_VALUES.items():
        section, _, name = key.rpartition(".")
        if (found := getattr(getattr(base, section) if section else base, name)) != value:
            raise MoodlineError(f"the tables compare other choices with the paper's: {key} is {value}, not {found}")
    return [TABLE_BUILDERS[key](base, protocol, choices) for key, protocol in asked]


def build_embeddings_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Table 1: the size of the utterance embedding, with and without self-attention, speech and words."""
    rows = tuple(
        TableRow(
            cells=(PART_NAMES[CONTEXT_BY_MODALITY[modality]], str(size), "yes" if attention else "no"),
            system=create_unimodal(base, modality, size, self_attention=attention),
            stage=CONTEXT_BY_MODALITY[modality],
            choice=modality,
        )
        for modality, size, attention in product(CONTEXT_BY_MODALITY, choices.sizes, (True, False))
    )
    return PaperTable(
        key="1",
        title="Size of the utterance embedding, and self-attention",
        columns=("part", "embedding", "self-attention"),
        protocol=protocol,
        rows=rows,
        differences=tuple((place, place + 1) for place in range(0, len(rows), 2)),
    )


def build_transformer_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Table 2: layers and hidden size of the transformer, and its heads at the base's size."""
    own = base.fusion
    wanted = dict.fromkeys(
        [
            *((layers, hidden, own.heads) for layers, hidden in product(LAYERS, HIDDEN)),
            (own.layers, own.hidden, own.heads),
            *((own.layers, own.hidden, count) for count in HEADS),
        ]
    )
    left_out = dict.fromkeys(f"{hidden} by {count} heads" for _, hidden, count in wanted if hidden % count)
    return PaperTable(
        key="2",
        title="Size of the transformer",
        columns=("layers", "hidden", "heads"),
        protocol=protocol,
        rows=tuple(
            TableRow(
                cells=(str(layers), str(hidden), str(count)),
                system=create_fusion(base, layers=layers, hidden=hidden, heads=count),
                stage=FUSION,
                choice="transformer",
            )
            for layers, hidden, count in wanted
            if hidden % count == 0
        ),
        differences=None,
        notes=(f"left out, as heads divide the hidden size: {', '.join(left_out)}",) if left_out else (),
    )


def build_protocol_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Table 3: speech, words and both."""
    return PaperTable(
        key="3",
        title="Speech, words and both",
        columns=("part",),
        protocol=protocol,
        rows=tuple(
            TableRow(cells=(PART_NAMES[stage],), system=create_base(base), stage=stage)
            for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)
        ),
        differences=((2, 0), (2, 1)),
    )


def build_recognised_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Table 4: words alone and both, trained and tested on reference and on recognised words."""
    own, other = create_base(base), create_recognised(base)
    settings = ((own, REFERENCE), (own, RECOGNISED), (other, RECOGNISED))
    return PaperTable(
        key="4",
        title="Recognised words",
        columns=("part", "words in training", "words in the test"),
        protocol=protocol,
        rows=tuple(
            TableRow(cells=(PART_NAMES[stage], system.words, words), system=system, stage=stage, words=words)
            for stage, (system, words) in product((TEXT_CONTEXT, FUSION), settings)
        ),
        differences=((1, 0), (2, 1), (4, 3), (5, 4)),
    )


def build_baselines_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """The parts of the paper's system beside what is simpler, under the same folds."""
    own, classical = create_base(base), create_classical(base)
    shown = (
        (PART_NAMES[MAJORITY], own, MAJORITY),
        (BASELINE_NAMES["egemaps"], classical, "egemaps"),
        ("speech, log-mel in the place of LEAF", create_log_mel(base), AUDIO_UTTERANCE),
        ("speech, LEAF", own, AUDIO_UTTERANCE),
        (BASELINE_NAMES["tf_idf"], classical, "tf_idf"),
        (BASELINE_NAMES["sentence_embeddings"], classical, "sentence_embeddings"),
        ("words, BERT and GRU", own, TEXT_UTTERANCE),
        ("both, bc-LSTM", create_bc_lstm(base), FUSION),
        ("both, concatenation", create_concatenation(base), FUSION),
        ("both, transformer", own, FUSION),
    )
    return PaperTable(
        key="baselines",
        title="Baselines",
        columns=("system",),
        protocol=protocol,
        rows=tuple(TableRow(cells=(name,), system=system, stage=stage) for name, system, stage in shown),
        differences=((3, 2), (3, 1), (6, 4), (6, 5), (9, 8), (9, 7)),
    )


def build_released_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Every part with the released code's selection, padding and attention, beside the same part without."""
    systems = {"clean": create_base(base), "as released": create_released(base, choices.longest_seconds)}
    return PaperTable(
        key="released",
        title="As released, and clean",
        columns=("part", "selection, padding, attention"),
        protocol=protocol,
        rows=tuple(
            TableRow(cells=(PART_NAMES[stage], name), system=system, stage=stage)
            for stage, (name, system) in product(STAGES, systems.items())
        ),
        differences=tuple((place + 1, place) for place in range(0, 2 * len(STAGES), 2)),
    )


TABLE_BUILDERS: Mapping[str, Callable[[Recipe, str, TableOptions], PaperTable]] = {
    "1": build_embeddings_table,
    "2": build_transformer_table,
    "3": build_protocol_table,
    "4": build_recognised_table,
    "baselines": build_baselines_table,
    "released": build_released_table,
}
PROTOCOL_TABLES = ("3", "4")
