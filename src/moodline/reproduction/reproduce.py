"""The paper's tables from one corpus: plan, work, ledger, tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from moodline.config import STAGE_NAMES, Recipe
from moodline.corpora.corpus import read_corpus
from moodline.errors import MoodlineError
from moodline.files import write_text
from moodline.reproduction.filled import fill
from moodline.reproduction.ledger import experiments_in, ledger_of, refuse_other_corpus, write_ledger
from moodline.reproduction.plan import RUNS_FOLDER, Plan, plan_of
from moodline.reproduction.probe import Probe
from moodline.reproduction.render import latex, markdown
from moodline.reproduction.tables import tables_of
from moodline.reproduction.work import is_done, work_off, write_recipes
from moodline.training.run import locked
from moodline.training.sharing import finished_stages


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Args:
        tables: their numbers
        protocols: the first is that of Tables 1 and 2
        sizes: of the utterance embedding, in Table 1
        seeds: how many, from the recipe's on
        fold: the one fold that is trained of each protocol; None for all
        jobs: tasks at a time
    """

    tables: Sequence[int]
    protocols: Sequence[str]
    sizes: Sequence[int]
    seeds: int
    fold: str | None
    jobs: int


def reproduce(corpus_folder: Path, recipe: Recipe, out: Path, request: Request, console: Console, *, dry: bool) -> None:
    """Print the plan and, unless ``dry``, work it off and write the ledger and the tables.

    Raises:
        MoodlineError: the corpus or the recipe does not serve the tables, the folder is another corpus's, a task failed
    """
    corpus = read_corpus(corpus_folder)
    refuse_other_corpus(out, corpus.table_hash)
    tables = tables_of(request.tables, recipe, request.protocols, request.sizes)
    plan = plan_of(tables, corpus, request.seeds, request.fold)
    show(plan, out, request.jobs, console)
    if dry:
        return
    with locked(out):
        write_recipes(plan, out)
        failure: MoodlineError | None = None
        try:
            work_off(plan, corpus_folder.resolve(), out, request.jobs, lambda line: tell(console, line))
        except MoodlineError as error:
            failure = error  # what is done is worth its tables
        experiments = experiments_in(out / RUNS_FOLDER)
        write_ledger(ledger_of(experiments), out)
        filled = [fill(table, experiments) for table in tables]
        write_text(out / "tables.md", markdown(filled))
        write_text(out / "tables.tex", latex(filled))
    tell(console, markdown(filled))
    if failure is not None:
        raise failure


def show(plan: Plan, out: Path, jobs: int, console: Console) -> None:
    """The tasks, what each trains itself, and about how long: at most, as early stopping is not foreseen."""
    probe, finished, total = Probe(), finished_stages(out / RUNS_FOLDER), 0.0
    for task in plan.tasks:
        if is_done(task, out):
            tell(console, f"{task.name}: done")
            continue
        own = [stage for stage in plan.own_stages(task) if task.origins[stage] not in finished]
        seconds = probe.seconds_of(task, own)
        total += seconds
        trains = "; ".join(STAGE_NAMES[stage] for stage in own) or "nothing, all its stages are other tasks'"
        tell(console, f"{task.name}: trains {trains} ({minutes(seconds)})")
    beside = f", {jobs} at a time" if jobs > 1 else ""
    tell(console, f"{len(plan.tasks)} tasks: {minutes(total / jobs)} at most{beside}, by a probe on this machine")


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def tell(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
