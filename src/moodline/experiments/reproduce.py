"""The paper's tables from one corpus: checks, plan, work, ledger, tables."""

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
    """Refuse tables that read recognised words of a corpus that has none.

    Raises:
        MoodlineError: there are none, or they are not whole
    """
    reading = [table for table in tables if any(RECOGNISED in (row.words, row.system.words) for row in table.rows)]
    if not reading:
        return
    try:
        read_asr_column(folder, corpus)
    except MoodlineError as error:
        others = ",".join(dict.fromkeys(table.key for table in tables if table not in reading))
        how = f"; or leave it out with --tables {others}" if others else ""
        raise MoodlineError(f"{reading[0].name}: {error}{how}") from error


def read_words_hash(folder: Path) -> str | None:
    """Of the corpus's recognised words; None where it has none, or not all."""
    recognition = read_asr_metadata(folder)
    return recognition.words_hash if recognition else None


def refuse_unfit_plan(plan: ExperimentPlan, corpus: Corpus, out: Path) -> None:
    """Refuse a plan of which a task could not be done.

    Raises:
        MoodlineError: the corpus has no labels, an utterance id is there twice, a fold's training set lacks a class or
            its validation set labels, or what a baseline needs is not installed
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
    """What makes some of a plan's numbers weak, a sentence each."""
    tested: dict[str, set[str]] = {}
    for task in select_first_tasks(plan):
        labels = find_label_set(task.system.recipe.label_set)
        found = count_conversations(task.fold.scored["test"], labels)
        tested.setdefault(task.fold.protocol, set()).update(one.id for one in task.fold.test)
        if missing := [name for name, count in found["classes"].items() if not count]:
            yield (
                f"{task.fold.protocol}, fold {task.fold.name}: its test set has none of {', '.join(missing)}, so that "
                "its UA is over the other classes"
            )
    for protocol, conversations in tested.items():
        if len(conversations) == 1:
            yield f"{protocol}: its test sets have one conversation, over which there is no interval"
        elif len(conversations) < MIN_CONVERSATIONS:
            yield (
                f"{protocol}: its test sets have {len(conversations)} conversations; intervals over fewer than "
                f"{MIN_CONVERSATIONS} are rough and too narrow"
            )


def select_first_tasks(plan: ExperimentPlan) -> list[ExperimentTask]:
    """The first task on each fold, which has the most parts."""
    found: dict[tuple[str, str], ExperimentTask] = {}
    for task in plan.tasks:
        found.setdefault((task.protocol, task.fold.name), task)
    return list(found.values())


# In DIR: the tables that were asked for so far, in any command, and the sizes of Table 1. It is written first.
REQUESTED_TABLES_FILE = "asked.json"


@dataclass(frozen=True, kw_only=True)
class ReproductionRequest:
    """What is asked for.

    Args:
        tables: their keys
        protocols: Tables 3 and 4 are of each, the others of the first
        sizes: of the utterance embedding, in Table 1
        seeds: how many, from the recipe's on
        fold: the one fold that is trained of each protocol; None for all
        jobs: tasks at a time
        quote: let the reports of the runs quote the corpus's words
        device: that the tasks run on, by its name: see ``moodline.load``
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
    """Print the plan and, unless ``dry``, work it off and write the ledger and the tables.

    Raises:
        MoodlineError: the corpus or the recipe does not serve the tables, the folder is no ledger's or another
            corpus's, a task failed
    """
    device = choose_device(request.device)
    refuse_occupied(out, "a ledger's numbers")
    refuse_foreign(out, "ledger", REQUESTED_TABLES_FILE)
    corpus = read_corpus(corpus_folder)
    refuse_other_corpus(out, corpus.table_hash)
    longest = find_longest_seconds(corpus)
    asked = select_tables(request.tables, request.protocols)
    tables = build_tables(asked, recipe, TableOptions(sizes=request.sizes, longest_seconds=longest))
    plan = build_plan(tables, corpus, request.seeds, request.fold, read_words_hash(corpus_folder))
    refuse_unfit_plan(plan, corpus, out)
    refuse_missing_asr(tables, corpus_folder, corpus)
    refuse_other_recipes(plan, out)
    for sentence in find_warnings(plan):
        print_line(console, f"Note: {sentence}.")
    print_plan(plan, out, request.jobs, DurationProbe(device), console)
    if dry:
        return
    with lock_folder(out):
        asked, sizes = merge_requests(out, asked, request.sizes)
        write_recipes(plan, out)
        failure: MoodlineError | None = None
        try:
            said = partial(print_line, console)
            run_tasks(
                plan, corpus_folder.resolve(), out, request.jobs, said, quote=request.quote, device=request.device
            )
        except MoodlineError as error:
            failure = error  # what is done is worth its tables
        every = build_tables(asked, recipe, TableOptions(sizes=sizes, longest_seconds=longest))
        found = write_findings(out, every, read_words_hash(corpus_folder))
    print_line(console, render_markdown(found))
    print_line(console, f"report: {out / REPORT_FILE}")
    if failure is not None:
        raise failure


def write_findings(out: Path, tables: Sequence[PaperTable], words_hash: str | None) -> list[ResultsTable]:
    """The ledger and the tables of all that is done in a folder, with recognised words of this hash."""
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
    out: Path, asked: Sequence[TableRequest], sizes: Sequence[int]
) -> tuple[list[TableRequest], list[int]]:
    """Add these to what was asked for before, and return all: a further command shows the earlier ones' tables too."""
    before = (
        read_json(out / REQUESTED_TABLES_FILE, "ledger")
        if (out / REQUESTED_TABLES_FILE).is_file()
        else {"tables": [], "sizes": []}
    )
    every = {TableRequest(*one) for one in before["tables"]} | {*asked}
    ordered = [
        TableRequest(key, protocol) for key in TABLE_BUILDERS for protocol in sorted({one.protocol for one in every})
    ]
    tables, sizes = [one for one in ordered if one in every], sorted({*before["sizes"], *sizes})
    write_json(out / REQUESTED_TABLES_FILE, {"tables": tables, "sizes": sizes})
    return tables, sizes


def print_plan(plan: ExperimentPlan, out: Path, jobs: int, probe: DurationProbe, console: Console) -> None:
    """The tasks, what each trains itself, and about how long: early stopping and scoring are not foreseen."""
    finished, total = find_finished_stages(out / RUNS_FOLDER), 0.0
    if not all(is_done(task, out) for task in plan.tasks):
        print_line(console, "Some batches of each stage are timed first, for the plan.")
    for task in plan.tasks:
        if is_done(task, out):
            print_line(console, f"{task.name}: done")
            continue
        own = [stage for stage in plan.list_own_stages(task) if task.origins[stage] not in finished]
        seconds = probe.estimate_seconds(task, own)
        total += seconds
        print_line(console, f"{task.name}: {describe_task(task, own)} ({format_minutes(seconds)})")
    beside = f", {jobs} at a time" if jobs > 1 else ""
    print_line(
        console, f"{len(plan.tasks)} tasks: about {format_minutes(total / jobs)}{beside}, by a probe on this machine"
    )


def describe_task(task: ExperimentTask, own: Sequence[str]) -> str:
    """What a task trains itself."""
    if not task.system.stages:
        return "the classical baselines, whose time is not measured before"
    stages = "; ".join(STAGE_NAMES[stage] for stage in own)
    return f"trains {stages or 'nothing, another task trains all of its stages'}"


def format_minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def print_line(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
