"""Reproduce the paper's tables from one corpus: checks, plan, tasks, ledger, tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from moodline.config import STAGE_NAMES, Recipe
from moodline.conversation import find_label_set, refuse_misspelt
from moodline.corpora.asr_column import read_asr_column, read_asr_metadata
from moodline.corpora.corpus import Corpus, read_corpus
from moodline.corpora.storage import RECOGNISED
from moodline.device import AUTO, CPU, choose_device
from moodline.embeddings import collect_unique_ids
from moodline.errors import MoodlineError
from moodline.evaluation.cross_corpus import refuse_occupied
from moodline.evaluation.results import count_conversations
from moodline.evaluation.scores import MIN_CONVERSATIONS
from moodline.experiments.baselines import BASELINES
from moodline.experiments.ledger import build_ledger, find_experiments, refuse_other_corpus, write_ledger
from moodline.experiments.plan import RUNS_FOLDER, DurationProbe, ExperimentPlan, ExperimentTask, build_plan
from moodline.experiments.render import REPORT_FILE, render_latex, render_markdown, write_report
from moodline.experiments.results_table import ResultsTable, fill_table, write_tables
from moodline.experiments.runner import FEATURES_FOLDER, is_done, refuse_other_recipes, run_tasks, write_recipes
from moodline.experiments.systems import CLASSICAL_NAME, find_longest_seconds
from moodline.experiments.tables import (
    TABLE_BUILDERS,
    PaperTable,
    TableOptions,
    TableRequest,
    build_tables,
    select_tables,
)
from moodline.io import read_json, write_json, write_text
from moodline.training.dataset import refuse_unlabelled
from moodline.training.provenance import build_provenance, find_finished_stages
from moodline.training.run import lock_folder, refuse_foreign


def refuse_missing_asr(tables: Sequence[PaperTable], folder: Path, corpus: Corpus) -> None:
    """Refuse tables that read recognised words if the corpus has none.

    Raises:
        MoodlineError: recognised words are missing or incomplete
    """
    reading = [table for table in tables if any(RECOGNISED in (row.words, row.system.words) for row in table.rows)]
    if not reading:
        return
    try:
        read_asr_column(folder, corpus)
    except MoodlineError as error:
        others = ",".join(dict.fromkeys(table.key for table in tables if table not in reading))
        remedy = f"; or leave this table out with --tables {others}" if others else ""
        raise MoodlineError(f"{reading[0].name}: {error}{remedy}", code=error.code) from error


def refuse_unfit_plan(plan: ExperimentPlan, corpus: Corpus, out: Path) -> None:
    """Refuse a plan with a task that would fail.

    Raises:
        MoodlineError: the corpus has no labels or a duplicate utterance id, a fold's training set lacks a class or its
            validation set labels, or a baseline's package is not installed
    """
    labels = find_label_set(plan.tasks[0].system.recipe.label_set)
    refuse_unlabelled(corpus)
    refuse_misspelt(labels, corpus.label_counts)
    collect_unique_ids(corpus.conversations)
    for task in {(task.system.name, task.protocol, task.fold.name): task for task in plan.tasks}.values():
        build_provenance(task.system.recipe, labels, corpus, task.fold, {})
        task.fold.get_training_sets(labels, task.system.recipe.context)
    classical = next((task for task in plan.tasks if task.system.name == CLASSICAL_NAME), None)
    if classical is not None:
        for baseline in BASELINES.values():
            baseline.reader(classical.system.recipe, out / FEATURES_FOLDER, CPU)


def find_warnings(plan: ExperimentPlan) -> Iterator[str]:
    """Yield a sentence for each weakness of a plan's test sets."""
    tested: dict[str, set[str]] = {}
    first_tasks: dict[tuple[str, str], ExperimentTask] = {}
    for task in plan.tasks:
        first_tasks.setdefault((task.protocol, task.fold.name), task)
    for task in first_tasks.values():
        labels = find_label_set(task.system.recipe.label_set)
        found = count_conversations(task.fold.scored["test"], labels)
        tested.setdefault(task.fold.protocol, set()).update(one.id for one in task.fold.test)
        if missing := [name for name, count in found["classes"].items() if not count]:
            yield (
                f"{task.fold.protocol}, fold {task.fold.name}: the test set has no utterances of {', '.join(missing)}; "
                "its UA is over the other classes"
            )
    for protocol, conversations in tested.items():
        if len(conversations) == 1:
            yield f"{protocol}: the test sets have one conversation, which gives no interval"
        elif len(conversations) < MIN_CONVERSATIONS:
            yield (
                f"{protocol}: the test sets have {len(conversations)} conversations; intervals are unreliable with "
                f"fewer than {MIN_CONVERSATIONS}"
            )


# In the output folder, written first: the tables requested so far, by any command, and the sizes of Table 1.
REQUESTED_TABLES_FILE = "asked.json"


@dataclass(frozen=True, kw_only=True)
class ReproductionRequest:
    """The options of one command.

    Args:
        tables: keys of the tables
        protocols: protocols of Tables 3 and 4; the other tables use the first
        sizes: sizes of the utterance embedding in Table 1
        seeds: number of seeds, from the recipe's upwards
        fold: name of the one fold to train of each protocol; None for all
        jobs: number of tasks that run in parallel
        quote: let the reports of the runs quote the corpus's words
        device: name of the tasks' device, as in ``moodline.load``
    """

    tables: Sequence[str]
    protocols: Sequence[str]
    sizes: Sequence[int]
    seeds: int
    fold: str | None
    jobs: int
    quote: bool = True
    device: str = AUTO


def reproduce(
    corpus_folder: Path, recipe: Recipe, out: Path, request: ReproductionRequest, console: Console, *, dry: bool
) -> None:
    """Print the plan and, unless ``dry``, run it and write the ledger and the tables.

    Raises:
        MoodlineError: the corpus or the recipe does not fit the tables, the folder is not a ledger or has another
            corpus, or a task failed
    """
    device = choose_device(request.device)
    refuse_occupied(out, "a ledger")
    refuse_foreign(out, "ledger", REQUESTED_TABLES_FILE)
    corpus = read_corpus(corpus_folder)
    refuse_other_corpus(out, corpus.table_hash)
    longest = find_longest_seconds(corpus)
    requested = select_tables(request.tables, request.protocols)
    tables = build_tables(requested, recipe, TableOptions(sizes=request.sizes, longest_seconds=longest))
    recognition = read_asr_metadata(corpus_folder)
    words_hash = recognition.words_hash if recognition else None
    plan = build_plan(tables, corpus, request.seeds, request.fold, words_hash)
    refuse_unfit_plan(plan, corpus, out)
    refuse_missing_asr(tables, corpus_folder, corpus)
    refuse_other_recipes(plan, out)
    for sentence in find_warnings(plan):
        print_line(console, f"Note: {sentence}.")
    print_plan(plan, out, request.jobs, DurationProbe(device), console)
    if dry:
        return
    with lock_folder(out):
        requested, sizes = merge_requests(out, requested, request.sizes)
        write_recipes(plan, out)
        failure: MoodlineError | None = None
        try:
            report = partial(print_line, console)
            run_tasks(
                plan, corpus_folder.resolve(), out, request.jobs, report, quote=request.quote, device=request.device
            )
        except MoodlineError as error:
            failure = error  # raised after the tables of the finished tasks are written
        every = build_tables(requested, recipe, TableOptions(sizes=sizes, longest_seconds=longest))
        found = write_results(out, every, words_hash)
    print_line(console, render_markdown(found))
    print_line(console, f"report: {out / REPORT_FILE}")
    if failure is not None:
        raise failure


def write_results(out: Path, tables: Sequence[PaperTable], words_hash: str | None) -> list[ResultsTable]:
    """Write the ledger and the tables of all finished tasks of a folder, with recognised words of this hash."""
    experiments = find_experiments(out / RUNS_FOLDER, words_hash)
    ledger = build_ledger(experiments)
    write_ledger(ledger, out)
    filled = [fill_table(table, experiments) for table in tables]
    write_text(out / "tables.md", render_markdown(filled))
    write_text(out / "tables.tex", render_latex(filled))
    write_tables(filled, out)
    write_report(filled, ledger, out)
    return filled


def merge_requests(
    out: Path, requested: Sequence[TableRequest], sizes: Sequence[int]
) -> tuple[list[TableRequest], list[int]]:
    """Add tables and sizes to those of earlier commands, and return all."""
    file = out / REQUESTED_TABLES_FILE
    before = read_json(file, "ledger") if file.is_file() else {"tables": [], "sizes": []}
    every = {TableRequest(*one) for one in before["tables"]} | {*requested}
    ordered = [
        TableRequest(key, protocol) for key in TABLE_BUILDERS for protocol in sorted({one.protocol for one in every})
    ]
    tables, sizes = [one for one in ordered if one in every], sorted({*before["sizes"], *sizes})
    write_json(file, {"tables": tables, "sizes": sizes})
    return tables, sizes


def print_plan(plan: ExperimentPlan, out: Path, jobs: int, probe: DurationProbe, console: Console) -> None:
    """Print the tasks, the stages that each trains, and estimated durations without early stopping and scoring."""
    finished, total = find_finished_stages(out / RUNS_FOLDER), 0.0
    if not all(is_done(task, out) for task in plan.tasks):
        print_line(console, "Timing a few batches of each stage to estimate durations.")
    for task in plan.tasks:
        if is_done(task, out):
            print_line(console, f"{task.name}: done")
            continue
        own = [stage for stage in plan.list_own_stages(task) if task.origins[stage] not in finished]
        seconds = probe.estimate_seconds(task, own)
        total += seconds
        print_line(console, f"{task.name}: {describe_task(task, own)} ({format_minutes(seconds)})")
    parallel = f", {jobs} in parallel" if jobs > 1 else ""
    duration = format_minutes(total / jobs)
    print_line(console, f"{len(plan.tasks)} tasks: about {duration}{parallel}, estimated on this machine")


def describe_task(task: ExperimentTask, own: Sequence[str]) -> str:
    """Describe the stages that a task trains itself."""
    if not task.system.stages:
        return "the classical baselines, duration not estimated"
    stages = "; ".join(STAGE_NAMES[stage] for stage in own)
    return f"trains {stages or 'nothing: another task trains all of its stages'}"


def format_minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def print_line(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
