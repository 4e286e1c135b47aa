"""Tables with their numbers: what is done of each row, which one validation selects, what is clearly apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import mean, stdev

from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import MAJORITY
from moodline.reproduction.comparisons import Answers, Comparison, answers_of, averaged, compare
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
        return self.row.title


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
    """What is known of a table.

    Args:
        majority: what always saying the most frequent class scores on the row of the most folds, by measure; empty
            where nothing is done, or a row of the table says it
    """

    table: Table
    rows: tuple[FilledRow, ...]
    pairs: tuple[Pair, ...]
    majority: Mapping[str, Estimate] = field(default_factory=dict)


def fill(table: Table, experiments: Sequence[Experiment]) -> FilledTable:
    """A table from all that is done, complete or not."""
    done = {row.title: whole(row, table.protocol, experiments) for row in table.rows}
    said = {(row.title, one.seed): answers_in(one, row) for row in table.rows for one in done[row.title]}
    rows = [filled(row, of_row := done[row.title], answers(said, row.title, of_row)) for row in table.rows]

    def apart(one: FilledRow, other: FilledRow) -> Pair:
        first, second = same_seeds(done[one.title], done[other.title])
        comparison = compare(answers(said, one.title, first), answers(said, other.title, second))
        return Pair(one=one, other=other, comparison=comparison, seeds=(len(first), len(second)))

    def marked(row: FilledRow) -> FilledRow:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if not row.row.choice or not all(one.measures and one.folds == row.folds for one in rivals):
            return row
        best = max(rivals, key=lambda one: one.measures["ua"].value)
        others = [one for one in rivals if one is not row]
        return replace(
            row,
            selected=row.title == lowest({one.title: done[one.title] for one in rivals}, row.row.stage),
            stands_out=row is best and bool(others) and all(apart(row, one).comparison.is_clear for one in others),
        )

    shown = tuple(map(marked, rows))
    return FilledTable(
        table=table,
        rows=shown,
        pairs=tuple(apart(*pair) for pair in compared(table, shown)),
        majority=majority_of([(row, done[row.title][0]) for row in table.rows if done[row.title]]),
    )


def majority_of(rows: Sequence[tuple[Row, Experiment]]) -> Mapping[str, Estimate]:
    """What always saying the most frequent class scores, from rows with one of their experiments each."""
    # The classical baselines' own predictions do not say it.
    trained = [(row, experiment) for row, experiment in rows if row.system.name != CLASSICAL]
    if not trained or any(row.stage == MAJORITY for row, _ in rows):
        return {}
    row, experiment = max(trained, key=lambda one: len(one[1].tasks))
    said = answers_in(experiment, replace(row, stage=MAJORITY))
    return dict(zip(MEASURES, averaged([said]), strict=True))


def answers(said: Mapping[tuple[str, int], Answers], title: str, experiments: Sequence[Experiment]) -> list[Answers]:
    """Those of a row's experiments, from what was said by row and seed."""
    return [said[title, one.seed] for one in experiments]


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


def answers_in(experiment: Experiment, row: Row) -> Answers:
    classes = experiment.tasks[0].results["label_set"]["classes"]
    return answers_of(experiment.predictions(row.words), row.stage, classes)


def filled(row: Row, experiments: Sequence[Experiment], seeds: Sequence[Answers]) -> FilledRow:
    """A row without its marks, from its experiments and what its part says in each."""
    if not experiments:
        return FilledRow(row=row)
    by_seed = [averaged([one]) for one in seeds]
    losses = [loss for one in experiments if (loss := one.validation_loss(row.stage)) is not None]
    values = {measure: [one[at].value for one in by_seed] for at, measure in enumerate(MEASURES)}
    return FilledRow(
        row=row,
        measures=dict(zip(MEASURES, averaged(seeds), strict=True)),
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
