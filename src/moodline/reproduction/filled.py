"""Tables with their numbers: what is done of each row, which one validation selects, what is clearly apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import mean, stdev

from moodline.evaluation.results import Estimate
from moodline.reproduction.comparisons import Comparison, Side, averaged, compare
from moodline.reproduction.ledger import MEASURES, Experiment
from moodline.reproduction.systems import CLASSICAL
from moodline.reproduction.tables import Row, Table


@dataclass(frozen=True, kw_only=True)
class FilledRow:
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

    row: Row
    measures: Mapping[str, Estimate] = field(default_factory=dict)
    deviations: Mapping[str, float] = field(default_factory=dict)
    seeds: int = 0
    folds: frozenset[str] = frozenset()
    validation_loss: float | None = None
    notes: tuple[str, ...] = ()
    selected: bool = False
    stands_out: bool = False

    @property
    def title(self) -> str:
        return ", ".join(self.row.cells)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How far one row is above another.

    Args:
        seeds: how many of the one's and of the other's are compared
    """

    one: FilledRow
    other: FilledRow
    comparison: Comparison
    seeds: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class FilledTable:
    table: Table
    rows: tuple[FilledRow, ...]
    pairs: tuple[Pair, ...]


def fill(table: Table, experiments: Sequence[Experiment]) -> FilledTable:
    """A table from all that is done, complete or not."""
    done = [whole(row, table.protocol, experiments) for row in table.rows]
    rows = [filled(row, of_row) for row, of_row in zip(table.rows, done, strict=True)]
    seeds = {row.title: of_row for row, of_row in zip(rows, done, strict=True)}

    def apart(one: FilledRow, other: FilledRow) -> Pair:
        first, second = same_seeds(seeds[one.title], seeds[other.title])
        comparison = compare(side(one.row, first), side(other.row, second), classes_of(first[0]))
        return Pair(one=one, other=other, comparison=comparison, seeds=(len(first), len(second)))

    marked: list[FilledRow] = []
    for row in rows:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if row.row.choice and all(one.measures and one.folds == row.folds for one in rivals):
            best = max(rivals, key=lambda one: one.measures["ua"].value)
            row = replace(
                row,
                selected=row.title == lowest({one.title: seeds[one.title] for one in rivals}, row.row.stage),
                stands_out=row is best
                and len(rivals) > 1
                and all(apart(row, one).comparison.is_clear for one in rivals if one is not row),
            )
        marked.append(row)
    pairs = tuple(apart(one, other) for one, other in compared(table, marked))
    return FilledTable(table=table, rows=tuple(marked), pairs=pairs)


def whole(row: Row, protocol: str, experiments: Sequence[Experiment]) -> list[Experiment]:
    """A row's seeds, of those that have the same folds, as many as there are: others are no mean of one thing."""
    own = [one for one in experiments if (one.system, one.protocol) == (row.system.name, protocol)]
    found = [tested for one in own if (tested := one.on(row.words)) is not None]
    groups: dict[frozenset[str], list[Experiment]] = {}
    for one in found:
        groups.setdefault(one.fold_names, []).append(one)
    return max(groups.values(), key=lambda group: (len(group[0].tasks), len(group)), default=[])


def same_seeds(
    one: Sequence[Experiment], other: Sequence[Experiment]
) -> tuple[Sequence[Experiment], Sequence[Experiment]]:
    """The seeds that both have, so that a lucky one is on both sides; all of them, where there is none in common.

    The classical systems are the same for every seed, and are compared with all of another's.
    """
    common = {experiment.seed for experiment in one} & {experiment.seed for experiment in other}
    if not common or CLASSICAL in (one[0].system, other[0].system):
        return one, other
    first, second = ([experiment for experiment in side if experiment.seed in common] for side in (one, other))
    return first, second


def side(row: Row, experiments: Sequence[Experiment]) -> Side:
    return Side(stage=row.stage, seeds=[one.predictions(row.words) for one in experiments])


def classes_of(experiment: Experiment) -> Sequence[str]:
    return experiment.tasks[0].results["label_set"]["classes"]


def filled(row: Row, experiments: Sequence[Experiment]) -> FilledRow:
    if not experiments:
        return FilledRow(row=row)
    of_row, classes = side(row, experiments), classes_of(experiments[0])
    by_seed = [averaged(replace(of_row, seeds=[one]), classes) for one in of_row.seeds]
    losses = [loss for one in experiments if (loss := one.validation_loss(row.stage)) is not None]
    values = {measure: [one[at].value for one in by_seed] for at, measure in enumerate(MEASURES)}
    return FilledRow(
        row=row,
        measures=dict(zip(MEASURES, averaged(of_row, classes), strict=True)),
        deviations={measure: stdev(found) for measure, found in values.items()} if len(by_seed) > 1 else {},
        seeds=len(experiments),
        folds=experiments[0].fold_names,
        validation_loss=mean(losses) if losses else None,
        notes=tuple(dict.fromkeys(note for one in experiments for note in one.notes(row.words))),
    )


def lowest(choice: Mapping[str, Sequence[Experiment]], stage: str) -> str:
    """The row that validation selects: of the lowest validation loss over the seeds that all have, or over all."""
    common = set.intersection(*({one.seed for one in seeds} for seeds in choice.values()))

    def loss(title: str) -> float:
        seeds = [one for one in choice[title] if one.seed in common] or choice[title]
        return mean(found for one in seeds if (found := one.validation_loss(stage)) is not None)

    return min(choice, key=loss)


def compared(table: Table, rows: Sequence[FilledRow]) -> list[tuple[FilledRow, FilledRow]]:
    """The rows whose difference a reader of the table asks for, one minus the other, where both have the same folds."""
    if table.differences is not None:
        pairs = [(rows[one], rows[other]) for one, other in table.differences]
    else:
        pairs = [(one, other) for one, other in product(rows, rows) if one.selected and other is not one]
    return [(one, other) for one, other in pairs if one.measures and one.folds == other.folds]
