"""Result tables: finished rows, selected rows and paired differences, as Markdown, LaTeX, HTML and Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from moodline.evaluation.figures import draw_differences, draw_scores
from moodline.evaluation.report import build_environment
from moodline.evaluation.results import Estimate
from moodline.evaluation.scores import MAJORITY, MIN_CONVERSATIONS
from moodline.experiments.comparisons import (
    MEASURES,
    Comparison,
    Estimates,
    PartPredictions,
    average_seeds,
    build_number,
    build_schema,
    compare_parts,
)
from moodline.experiments.ledger import POOLED, Experiment
from moodline.experiments.paper_tables import CLASSICAL_NAME, PaperTable, TableRow
from moodline.io import open_atomic_file, write_text

TABLES_FILE = "tables.parquet"
TABLES_SCHEMA = build_schema(
    ("table protocol row", pa.string()),
    ("minus", pa.string()),  # the row that a difference subtracts; null for a score
    ("metric", pa.string()),
    ("value low high", pa.float64()),  # with the bounds of the 95 % interval over conversations
    ("deviation effect", pa.float64()),  # of a score, over seeds; of a difference
    ("seeds", pa.int64()),
    ("folds", pa.list_(pa.string())),
    ("selected bold", pa.bool_()),
    ("notes", pa.list_(pa.string())),
)
# The documents of a folder's tables, and their templates.
REPORT_FILE = "report.html"
MARKDOWN_FILE = "tables.md"
TEMPLATES = {REPORT_FILE: "ledger.html.jinja", MARKDOWN_FILE: "tables.md.jinja", "tables.tex": "tables.tex.jinja"}
NAMES = {"WA": "wa", "UA": "ua", "weighted F1": "weighted_f1"}  # of the columns of measures
NUMBER_COLUMNS = (*NAMES, "validation loss", "seeds", "folds")
DIFFERENCE_COLUMNS = ("difference", *NAMES, "effect", "seeds")
LATEX_ESCAPES = {sign: f"\\{sign}" for sign in "%&_#${}"} | {"<": "$<$", ">": "$>$", "±": r"$\pm$"}
LATEX_ESCAPES |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}


@dataclass(frozen=True, kw_only=True)
class ResultsRow:
    """The results of a row."""

    row: TableRow
    measures: Estimates = field(default_factory=dict)  # over seeds, intervals over conversations; empty before any run
    deviations: Mapping[str, float] = field(default_factory=dict)  # standard deviation over several seeds
    seeds: int = 0
    folds: Sequence[str] = ()  # names of those that every seed has finished
    validation_loss: float | None = None  # mean over seeds and folds, the only criterion of selection
    notes: tuple[str, ...] = ()
    selected: bool = False  # its loss is the lowest among its alternatives, all run on the same folds
    bold: bool = False  # its UA is the highest among its alternatives, and clearly above each other one

    @property
    def title(self) -> str:
        return self.row.title


class ComparedRows(NamedTuple):
    """The difference of two rows, and the numbers of their seeds."""

    one: ResultsRow
    other: ResultsRow
    comparison: Comparison
    seeds: tuple[int, int]


class ResultsTable(NamedTuple):
    """The results of a table, with those of the majority class unless a row of the table has them."""

    table: PaperTable
    rows: tuple[ResultsRow, ...]
    pairs: tuple[ComparedRows, ...]
    majority: Estimates


def fill_table(table: PaperTable, experiments: Sequence[Experiment]) -> ResultsTable:
    """Fill a table from all finished experiments, complete or not."""
    done = {row.title: select_complete(row, table.protocol, experiments) for row in table.rows}
    found = {(row.title, one.seed): one.collect_predictions(row.stage) for row in table.rows for one in done[row.title]}

    def select(title: str, seeds: Sequence[Experiment]) -> list[PartPredictions]:
        return [found[title, one.seed] for one in seeds]

    def compare(one: ResultsRow, other: ResultsRow) -> ComparedRows:
        first, second = select_common_seeds(done[one.title], done[other.title])
        comparison = compare_parts(select(one.title, first), select(other.title, second))
        return ComparedRows(one, other, comparison, (len(first), len(second)))

    def mark(row: ResultsRow) -> ResultsRow:
        rivals = [one for one in rows if one.row.choice == row.row.choice]
        if not row.row.choice or not all(one.measures and one.folds == row.folds for one in rivals):
            return row
        lowest = find_lowest_loss({one.title: done[one.title] for one in rivals}, row.row.stage)
        is_best = len(rivals) > 1 and row is max(rivals, key=lambda one: one.measures["ua"].value)
        is_clear = is_best and all(compare(row, one).comparison.is_clear for one in rivals if one is not row)
        return replace(row, selected=row.title == lowest, bold=is_clear)

    rows = [fill_row(row, done[row.title], select(row.title, done[row.title])) for row in table.rows]
    marked = tuple(map(mark, rows))
    pairs = tuple(compare(*pair) for pair in pair_rows(table, marked))
    # The predictions of the classical baselines do not include the majority class.
    trained = [seeds[0] for seeds in done.values() if seeds and seeds[0].system != CLASSICAL_NAME]
    if not trained or any(row.row.stage == MAJORITY for row in rows if row.measures):
        return ResultsTable(table, marked, pairs, majority={})
    most = max(trained, key=lambda one: len(one.tasks))
    return ResultsTable(table, marked, pairs, average_seeds([most.collect_predictions(MAJORITY)]))


def select_complete(row: TableRow, protocol: str, experiments: Sequence[Experiment]) -> list[Experiment]:
    """Select a row's seeds that have the same folds: the most folds first, then the most seeds."""
    groups: dict[frozenset[str], list[Experiment]] = {}
    for one in experiments:
        if (one.system, one.protocol, one.words) == (row.system.name, protocol, row.words):
            groups.setdefault(one.fold_names, []).append(one)
    return max(groups.values(), key=lambda group: (len(group[0].tasks), len(group)), default=[])


def select_common_seeds(
    one: Sequence[Experiment], other: Sequence[Experiment]
) -> tuple[Sequence[Experiment], Sequence[Experiment]]:
    """Select the seeds that both rows have, or all if they share none or a row does not depend on the seed."""
    common = {experiment.seed for experiment in one} & {experiment.seed for experiment in other}
    if not common or CLASSICAL_NAME in (one[0].system, other[0].system):
        return one, other
    first, second = ([experiment for experiment in side if experiment.seed in common] for side in (one, other))
    return first, second


def fill_row(row: TableRow, experiments: Sequence[Experiment], seeds: Sequence[PartPredictions]) -> ResultsRow:
    """Fill a row, without its marks, from its experiments and its part's predictions in each."""
    if not experiments:
        return ResultsRow(row=row)
    by_seed = [average_seeds([one]) for one in seeds]
    losses = [loss for one in experiments if (loss := one.compute_validation_loss(row.stage)) is not None]
    return ResultsRow(
        row=row,
        measures=average_seeds(seeds),
        deviations={name: stdev(one[name].value for one in by_seed) for name in MEASURES if len(by_seed) > 1},
        seeds=len(experiments),
        folds=sorted(experiments[0].fold_names),
        validation_loss=mean(losses) if losses else None,
        notes=tuple(dict.fromkeys(note for one in experiments for note in one.collect_notes())),
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


def write_tables(tables: Sequence[ResultsTable], ledger: pa.Table, out: Path) -> str:
    """Write the tables as Parquet, Markdown, LaTeX and HTML into a folder, and return the Markdown."""
    rows = [row for table in tables for row in iter_table_rows(table)]
    with open_atomic_file(out / TABLES_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=TABLES_SCHEMA), temporary)
    environment = build_environment("moodline.experiments")
    environment.filters |= {"latex": escape_latex}
    content = {
        "tables": [build_section(table) for table in tables],
        "ledger": ledger.to_pylist(),
        "systems": summarise_costs(ledger),
        "min_conversations": MIN_CONVERSATIONS,
    }
    pages = {file: environment.get_template(name).render(content) for file, name in TEMPLATES.items()}
    for file, text in pages.items():
        write_text(out / file, text)
    return pages[MARKDOWN_FILE]


def iter_table_rows(results: ResultsTable) -> Iterator[dict[str, Any]]:
    """Yield the scores of a table's finished rows, then its differences, with other facts that have no column."""
    of_table = {"table": results.table.key, "protocol": results.table.protocol}
    for row in results.rows:
        for metric, estimate in row.measures.items():
            number = {**build_number(metric, estimate), "deviation": row.deviations.get(metric)}
            yield {**of_table, **vars(row), "row": row.title, **number}
    for one, other, comparison, seeds in results.pairs:
        facts = {
            "row": one.title,
            "minus": other.title,
            "effect": comparison.effect,
            "seeds": min(seeds),
            "folds": one.folds,
            "notes": list(dict.fromkeys([*one.notes, *other.notes])),
        }
        for metric, estimate in comparison.measures.items():
            yield {**of_table, **facts, **build_number(metric, estimate)}


def build_section(results: ResultsTable) -> dict[str, Any]:
    """Build a table's part of the documents: cells of text, in which two stars around a score mark bold type."""
    table, pairs, done = results.table, results.pairs, [row for row in results.rows if row.measures]
    key, figures, notes = f"{table.key}-{table.protocol}", [], [f"{note}." for note in table.notes]
    for note in dict.fromkeys(note for row in done for note in row.notes):
        titles = [row.title for row in done if note in row.notes]
        notes.append(f"{'All rows' if len(titles) == len(done) else '; '.join(titles)}: {note}.")
    if done:
        scores = [{name: asdict(one) for name, one in row.measures.items()} for row in done]
        figures.append(draw_scores(f"scores-{key}", table.name, scores, [row.title for row in done]))
    if pairs:
        differences = [{name: asdict(one) for name, one in pair.comparison.measures.items()} for pair in pairs]
        names = [(pair.one.title, pair.other.title) for pair in pairs]
        figures.append(draw_differences(f"differences-{key}", f"{table.name}: differences", differences, names))
    return {
        "id": f"table-{key}",
        "name": table.name,
        "columns": [*table.columns, *NUMBER_COLUMNS],
        "named": len(table.columns),
        "rows": [format_row(row) for row in results.rows],
        "difference_columns": DIFFERENCE_COLUMNS,
        "differences": [format_pair(pair) for pair in pairs],
        "majority": ", ".join(f"{name} {results.majority[one]}" for name, one in NAMES.items() if results.majority),
        "notes": notes,
        "figures": list(map(Markup, figures)),
        "done": done,
        "pairs": pairs,
    }


def format_row(row: ResultsRow) -> list[str]:
    scores = []
    for measure in MEASURES:
        deviation = f" ± {row.deviations[measure]:.3f}" if measure in row.deviations else ""
        scores.append(f"{row.measures[measure]}{deviation}" if row.measures else "not run")
    if row.bold:
        scores[MEASURES.index("ua")] = f"**{scores[MEASURES.index('ua')]}**"
    *first, last = row.row.cells
    loss = "" if row.validation_loss is None else f"{row.validation_loss:.3f}"
    return [*first, f"{last} (selected)" if row.selected else last, *scores, loss, str(row.seeds), str(len(row.folds))]


def format_pair(pair: ComparedRows) -> list[str]:
    effect, seeds = pair.comparison.effect, dict.fromkeys(pair.seeds)
    return [
        f"{pair.one.title} minus {pair.other.title}",
        *map(format_signed, pair.comparison.measures.values()),
        "" if effect is None else f"{effect:+.2f}",
        " and ".join(map(str, seeds)),
    ]


def format_signed(estimate: Estimate) -> str:
    interval = "" if estimate.interval is None else " [{:+.3f}, {:+.3f}]".format(*estimate.interval)
    return f"{estimate.value:+.3f}{interval}"


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; two stars around a cell become bold type."""
    if text.startswith("**"):
        return rf"\textbf{{{escape_latex(text[2:-2])}}}"
    return "".join(LATEX_ESCAPES.get(sign, sign) for sign in text)


def summarise_costs(ledger: pa.Table) -> list[dict[str, Any]]:
    """Summarise each system under each protocol: seeds, folds, time and memory of its last part, and command."""
    pooled = ledger.filter((pc.field("fold") == POOLED) & (pc.field("metric") == "ua") & pc.field("seconds").is_valid())
    highest, firsts = ("seconds", "peak_mebibytes"), ("folds", "command")
    columns = [("seed", "count_distinct"), *((name, "max") for name in highest), *((name, "first") for name in firsts)]
    groups = pooled.group_by(["system", "protocol"], use_threads=False).aggregate(columns)
    return groups.sort_by([("system", "ascending"), ("protocol", "ascending")]).to_pylist()
