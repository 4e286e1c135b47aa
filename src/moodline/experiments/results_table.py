"""Result tables: finished rows, selected rows, paired differences, and their export."""

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
    MEASURES,
    Comparison,
    PartPredictions,
    average_seeds,
    build_number,
    collect_predictions,
    compare_parts,
)
from moodline.experiments.ledger import Experiment
from moodline.experiments.systems import CLASSICAL_NAME
from moodline.experiments.tables import PaperTable, TableRow
from moodline.io import open_atomic_file


@dataclass(frozen=True, kw_only=True)
class ResultsRow:
    """The results of a row.

    Args:
        measures: mean over seeds with its interval over conversations, by measure; empty before any run
        deviations: standard deviation over several seeds, by measure
        seeds: number of finished seeds
        folds: names of the folds that every seed has finished
        validation_loss: mean over seeds and folds, the only criterion of selection
        notes: caveats on the numbers
        selected: whether its loss is the lowest among its alternatives, all run on the same folds
        is_highlighted: whether its UA is the highest among its alternatives, and clearly above each other one
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
    """The difference of two rows.

    Args:
        seeds: numbers of seeds of the one and of the other
    """

    one: ResultsRow
    other: ResultsRow
    comparison: Comparison
    seeds: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ResultsTable:
    """The results of a table.

    Args:
        majority: scores of the majority class on the row with the most folds, by measure; empty before any run, or if
            a row of the table has them
    """

    table: PaperTable
    rows: tuple[ResultsRow, ...]
    pairs: tuple[ComparedRows, ...]
    majority: Mapping[str, Estimate] = field(default_factory=dict)


def fill_table(table: PaperTable, experiments: Sequence[Experiment]) -> ResultsTable:
    """Fill a table from all finished experiments, complete or not."""
    done = {row.title: select_complete(row, table.protocol, experiments) for row in table.rows}
    found = {(row.title, one.seed): collect_row_predictions(one, row) for row in table.rows for one in done[row.title]}

    def select(title: str, seeds: Sequence[Experiment]) -> list[PartPredictions]:
        return [found[title, one.seed] for one in seeds]

    def compare(one: ResultsRow, other: ResultsRow) -> ComparedRows:
        first, second = select_common_seeds(done[one.title], done[other.title])
        comparison = compare_parts(select(one.title, first), select(other.title, second))
        return ComparedRows(one=one, other=other, comparison=comparison, seeds=(len(first), len(second)))

    def mark(row: ResultsRow) -> ResultsRow:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if not row.row.choice or not all(one.measures and one.folds == row.folds for one in rivals):
            return row
        best = max(rivals, key=lambda one: one.measures["ua"].value)
        others = [one for one in rivals if one is not row]
        return replace(
            row,
            selected=row.title == find_lowest_loss({one.title: done[one.title] for one in rivals}, row.row.stage),
            is_highlighted=row is best
            and bool(others)
            and all(compare(row, one).comparison.is_clear for one in others),
        )

    rows = [fill_row(row, done[row.title], select(row.title, done[row.title])) for row in table.rows]
    marked = tuple(map(mark, rows))
    return ResultsTable(
        table=table,
        rows=marked,
        pairs=tuple(compare(*pair) for pair in pair_rows(table, marked)),
        majority=score_majority([(row, done[row.title][0]) for row in table.rows if done[row.title]]),
    )


def score_majority(rows: Sequence[tuple[TableRow, Experiment]]) -> Mapping[str, Estimate]:
    """Score the majority class, from rows with one of their experiments each."""
    # The predictions of the classical baselines do not include it.
    trained = [(row, experiment) for row, experiment in rows if row.system.name != CLASSICAL_NAME]
    if not trained or any(row.stage == MAJORITY for row, _ in rows):
        return {}
    row, experiment = max(trained, key=lambda one: len(one[1].tasks))
    predictions = collect_row_predictions(experiment, replace(row, stage=MAJORITY))
    return dict(zip(MEASURES, average_seeds([predictions]), strict=True))


def select_complete(row: TableRow, protocol: str, experiments: Sequence[Experiment]) -> list[Experiment]:
    """Select a row's seeds that have the same folds: the most folds first, then the most seeds."""
    own = [one for one in experiments if (one.system, one.protocol) == (row.system.name, protocol)]
    found = [tested for one in own if (tested := one.restrict_to_words(row.words)) is not None]
    groups: dict[frozenset[str], list[Experiment]] = {}
    for one in found:
        groups.setdefault(one.fold_names, []).append(one)
    return max(groups.values(), key=lambda group: (len(group[0].tasks), len(group)), default=[])


def select_common_seeds(
    one: Sequence[Experiment], other: Sequence[Experiment]
) -> tuple[Sequence[Experiment], Sequence[Experiment]]:
    """Select the seeds that both rows have, or all seeds if they share none.

    The classical baselines do not depend on the seed, and are compared with all seeds of the other row.
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
    """Fill a row, without its marks, from its experiments and its part's predictions in each."""
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
        notes=tuple(dict.fromkeys(note for one in experiments for note in one.collect_notes(row.words))),
    )


def find_lowest_loss(choice: Mapping[str, Sequence[Experiment]], stage: str) -> str:
    """Find the row with the lowest validation loss over the seeds that all rows have, or over all seeds."""
    common = set.intersection(*({one.seed for one in seeds} for seeds in choice.values()))

    def average_loss(title: str) -> float:
        seeds = [one for one in choice[title] if one.seed in common] or choice[title]
        return mean(found for one in seeds if (found := one.compute_validation_loss(stage)) is not None)

    return min(choice, key=average_loss)


def pair_rows(table: PaperTable, rows: Sequence[ResultsRow]) -> list[tuple[ResultsRow, ResultsRow]]:
    """Pair the rows that the table compares, one minus the other, if both have the same folds."""
    if table.differences is not None:
        pairs = [(rows[one], rows[other]) for one, other in table.differences]
    else:
        pairs = [(one, other) for one, other in product(rows, rows) if one.selected and other is not one]
    return [(one, other) for one, other in pairs if one.measures and one.folds == other.folds]


TABLES_FILE = "tables.parquet"
TABLES_SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("protocol", pa.string()),
        ("row", pa.string()),
        ("minus", pa.string()),  # the row that a difference subtracts; null for a score
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval over conversations
        ("high", pa.float64()),
        ("deviation", pa.float64()),  # of a score, over seeds
        ("effect", pa.float64()),  # of a difference
        ("seeds", pa.int64()),
        ("folds", pa.list_(pa.string())),
        ("selected", pa.bool_()),
        ("bold", pa.bool_()),
        ("notes", pa.list_(pa.string())),
    ]
)


def write_tables(tables: Sequence[ResultsTable], out: Path) -> None:
    rows = [row for table in tables for row in iter_table_rows(table)]
    with open_atomic_file(out / TABLES_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=TABLES_SCHEMA), temporary)


def iter_table_rows(results: ResultsTable) -> Iterator[dict[str, Any]]:
    """Yield the scores of a table's finished rows, then its differences."""
    of_table = {"table": results.table.key, "protocol": results.table.protocol}
    for row in results.rows:
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
    for pair in results.pairs:
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
