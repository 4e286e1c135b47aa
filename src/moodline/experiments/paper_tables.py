"""The paper's tables and further ones, as the systems that their rows compare: variants of one base recipe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, STAGES, TEXT_CONTEXT, TEXT_UTTERANCE, Recipe
from moodline.corpora.corpus import Corpus
from moodline.corpora.storage import RECOGNISED, REFERENCE
from moodline.errors import MoodlineError
from moodline.evaluation.scores import MAJORITY
from moodline.evaluation.scores import STAGES as SCORED_STAGES
from moodline.experiments.baselines import BASELINE_NAMES
from moodline.io import read_json, write_json

BASE_NAME = "base"
CLASSICAL_NAME = "classical"  # the classical baselines are one system, each of them scored as a part
PART_NAMES: Mapping[str, str] = {**SCORED_STAGES, **BASELINE_NAMES}
# Values of the base recipe that the names of the rows presuppose.
BASE_VALUES = {
    "modalities": "both",
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
class System:
    """A recipe and the kind of words that it is trained on, by a name for its runs' folder and the ledger."""

    name: str
    recipe: Recipe
    words: str = REFERENCE

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that it trains; none for the classical baselines."""
        return () if self.name == CLASSICAL_NAME else self.recipe.stages


def create_variant(base: Recipe, name: str, changes: Mapping[str, Any]) -> System:
    """Create the base system with the values of some dotted keys changed; if they are its own, the base system."""
    recipe = change_config(base, changes)
    return System(name=BASE_NAME if recipe == base else name, recipe=recipe)


def create_released(base: Recipe, padded_seconds: float) -> System:
    """Create the base system with the authors' released selection, padding and attention (modeling.as_released)."""
    audio = base.audio_utterance
    changes = {
        "selection": "released",
        "crossfit": 0,  # whose encoders would train on the validation set
        "audio_utterance.padding": "released",
        "audio_utterance.padded_seconds": padded_seconds,
        # Keeps the number of utterances per batch and of steps per epoch despite the padding.
        "audio_utterance.batch_seconds": max(audio.batch_seconds, audio.training.batch_size * padded_seconds),
        "audio_context.attention": "released",
        "text_context.attention": "released",
    }
    return create_variant(base, "as-released", changes)


def change_config(config: Any, changes: Mapping[str, Any]) -> Any:
    """Copy a recipe, or a section of one, with the values of these dotted keys changed."""
    values, sections = dict[str, Any](), dict[str, dict[str, Any]]()
    for key, value in changes.items():
        name, _, rest = key.partition(".")
        if rest:
            sections.setdefault(name, {})[rest] = value
        else:
            values[name] = value
    return replace(
        config, **values, **{name: change_config(getattr(config, name), of) for name, of in sections.items()}
    )


@dataclass(frozen=True)
class TableRow:
    """A row of a table: one stage of a system."""

    cells: tuple[str, ...]  # those that distinguish it, under the table's columns
    system: System
    stage: str
    words: str = REFERENCE  # kind of the corpus's words on which it is tested
    choice: str = ""  # name shared by alternative rows, of which validation selects one; empty if nothing is selected

    @property
    def title(self) -> str:
        return ", ".join(self.cells)


@dataclass(frozen=True)
class PaperTable:
    """Rows under one protocol."""

    key: str  # its name on the command line
    title: str
    protocol: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    # Positions of two rows, one minus the other; None: the selected row minus each other one.
    differences: tuple[tuple[int, int], ...] | None
    notes: tuple[str, ...] = ()  # caveats that hold for any numbers

    @property
    def name(self) -> str:
        """The title, with the paper's number for tables of the paper."""
        numbered = f"Table {self.key}: " if self.key.isdigit() else ""
        return f"{numbered}{self.title} ({self.protocol})"


def select_tables(keys: Sequence[str], protocols: Sequence[str]) -> list[tuple[str, str]]:
    """Select keys and protocols: Tables 3 and 4 under each protocol, the others under the first."""
    if unknown := [key for key in keys if key not in TABLE_BUILDERS]:
        raise MoodlineError(
            f"unknown table {unknown[0]!r}: choose from {', '.join(TABLE_BUILDERS)}", code="experiment.unknown_table"
        )
    return [
        (key, protocol)
        for key in TABLE_BUILDERS
        if key in keys
        for protocol in (protocols if key in ("3", "4") else protocols[:1])
    ]


def merge_requests(
    file: Path, requested: Sequence[tuple[str, str]], sizes: Sequence[int]
) -> tuple[list[tuple[str, str]], list[int]]:
    """Add tables and sizes to the file with those of earlier commands, and return all."""
    before = read_json(file, "ledger") if file.is_file() else {"tables": [], "sizes": []}
    order = list(TABLE_BUILDERS)
    every = {(key, protocol) for key, protocol in before["tables"]} | {*requested}
    tables = sorted(every, key=lambda one: (order.index(one[0]), one[1]))
    sizes = sorted({*before["sizes"], *sizes})
    write_json(file, {"tables": tables, "sizes": sizes})
    return tables, sizes


def build_tables(
    requested: Sequence[tuple[str, str]], base: Recipe, sizes: Sequence[int], corpus: Corpus
) -> list[PaperTable]:
    """Build the requested tables; other values of the recipe than their rows presuppose are refused."""
    longest = measure_longest_seconds(corpus)
    if base.given:
        raise MoodlineError(
            f"the recipe reads precomputed embeddings for {next(iter(base.given))}, and the tables train every stage; "
            "remove them from the recipe",
            code="experiment.precomputed_embeddings",
        )
    for key, value in BASE_VALUES.items():
        section, _, name = key.rpartition(".")
        if (found := getattr(getattr(base, section) if section else base, name)) != value:
            raise MoodlineError(
                f"the recipe has {key}: {found}, and the tables compare alternatives with {value}; set {key}: {value}",
                code="experiment.unfit_recipe",
            )
    return [TABLE_BUILDERS[key](base, protocol, sizes, longest) for key, protocol in requested]


def measure_longest_seconds(corpus: Corpus) -> float:
    """Measure the corpus's longest utterance, to which the released code pads."""
    silent = [turn.id for turn in corpus.utterances if turn.audio is None]
    if silent:
        raise MoodlineError(
            f"{silent[0]} has no audio ({len(silent)} utterances in all), and the tables compare speech and words; "
            "prepare the corpus with its audio, or train and evaluate words alone",
            code="experiment.missing_audio",
        )
    return max(turn.audio.duration for turn in corpus.utterances if turn.audio is not None)


def build_embeddings_table(base: Recipe, protocol: str, sizes: Sequence[int], longest: float) -> PaperTable:
    """Build Table 1: size of the utterance embedding, with and without self-attention, speech and words."""
    rows: list[TableRow] = []
    contexts = (("audio", AUDIO_CONTEXT), ("text", TEXT_CONTEXT))
    for (modality, stage), size, attention in product(contexts, sizes, (True, False)):
        name = f"{modality}-{size}" + ("" if attention else "-no-attention")
        changes = {f"{modality}_utterance.embedding": size, f"{modality}_context.self_attention": attention}
        system = create_variant(base, name, changes)
        if system.name != BASE_NAME:  # the base system contains the stages of both modalities
            system = create_variant(base, name, {**changes, "modalities": modality})
        cells = (PART_NAMES[stage], str(size), "self-attention" if attention else "no self-attention")
        rows.append(TableRow(cells, system, stage, choice=modality))
    title, columns = "Size of the utterance embedding, and self-attention", ("part", "embedding", "attention")
    differences = tuple((place, place + 1) for place in range(0, len(rows), 2))
    return PaperTable("1", title, protocol, columns, tuple(rows), differences)


def build_transformer_table(base: Recipe, protocol: str, sizes: Sequence[int], longest: float) -> PaperTable:
    """Build Table 2: layers and hidden size of the transformer, and its heads at the base's size."""
    own = base.fusion
    # The paper's grid is not published; the values of its text (3 layers of 120, 12 heads) are included.
    grid = [
        *((layers, hidden, own.heads) for layers, hidden in product((1, 2, 3, 4), (60, 120, 240))),
        *((own.layers, own.hidden, heads) for heads in (own.heads, 4, 8, 12)),
    ]
    rows: list[TableRow] = []
    left_out: dict[str, None] = {}
    for layers, hidden, heads in dict.fromkeys(grid):
        if hidden % heads:
            left_out[f"{hidden} by {heads} heads"] = None
            continue
        changes = {"fusion.layers": layers, "fusion.hidden": hidden, "fusion.heads": heads}
        system = create_variant(base, f"fusion-{layers}x{hidden}-{heads}-heads", changes)
        rows.append(TableRow((str(layers), str(hidden), str(heads)), system, FUSION, choice="transformer"))
    note = f"left out, because the hidden size is not divisible by the number of heads: {', '.join(left_out)}"
    notes, columns = (note,) if left_out else (), ("layers", "hidden", "heads")
    return PaperTable("2", "Size of the transformer", protocol, columns, tuple(rows), None, notes)


def build_protocol_table(base: Recipe, protocol: str, sizes: Sequence[int], longest: float) -> PaperTable:
    """Build Table 3: speech, words and both."""
    own = System(name=BASE_NAME, recipe=base)
    rows = tuple(TableRow((PART_NAMES[stage],), own, stage) for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION))
    return PaperTable("3", "Speech, words and both", protocol, ("part",), rows, ((2, 0), (2, 1)))


def build_recognised_table(base: Recipe, protocol: str, sizes: Sequence[int], longest: float) -> PaperTable:
    """Build Table 4: words alone and both, trained and tested on reference and on recognised words."""
    own, other = System(name=BASE_NAME, recipe=base), System(name="recognised-words", recipe=base, words=RECOGNISED)
    settings = ((own, REFERENCE), (own, RECOGNISED), (other, RECOGNISED))
    rows = tuple(
        TableRow((PART_NAMES[stage], system.words, words), system, stage, words)
        for stage, (system, words) in product((TEXT_CONTEXT, FUSION), settings)
    )
    columns = ("part", "words in training", "words in the test")
    return PaperTable("4", "Recognised words", protocol, columns, rows, ((1, 0), (2, 1), (4, 3), (5, 4)))


def build_baselines_table(base: Recipe, protocol: str, sizes: Sequence[int], longest: float) -> PaperTable:
    """Build the table of the paper's system beside simpler ones, on the same folds."""
    own, classical = System(name=BASE_NAME, recipe=base), System(name=CLASSICAL_NAME, recipe=base)
    log_mel = create_variant(base, "log-mel", {"audio_utterance.frontend": "log_mel", "modalities": "audio"})
    # bc-LSTM (Poria et al. 2017), on the same utterance embeddings.
    kinds = {f"{stage}.kind": "bc_lstm" for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)}
    bc_lstm = create_variant(base, "bc-lstm", kinds)
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
    rows = tuple(TableRow((name,), system, stage) for name, system, stage in compared)
    differences = ((3, 2), (3, 1), (6, 4), (6, 5), (9, 8), (9, 7))
    return PaperTable("baselines", "Baselines", protocol, ("system",), rows, differences)


def build_released_table(base: Recipe, protocol: str, sizes: Sequence[int], longest: float) -> PaperTable:
    """Build the table of every part with and without the released code's selection, padding and attention."""
    systems = (System(name=BASE_NAME, recipe=base), create_released(base, longest))
    rows = tuple(
        TableRow((PART_NAMES[stage], name), system, stage)
        for stage, (name, system) in product(STAGES, zip(("clean", "as released"), systems, strict=True))
    )
    columns = ("part", "selection, padding, attention")
    differences = tuple((place + 1, place) for place in range(0, 2 * len(STAGES), 2))
    return PaperTable("released", "As released, and clean", protocol, columns, rows, differences)


TABLE_BUILDERS: Mapping[str, Callable[[Recipe, str, Sequence[int], float], PaperTable]] = {
    "1": build_embeddings_table,
    "2": build_transformer_table,
    "3": build_protocol_table,
    "4": build_recognised_table,
    "baselines": build_baselines_table,
    "released": build_released_table,
}
