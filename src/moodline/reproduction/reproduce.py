"""The paper's tables from one corpus: plan, work, ledger, tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from moodline.config import STAGE_NAMES, Recipe
from moodline.corpora.corpus import read_corpus
from moodline.errors import MoodlineError
from moodline.evaluation.elsewhere import refuse_taken
from moodline.files import read_json, write_json, write_text
from moodline.reproduction.checks import refuse_unfit, refuse_unheard, warnings_of, words_hash_now
from moodline.reproduction.filled import FilledTable, fill
from moodline.reproduction.ledger import experiments_in, ledger_of, refuse_other_corpus, write_ledger
from moodline.reproduction.plan import RUNS_FOLDER, Plan, Task, plan_of
from moodline.reproduction.probe import Probe
from moodline.reproduction.render import latex, markdown
from moodline.reproduction.report import REPORT_FILE, write_report
from moodline.reproduction.shown import write_shown
from moodline.reproduction.systems import longest_seconds
from moodline.reproduction.tables import MAKERS, Asked, Choices, Table, asked_for, tables_of
from moodline.reproduction.work import is_done, refuse_other_recipes, work_off, write_recipes
from moodline.training.lock import locked
from moodline.training.run import refuse_foreign
from moodline.training.sharing import finished_stages

# In DIR: the tables that were asked for so far, in any command, and the sizes of Table 1. It is written first.
ASKED_FILE = "asked.json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Args:
        tables: their keys
        protocols: Tables 3 and 4 are of each, the others of the first
        sizes: of the utterance embedding, in Table 1
        seeds: how many, from the recipe's on
        fold: the one fold that is trained of each protocol; None for all
        jobs: tasks at a time
    """

    tables: Sequence[str]
    protocols: Sequence[str]
    sizes: Sequence[int]
    seeds: int
    fold: str | None
    jobs: int


def reproduce(corpus_folder: Path, recipe: Recipe, out: Path, request: Request, console: Console, *, dry: bool) -> None:
    """Print the plan and, unless ``dry``, work it off and write the ledger and the tables.

    Raises:
        MoodlineError: the corpus or the recipe does not serve the tables, the folder is no ledger's or another
            corpus's, a task failed
    """
    refuse_taken(out, "a ledger's numbers")
    refuse_foreign(out, "ledger", ASKED_FILE)
    corpus = read_corpus(corpus_folder)
    refuse_other_corpus(out, corpus.table_hash)
    longest = longest_seconds(corpus)
    asked = asked_for(request.tables, request.protocols)
    tables = tables_of(asked, recipe, Choices(sizes=request.sizes, longest_seconds=longest))
    plan = plan_of(tables, corpus, request.seeds, request.fold, words_hash_now(corpus_folder))
    refuse_unfit(plan, corpus, out)
    refuse_unheard(tables, corpus_folder, corpus)
    refuse_other_recipes(plan, out)
    for sentence in warnings_of(plan):
        tell(console, f"Note: {sentence}.")
    show(plan, out, request.jobs, console)
    if dry:
        return
    with locked(out):
        asked, sizes = remember(out, asked, request.sizes)
        write_recipes(plan, out)
        failure: MoodlineError | None = None
        try:
            work_off(plan, corpus_folder.resolve(), out, request.jobs, lambda line: tell(console, line))
        except MoodlineError as error:
            failure = error  # what is done is worth its tables
        every = tables_of(asked, recipe, Choices(sizes=sizes, longest_seconds=longest))
        found = write_findings(out, every, words_hash_now(corpus_folder))
    tell(console, markdown(found))
    tell(console, f"report: {out / REPORT_FILE}")
    if failure is not None:
        raise failure


def write_findings(out: Path, tables: Sequence[Table], words_hash: str | None) -> list[FilledTable]:
    """The ledger and the tables of all that is done in a folder, with recognised words of this hash."""
    experiments = experiments_in(out / RUNS_FOLDER, words_hash)
    ledger = ledger_of(experiments)
    write_ledger(ledger, out)
    filled = [fill(table, experiments) for table in tables]
    write_text(out / "tables.md", markdown(filled))
    write_text(out / "tables.tex", latex(filled))
    write_shown(filled, out)
    write_report(filled, ledger, out)
    return filled


def remember(out: Path, asked: Sequence[Asked], sizes: Sequence[int]) -> tuple[list[Asked], list[int]]:
    """Add these to what was asked for before, and return all: a further command shows the earlier ones' tables too."""
    before = read_json(out / ASKED_FILE, "ledger") if (out / ASKED_FILE).is_file() else {"tables": [], "sizes": []}
    every = {Asked(*one) for one in before["tables"]} | {*asked}
    ordered = [Asked(key, protocol) for key in MAKERS for protocol in sorted({one.protocol for one in every})]
    tables, sizes = [one for one in ordered if one in every], sorted({*before["sizes"], *sizes})
    write_json(out / ASKED_FILE, {"tables": tables, "sizes": sizes})
    return tables, sizes


def show(plan: Plan, out: Path, jobs: int, console: Console) -> None:
    """The tasks, what each trains itself, and about how long: early stopping and scoring are not foreseen."""
    probe, finished, total = Probe(), finished_stages(out / RUNS_FOLDER), 0.0
    if not all(is_done(task, out) for task in plan.tasks):
        tell(console, "Some batches of each stage are timed first, for the plan.")
    for task in plan.tasks:
        if is_done(task, out):
            tell(console, f"{task.name}: done")
            continue
        own = [stage for stage in plan.own_stages(task) if task.origins[stage] not in finished]
        seconds = probe.seconds_of(task, own)
        total += seconds
        tell(console, f"{task.name}: {told(task, own)} ({minutes(seconds)})")
    beside = f", {jobs} at a time" if jobs > 1 else ""
    tell(console, f"{len(plan.tasks)} tasks: about {minutes(total / jobs)}{beside}, by a probe on this machine")


def told(task: Task, own: Sequence[str]) -> str:
    """What a task trains itself."""
    if not task.system.stages:
        return "the classical baselines, whose time is not measured before"
    stages = "; ".join(STAGE_NAMES[stage] for stage in own)
    return f"trains {stages or 'nothing, another task trains all of its stages'}"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def tell(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
