"""The paper's tables, and those that belong beside them, as the systems that their rows compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, STAGES, TEXT_CONTEXT, TEXT_UTTERANCE, Recipe
from moodline.corpora.recognition import RECOGNISED, REFERENCE
from moodline.errors import MoodlineError
from moodline.evaluation.scores import MAJORITY
from moodline.reproduction.baselines import BASELINE_NAMES
from moodline.reproduction.names import PART_NAMES
from moodline.reproduction.systems import (
    System,
    as_released_system,
    base_system,
    bc_lstm_system,
    classical_system,
    concatenation_system,
    fusion_system,
    log_mel_system,
    recognised_system,
    unimodal_system,
)

CONTEXT_OF = {"audio": AUDIO_CONTEXT, "text": TEXT_CONTEXT}
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
class Row:
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
class Table:
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
    rows: tuple[Row, ...]
    differences: tuple[tuple[int, int], ...] | None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """With the paper's number, where the paper has it."""
        numbered = f"Table {self.key}: " if self.key.isdigit() else ""
        return f"{numbered}{self.title} ({self.protocol})"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What some tables depend on beside the base recipe.

    Args:
        sizes: of the utterance embedding, in Table 1
        longest_seconds: of the corpus's utterances, to which the released code pads all
    """

    sizes: Sequence[int]
    longest_seconds: float


class Asked(NamedTuple):
    """A table by its key and its protocol."""

    key: str
    protocol: str


def asked_for(keys: Sequence[str], protocols: Sequence[str]) -> list[Asked]:
    """Tables 3 and 4 under each protocol, the others under the first.

    Raises:
        MoodlineError: there is no table of a key
    """
    if strangers := [key for key in keys if key not in MAKERS]:
        raise MoodlineError(f"the tables are {', '.join(MAKERS)}: {strangers[0]} is none of them")
    return [
        Asked(key, protocol)
        for key in MAKERS
        if key in keys
        for protocol in (protocols if key in OF_EVERY_PROTOCOL else protocols[:1])
    ]


def tables_of(asked: Sequence[Asked], base: Recipe, choices: Choices) -> list[Table]:
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
    return [MAKERS[key](base, protocol, choices) for key, protocol in asked]


def embeddings_table(base: Recipe, protocol: str, choices: Choices) -> Table:
    """Table 1: the size of the utterance embedding, with and without self-attention, speech and words."""
    rows = tuple(
        Row(
            cells=(PART_NAMES[CONTEXT_OF[modality]], str(size), "yes" if attention else "no"),
            system=unimodal_system(base, modality, size, self_attention=attention),
            stage=CONTEXT_OF[modality],
            choice=modality,
        )
        for modality, size, attention in product(CONTEXT_OF, choices.sizes, (True, False))
    )
    return Table(
        key="1",
        title="Size of the utterance embedding, and self-attention",
        columns=("part", "embedding", "self-attention"),
        protocol=protocol,
        rows=rows,
        differences=tuple((place, place + 1) for place in range(0, len(rows), 2)),
    )


def transformer_table(base: Recipe, protocol: str, choices: Choices) -> Table:
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
    return Table(
        key="2",
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
            for layers, hidden, count in wanted
            if hidden % count == 0
        ),
        differences=None,
        notes=(f"left out, as heads divide the hidden size: {', '.join(left_out)}",) if left_out else (),
    )


def protocol_table(base: Recipe, protocol: str, choices: Choices) -> Table:
    """Table 3: speech, words and both."""
    return Table(
        key="3",
        title="Speech, words and both",
        columns=("part",),
        protocol=protocol,
        rows=tuple(
            Row(cells=(PART_NAMES[stage],), system=base_system(base), stage=stage)
            for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)
        ),
        differences=((2, 0), (2, 1)),
    )


def recognised_table(base: Recipe, protocol: str, choices: Choices) -> Table:
    """Table 4: words alone and both, trained and tested on reference and on recognised words."""
    own, other = base_system(base), recognised_system(base)
    settings = ((own, REFERENCE), (own, RECOGNISED), (other, RECOGNISED))
    return Table(
        key="4",
        title="Recognised words",
        columns=("part", "words in training", "words in the test"),
        protocol=protocol,
        rows=tuple(
            Row(cells=(PART_NAMES[stage], system.words, words), system=system, stage=stage, words=words)
            for stage, (system, words) in product((TEXT_CONTEXT, FUSION), settings)
        ),
        differences=((1, 0), (2, 1), (4, 3), (5, 4)),
    )


def baselines_table(base: Recipe, protocol: str, choices: Choices) -> Table:
    """The parts of the paper's system beside what is simpler, under the same folds."""
    own, classical = base_system(base), classical_system(base)
    shown = (
        (PART_NAMES[MAJORITY], own, MAJORITY),
        (BASELINE_NAMES["egemaps"], classical, "egemaps"),
        ("speech, log-mel in the place of LEAF", log_mel_system(base), AUDIO_UTTERANCE),
        ("speech, LEAF", own, AUDIO_UTTERANCE),
        (BASELINE_NAMES["tf_idf"], classical, "tf_idf"),
        (BASELINE_NAMES["sentence_embeddings"], classical, "sentence_embeddings"),
        ("words, BERT and GRU", own, TEXT_UTTERANCE),
        ("both, bc-LSTM", bc_lstm_system(base), FUSION),
        ("both, concatenation", concatenation_system(base), FUSION),
        ("both, transformer", own, FUSION),
    )
    return Table(
        key="baselines",
        title="Baselines",
        columns=("system",),
        protocol=protocol,
        rows=tuple(Row(cells=(name,), system=system, stage=stage) for name, system, stage in shown),
        differences=((3, 2), (3, 1), (6, 4), (6, 5), (9, 8), (9, 7)),
    )


def released_table(base: Recipe, protocol: str, choices: Choices) -> Table:
    """Every part with the released code's selection, padding and attention, beside the same part without."""
    systems = {"clean": base_system(base), "as released": as_released_system(base, choices.longest_seconds)}
    return Table(
        key="released",
        title="As released, and clean",
        columns=("part", "selection, padding, attention"),
        protocol=protocol,
        rows=tuple(
            Row(cells=(PART_NAMES[stage], name), system=system, stage=stage)
            for stage, (name, system) in product(STAGES, systems.items())
        ),
        differences=tuple((place + 1, place) for place in range(0, 2 * len(STAGES), 2)),
    )


MAKERS: Mapping[str, Callable[[Recipe, str, Choices], Table]] = {
    "1": embeddings_table,
    "2": transformer_table,
    "3": protocol_table,
    "4": recognised_table,
    "baselines": baselines_table,
    "released": released_table,
}
OF_EVERY_PROTOCOL = ("3", "4")
