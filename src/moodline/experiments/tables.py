"""The paper's tables and further ones, as the systems that their rows compare."""

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
    create_classical,
    create_fusion,
    create_released,
    create_unimodal,
    create_variant,
)

PART_NAMES: Mapping[str, str] = {**SCORED_STAGES, **BASELINE_NAMES}
CONTEXT_BY_MODALITY = {"audio": AUDIO_CONTEXT, "text": TEXT_CONTEXT}
# Of Table 2: the paper's grid is not published; the values of its text (3 layers of 120, 12 heads) are included.
LAYERS = (1, 2, 3, 4)
HIDDEN = (60, 120, 240)
HEADS = (4, 8, 12)
SIZES = (50, 100, 200)
# Values of the base recipe that the names of the rows presuppose.
BASE_VALUES = {
    "selection": "fold",
    "audio_utterance.frontend": "leaf",
    "audio_utterance.padding": "masked",
    "audio_context.kind": "bigru_attention",
    "text_context.kind": "bigru_attention",
    "audio_context.attention": "paper",
    "text_context.attention": "paper",
    "fusion.kind": "transformer",
}


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of a table: one stage of a system.

    Args:
        cells: its distinguishing cells, under the table's columns
        words: kind of the corpus's words on which it is tested
        choice: name shared by alternative rows, of which validation selects one; empty if nothing is selected
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
        key: its name on the command line
        notes: caveats that hold for any numbers
        differences: positions of two rows, one minus the other; None: the selected row minus each other one
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
        """The title, with the paper's number for tables of the paper."""
        numbered = f"Table {self.key}: " if self.key.isdigit() else ""
        return f"{numbered}{self.title} ({self.protocol})"


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Options of some tables beside the base recipe.

    Args:
        sizes: sizes of the utterance embedding in Table 1
        longest_seconds: duration of the corpus's longest utterance, to which the released code pads
    """

    sizes: Sequence[int]
    longest_seconds: float


class TableRequest(NamedTuple):
    """A table by its key and its protocol."""

    key: str
    protocol: str


def select_tables(keys: Sequence[str], protocols: Sequence[str]) -> list[TableRequest]:
    """Select Tables 3 and 4 under each protocol, the others under the first.

    Raises:
        MoodlineError: a key is unknown
    """
    if unknown := [key for key in keys if key not in TABLE_BUILDERS]:
        raise MoodlineError(
            f"unknown table {unknown[0]!r}: choose from {', '.join(TABLE_BUILDERS)}", code="experiment.unknown_table"
        )
    return [
        TableRequest(key, protocol)
        for key in TABLE_BUILDERS
        if key in keys
        for protocol in (protocols if key in PROTOCOL_TABLES else protocols[:1])
    ]


def build_tables(requested: Sequence[TableRequest], base: Recipe, choices: TableOptions) -> list[PaperTable]:
    """Build the requested tables.

    Raises:
        MoodlineError: the base recipe has other values than the tables' rows presuppose
    """
    if base.given:
        raise MoodlineError(
            f"the recipe reads precomputed embeddings for {next(iter(base.given))}, and the tables train every stage; "
            "remove them from the recipe",
            code="experiment.precomputed_embeddings",
        )
    for key, value in {"modalities": "both", **BASE_VALUES}.items():
        section, _, name = key.rpartition(".")
        if (found := getattr(getattr(base, section) if section else base, name)) != value:
            raise MoodlineError(
                f"the recipe has {key}: {found}, and the tables compare alternatives with {value}; set {key}: {value}",
                code="experiment.unfit_recipe",
            )
    return [TABLE_BUILDERS[key](base, protocol, choices) for key, protocol in requested]


def build_embeddings_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Build Table 1: size of the utterance embedding, with and without self-attention, speech and words."""
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
    """Build Table 2: layers and hidden size of the transformer, and its heads at the base's size."""
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
        notes=(f"left out, because the hidden size is not divisible by the number of heads: {', '.join(left_out)}",)
        if left_out
        else (),
    )


def build_protocol_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Build Table 3: speech, words and both."""
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
    """Build Table 4: words alone and both, trained and tested on reference and on recognised words."""
    own, other = create_base(base), System(name="recognised-words", recipe=base, words=RECOGNISED)
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
    """Build the table of the paper's system beside simpler ones, on the same folds."""
    own, classical = create_base(base), create_classical(base)
    log_mel = create_variant(base, "log-mel", {"audio_utterance.frontend": "log_mel", "modalities": "audio"})
    # bc-LSTM (Poria et al. 2017), on the same utterance embeddings.
    bc_lstm = create_variant(
        base, "bc-lstm", {f"{part}.kind": "bc_lstm" for part in ("audio_context", "text_context", "fusion")}
    )
    concatenation = create_variant(base, "concatenation", {"fusion.kind": "concatenation"})
    compared = (
        (PART_NAMES[MAJORITY], own, MAJORITY),
        (BASELINE_NAMES["egemaps"], classical, "egemaps"),
        ("speech, log-mel instead of LEAF", log_mel, AUDIO_UTTERANCE),
        ("speech, LEAF", own, AUDIO_UTTERANCE),
        (BASELINE_NAMES["tf_idf"], classical, "tf_idf"),
        (BASELINE_NAMES["sentence_embeddings"], classical, "sentence_embeddings"),
        ("words, BERT and GRU", own, TEXT_UTTERANCE),
        ("both, bc-LSTM", bc_lstm, FUSION),
        ("both, concatenation", concatenation, FUSION),
        ("both, transformer", own, FUSION),
    )
    return PaperTable(
        key="baselines",
        title="Baselines",
        columns=("system",),
        protocol=protocol,
        rows=tuple(TableRow(cells=(name,), system=system, stage=stage) for name, system, stage in compared),
        differences=((3, 2), (3, 1), (6, 4), (6, 5), (9, 8), (9, 7)),
    )


def build_released_table(base: Recipe, protocol: str, choices: TableOptions) -> PaperTable:
    """Build the table of every part with and without the released code's selection, padding and attention."""
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
