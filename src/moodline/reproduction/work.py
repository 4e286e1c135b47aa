"""Tasks at work: moodline's own commands, some side by side."""

import dataclasses
import shlex
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from moodline.config import Recipe
from moodline.corpora.recognition import RECOGNISED
from moodline.errors import MoodlineError
from moodline.files import read_json, write_json, write_text
from moodline.recipe import read_recipe, recipe_from
from moodline.reproduction.commands import ran
from moodline.reproduction.plan import RUNS_FOLDER, Plan, Task
from moodline.reproduction.systems import System
from moodline.training.run import read_run
from moodline.training.score_files import RESULTS_FILE, file_of

# In a task's run: its command, and what it took.
TASK_FILE = "task.json"
# In DIR: what the classical baselines read, computed once for all folds.
FEATURES_FOLDER = "features"

Told = Callable[[str], None]


def is_done(task: Task, out: Path) -> bool:
    """Whether a task is trained as it is planned now, and scored on all that is asked for."""
    folder = task.run_folder(out)
    if not (folder / TASK_FILE).is_file():
        return False
    try:
        done, facts = read_json(folder / TASK_FILE, "task"), task.facts
        if not {*facts.pop("tested")} <= {*done["tested"]}:
            return False
        if task.words_hash is None:
            del facts["words_hash"]
        if any(done[key] != value for key, value in facts.items()):
            return False
        if not task.system.stages:
            return True
        run = read_run(folder)
        return run.recipe == task.system.recipe and run.is_complete(task.fold.name)
    except (MoodlineError, KeyError):  # the task itself will say what is wrong, and keeps no other from its work
        return False


def work_off(plan: Plan, corpus: Path, out: Path, jobs: int, tell: Told) -> None:
    """Train and score all tasks that are not done, so many at a time; one that fails keeps no other from its work.

    Raises:
        MoodlineError: a task failed: of the first, what it said
    """
    left = [task for task in plan.tasks if not is_done(task, out)]
    unfinished, running, failed = {task.name for task in left}, dict[Future[None], Task](), dict[str, str]()
    with ThreadPoolExecutor(jobs) as pool:
        while left or running:
            ready = [task for task in left if not plan.awaits(task) & unfinished][: jobs - len(running)]
            for task in ready:
                left.remove(task)
                tell(f"{task.name}: begun ({len(left)} wait)")
                running[pool.submit(do, task, corpus, out, jobs)] = task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                unfinished.discard(task.name)
                try:
                    future.result()
                    tell(f"{task.name}: done")
                except (MoodlineError, OSError) as error:
                    failed[task.name] = str(error)
                    tell(f"{task.name}: failed: {error}")
    if failed:
        first = next(iter(failed))
        raise MoodlineError(f"{len(failed)} of {len(plan.tasks)} tasks failed, {first} first: {failed[first]}")


def do(task: Task, corpus: Path, out: Path, jobs: int) -> None:
    """Train what no other task has trained, and score it."""
    folder = task.run_folder(out)
    (folder / TASK_FILE).unlink(missing_ok=True)
    log = out / "logs" / f"{task.name}.txt"
    commands = commands_of(task, corpus, out)
    costs = [ran(command, log, jobs) for command in commands]
    refuse_changed(task, folder)
    write_json(
        folder / TASK_FILE,
        {
            **task.facts,
            "command": shlex.join(map(str, ["moodline", *commands[0]])),
            "seconds": round(sum(cost.seconds for cost in costs), 1),
            "peak_mebibytes": max((cost.peak_mebibytes for cost in costs if cost.peak_mebibytes), default=None),
        },
    )


def refuse_changed(task: Task, folder: Path) -> None:
    """Refuse scores of another corpus, or of other recognised words, than the plan is of.

    Raises:
        MoodlineError: the corpus has changed meanwhile
    """
    for words in task.tested:
        found = read_json(file_of(RESULTS_FILE, folder, words, task.system.words), "run's scores")
        recognition = found["words"]["recognition"]
        hashes = (found["corpus"]["table_hash"], recognition and recognition["words_hash"])
        if hashes != (task.corpus_hash, task.words_hash if words == RECOGNISED else None):
            raise MoodlineError(
                f"{task.name}: the corpus, or its recognised words, changed while this ran; give the same command again"
            )


def commands_of(task: Task, corpus: Path, out: Path) -> list[list[object]]:
    """What trains a task, and what scores it on each kind of words."""
    folder, system = task.run_folder(out), task.system
    of_fold = ["--recipe", recipe_file(system, out), "--protocol", task.protocol, "--fold", task.fold.name]
    if not system.stages:
        return [["baselines", corpus, *of_fold, "--features", out / FEATURES_FOLDER, "-o", folder]]
    train = ["train", corpus, *of_fold, "--seed", task.seed, "--words", system.words]
    train += ["--reuse", out / RUNS_FOLDER, "-o", folder]
    return [train, *(["evaluate", folder, "--words", words] for words in task.tested)]


def recipe_file(system: System, out: Path) -> Path:
    return out / "recipes" / f"{system.name}.yaml"


def recipes_of(plan: Plan, out: Path) -> dict[Path, Recipe]:
    """Every system's recipe, by the file where the tasks' commands read it."""
    # The first task of a system is of the base's own seed; the others' is given by their commands.
    systems = {task.system.name: task.system for task in reversed(plan.tasks)}
    return {recipe_file(system, out): system.recipe for system in systems.values()}


def refuse_other_recipes(plan: Plan, out: Path) -> None:
    """Refuse to go on in a folder whose ledger is of another recipe.

    Raises:
        MoodlineError: the folder has numbers of a system of that name and of another recipe
    """
    for path, recipe in recipes_of(plan, out).items():
        # As recipes, not as texts: that of a former moodline lacks the keys that came since.
        if path.exists() and recipe_from(read_recipe(str(path))[0], str(path)) != recipe:
            raise MoodlineError(
                f"a ledger is of one recipe, and {path} is of another than is asked for: choose another -o"
            )


def write_recipes(plan: Plan, out: Path) -> None:
    """Write every system's recipe, whole."""
    import yaml

    for path, recipe in recipes_of(plan, out).items():
        write_text(path, yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False))
