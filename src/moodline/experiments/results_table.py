"""Tables with their numbers: finished rows, selected rows, significant differences, and their export."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import MAJORITY
from moodline.experiments.comparisons import (
    Comparison,
    PartPredictions,
    average_seeds,
    collect_predictions,
    compare_parts,
)
from moodline.experiments.ledger import MEASURES, Experiment
from moodline.experiments.systems import CLASSICAL_NAME
from moodline.experiments.tables import PaperTable, TableRow
from moodline.io import open_atomic_file


@dataclass(frozen=True, kw_only=True)
class ResultsRow:
    """What is known of a row.

    Args:
        measures: the mean over seeds, with its interval over conversations, by measure; empty where nothing is done
        deviations: the standard deviation over seeds, by measure, of several
        seeds: how many were done
        folds: the names of those that were done with each
        validation_loss: the mean over seeds and folds; selection is by it alone
        notes: what a reader of the numbers must know
        selected: whether it is the lowest of its choice, all of which is done on the same folds
        stands_out: whether its UA is the highest of such a choice, and clearly above each other one
    """

    row: TableRow
    measures: Mapping[str, Estimate] = field(default_factory=dict)
    deviations: Mapping[str, float] = field(default_factory=dict)
    seeds: int = 0
    folds: frozenset[str] = frozenset()
    validation_loss: float | None = None
    notes: tuple[str, ...] = ()
    selected: bool = False
    is_highlighted: bool = False

    @property
    def title(self) -> str:
        return self.row.title


@dataclass(frozen=True, kw_only=True)
class ComparedRows:
    """How far one row is above another.

    Args:
        seeds: how many of the one's and of the other's are compared
    """

    one: ResultsRow
    other: ResultsRow
    comparison: Comparison
    seeds: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ResultsTable:
    """What is known of a table.

    Args:
        majority: what always saying the most frequent class scores on the row of the most folds, by measure; empty
            where nothing is done, or a row of the table says it
    """

    table: PaperTable
    rows: tuple[ResultsRow, ...]
    pairs: tuple[ComparedRows, ...]
    majority: Mapping[str, Estimate] = field(default_factory=dict)


def fill_table(table: PaperTable, experiments: Sequence[Experiment]) -> ResultsTable:
    """A table from all that is done, complete or not."""
    done = {row.title: select_complete(row, table.protocol, experiments) for row in table.rows}
    said = {(row.title, one.seed): collect_row_predictions(one, row) for row in table.rows for one in done[row.title]}
    rows = [fill_row(row, of_row := done[row.title], select_predictions(said, row.title, of_row)) for row in table.rows]

    def apart(one: ResultsRow, other: ResultsRow) -> ComparedRows:
        first, second = select_common_seeds(done[one.title], done[other.title])
        comparison = compare_parts(
            select_predictions(said, one.title, first), select_predictions(said, other.title, second)
        )
        return ComparedRows(one=one, other=other, comparison=comparison, seeds=(len(first), len(second)))

    def marked(row: ResultsRow) -> ResultsRow:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if not row.row.choice or not all(one.measures and one.folds == row.folds for one in rivals):
            return row
        best = max(rivals, key=lambda one: one.measures["ua"].value)
        others = [one for one in rivals if one is not row]
        return replace(
            row,
            selected=row.title == find_lowest_loss({one.title: done[one.title] for one in rivals}, row.row.stage),
            is_highlighted=row is best and bool(others) and all(apart(row, one).comparison.is_clear for one in others),
        )

    shown = tuple(map(marked, rows))
    return ResultsTable(
        table=table,
        rows=shown,
        pairs=tuple(apart(*pair) for pair in pair_rows(table, shown)),
        majority=score_majority([(row, done[row.title][0]) for row in table.rows if done[row.title]]),
    )


def score_majority(rows: Sequence[tuple[TableRow, Experiment]]) -> Mapping[str, Estimate]:
    """What always saying the most frequent class scores, from rows with one of their experiments each."""
    # The classical baselines' own predictions do not say it.
    trained = [(row, experiment) for row, experiment in rows if row.system.name != CLASSICAL_NAME]
    if not trained or any(row.stage == MAJORITY for row, _ in rows):
        return {}
    row, experiment = max(trained, key=lambda one: len(one[1].tasks))
    said = collect_row_predictions(experiment, replace(row, stage=MAJORITY))
    return dict(zip(MEASURES, average_seeds([said]), strict=True))


def select_predictions(
    said: Mapping[tuple[str, int], PartPredictions], title: str, experiments: Sequence[Experiment]
) -> list[PartPredictions]:
    """Those of a row's experiments, from what was said by row and seed."""
    return [said[title, one.seed] for one in experiments]


def select_complete(row: TableRow, protocol: str, experiments: Sequence[Experiment]) -> list[Experiment]:
    """A row's seeds, of those that have the same folds, as many as there are: others are no mean of one thing."""
    own = [one for one in experiments if (one.system, one.protocol) == (row.system.name, protocol)]
    found = [tested for one in own if (tested := one.restrict_to_words(row.words)) is not None]
    groups: dict[frozenset[str], list[Experiment]] = {}
    for one in found:
        groups.setdefault(one.fold_names, []).append(one)
    return max(groups.values(), key=lambda group: (len(group[0].tasks), len(group)), default=[])


def select_common_seeds(
    one: Sequence[Experiment], other: Sequence[Experiment]
) -> tuple[Sequence[Experiment], Sequence[Experiment]]:
    """The seeds that both have, so that a lucky one is on both sides; all of them, where there is none in common.

    The classical systems are the same for every seed, and are compared with all of another's.
    """
    common = {experiment.seed for experiment in one} & {experiment.seed for experiment in other}
    if not common or CLASSICAL_NAME in (one[0].system, other[0].system):
        return one, other
    first, second = ([experiment for experiment in side if experiment.seed in common] for side in (one, other))
    return first, second


def collect_row_predictions(experiment: Experiment, row: TableRow) -> PartPredictions:
    classes = experiment.tasks[0].results["label_set"]["classes"]
    return collect_predictions(experiment.read_predictions(row.words), row.stage, classes)


def fill_row(row: TableRow, experiments: Sequence[Experiment], seeds: Sequence[PartPredictions]) -> ResultsRow:
    """A row without its marks, from its experiments and what its part says in each."""
    if not experiments:
        return ResultsRow(row=row)
    by_seed = [average_seeds([one]) for one in seeds]
    losses = [loss for one in experiments if (loss := one.compute_validation_loss(row.stage)) is not None]
    values = {measure: [one[at].value for one in by_seed] for at, measure in enumerate(MEASURES)}
    return ResultsRow(
        row=row,
        measures=dict(zip(MEASURES, average_seeds(seeds), strict=True)),
        deviations={measure: stdev(found) for measure, found in values.items()} if len(by_seed) > 1 else {},
        seeds=len(experiments),
        folds=experiments[0].fold_names,
        validation_loss=mean(losses) if losses else None,
        notes=tuple(dict.fromkeys(note for one in experiments for note in one.notes(row.words))),
    )


def find_lowest_loss(choice: Mapping[str, Sequence[Experiment]], stage: str) -> str:
    """The row that validation selects: of the lowest validation loss over the seeds that all have, or over all."""
    common = set.intersection(*({one.seed for one in seeds} for seeds in choice.values()))

    def loss(title: str) -> float:
        seeds = [one for one in choice[title] if one.seed in common] or choice[title]
        return mean(found for one in seeds if (found := one.compute_validation_loss(stage)) is not None)

    return min(choice, key=loss)


def pair_rows(table: PaperTable, rows: Sequence[ResultsRow]) -> list[tuple[ResultsRow, ResultsRow]]:
    """The rows whose difference a reader of the table asks for, one minus the other, where both have the same folds."""
    if table.differences is not None:
        pairs = [(rows[one], rows[other]) for one, other in table.differences]
    else:
        pairs = [(one, other) for one, other in product(rows, rows) if one.selected and other is not one]
    return [(one, other) for one, other in pairs if one.measures and one.folds == other.folds]


TABLES_FILE = "tables.parquet"
SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("protocol", pa.string()),
        ("row", pa.string()),
        ("minus", pa.string()),  # the row that is taken away, of a difference; none of a score
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval over conversations
        ("high", pa.float64()),
        ("deviation", pa.float64()),  # of a score, over its seeds
        ("effect", pa.float64()),  # of a difference
        ("seeds", pa.int64()),
        ("folds", pa.list_(pa.string())),
        ("selected", pa.bool_()),
        ("bold", pa.bool_()),
        ("notes", pa.list_(pa.string())),
    ]
)


def write_tables(tables: Sequence[ResultsTable], out: Path) -> None:
    rows = [row for table in tables for row in iter_rows(table)]
    with open_atomic_file(out / TABLES_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)


def iter_rows(filled: ResultsTable) -> Iterator[dict[str, Any]]:
    """The scores of a table's rows that are done, then its differences."""
    of_table = {"table": filled.table.key, "protocol": filled.table.protocol}
    for row in filled.rows:
        facts = {
            **of_table,
            "row": row.title,
            "seeds": row.seeds,
            "folds": sorted(row.folds),
            "selected": row.selected,
            "bold": row.is_highlighted,
            "notes": list(row.notes),
        }
        for metric, estimate in row.measures.items():
            yield facts | build_number(metric, estimate) | {"deviation": row.deviations.get(metric)}
    for pair in filled.pairs:
        facts = {
            **of_table,
            "row": pair.one.title,
            "minus": pair.other.title,
            "effect": pair.comparison.effect,
            "seeds": min(pair.seeds),
            "folds": sorted(pair.one.folds),
            "notes": list(dict.fromkeys([*pair.one.notes, *pair.other.notes])),
        }
        for metric in MEASURES:
            yield facts | build_number(metric, getattr(pair.comparison, metric))


def build_number(metric: str, estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval or (None, None)
    return {"metric": metric, "value": estimate.value, "low": low, "high": high}
