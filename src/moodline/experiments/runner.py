"""Tasks at work: moodline's own commands in processes, some side by side."""

import dataclasses
import multiprocessing
import os
import runpy
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from moodline.config import Recipe, parse_recipe, read_recipe
from moodline.corpora.storage import RECOGNISED
from moodline.device import AUTO
from moodline.errors import MoodlineError, shown
from moodline.experiments.plan import RUNS_FOLDER, ExperimentPlan, ExperimentTask
from moodline.experiments.systems import System
from moodline.io import read_json, write_json, write_text
from moodline.runtime import end_with_parent
from moodline.training.fold_training import measure_peak_mebibytes
from moodline.training.run import RESULTS_FILE, get_file, read_run

# Loaded once, in the process that the commands' processes are forked from: a task has two or three commands, and
# loading takes longer than many a stage trains.
PRELOADED_MODULES = ["moodline.training.run", "moodline.evaluation.evaluate"]
# A process that starts asks the others for their status, which can be read once: two threads at a time would lose it.
STATUS_LOCK = threading.Lock()
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class CommandCost(NamedTuple):
    """What a command took: seconds by the clock, and the most memory that its process held, where the system tells."""

    seconds: float
    peak_mebibytes: int | None


def run_command(arguments: Sequence[object], log: Path, jobs: int) -> CommandCost:
    """Run one of moodline's commands with its share of the cores.

    Args:
        log: takes what it says
        jobs: how many run at a time

    Raises:
        MoodlineError: what the command said, where it failed
    """
    context: Any = multiprocessing.get_context(START_METHOD)
    if START_METHOD == "forkserver":
        context.set_forkserver_preload(PRELOADED_MODULES)
    log.parent.mkdir(parents=True, exist_ok=True)
    before = log.stat().st_size if log.exists() else 0
    started = time.monotonic()
    receiver, sender = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    process = context.Process(target=run_in_process, args=([*map(str, arguments)], str(log), threads, sender))
    with STATUS_LOCK:
        process.start()
    sender.close()
    connection.wait([process.sentinel])
    with STATUS_LOCK:
        process.join()
    if process.exitcode:
        raise MoodlineError(f"{find_failure_reason(process.exitcode, log, before)} (all that it said: {log})")
    return CommandCost(time.monotonic() - started, receiver.recv())


def find_failure_reason(status: int, log: Path, before: int) -> str:
    """Why a command failed: what it said last, after what the log had before, or that it was ended from outside."""
    if status < 0:
        return f"moodline was ended from outside by signal {-status}, for its memory perhaps"
    said = log.read_bytes()[before:].decode(errors="replace").strip().splitlines() if log.exists() else []
    return said[-1].removeprefix("moodline: ") if said else f"moodline ended with status {status}"


def run_in_process(arguments: list[str], log: str, threads: int, cost: Connection) -> None:
    """What the process does: the command as from a terminal, its output appended to a file."""
    import torch

    end_with_parent()
    with open(log, "a", encoding="utf-8") as output:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(output.fileno(), stream.fileno())
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    sys.argv = ["moodline", *arguments]
    # As python -m moodline does, which what the command starts itself can do again; a module that is loaded in this
    # process already, as cli.main may be, would run with a warning.
    runpy.run_module("moodline", run_name="__main__", alter_sys=True)
    cost.send(measure_peak_mebibytes())


# In a task's run: its command, and what it took.
TASK_FILE = "task.json"
# In DIR: what the classical baselines read, computed once for all folds.
FEATURES_FOLDER = "features"

ReportCallback = Callable[[str], None]


def is_done(task: ExperimentTask, out: Path) -> bool:
    """Whether a task is trained as it is planned now, and scored on all that is asked for."""
    folder = task.get_run_folder(out)
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


def run_tasks(
    plan: ExperimentPlan,
    corpus: Path,
    out: Path,
    jobs: int,
    tell: ReportCallback,
    *,
    quote: bool = True,
    device: str = AUTO,
) -> None:
    """Train and score all tasks that are not done, so many at a time; one that fails keeps no other from its work.

    Raises:
        MoodlineError: a task failed: of the first, what it said
    """
    left = [task for task in plan.tasks if not is_done(task, out)]
    unfinished, running, failed = {task.name for task in left}, dict[Future[None], ExperimentTask](), dict[str, str]()
    with ThreadPoolExecutor(jobs) as pool:
        while left or running:
            ready = [task for task in left if not plan.find_dependencies(task) & unfinished][: jobs - len(running)]
            for task in ready:
                left.remove(task)
                tell(f"{task.name}: begun ({len(left)} wait)")
                running[pool.submit(run_task, task, corpus, out, jobs, quote=quote, device=device)] = task
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


def run_task(task: ExperimentTask, corpus: Path, out: Path, jobs: int, *, quote: bool, device: str) -> None:
    """Train what no other task has trained, and score it."""
    folder = task.get_run_folder(out)
    (folder / TASK_FILE).unlink(missing_ok=True)
    log = out / "logs" / f"{task.name}.txt"
    named = [] if device == AUTO else ["--device", device]
    commands = [[*command, *named] for command in build_commands(task, corpus, out, quote=quote)]
    costs = [run_command(command, log, jobs) for command in commands]
    refuse_changed_scores(task, folder)
    write_json(
        folder / TASK_FILE,
        {
            **task.facts,
            "command": shown_command(shlex.join(map(str, ["moodline", *commands[0]]))),
            "seconds": round(sum(cost.seconds for cost in costs), 1),
            "peak_mebibytes": max((cost.peak_mebibytes for cost in costs if cost.peak_mebibytes), default=None),
        },
    )


def refuse_changed_scores(task: ExperimentTask, folder: Path) -> None:
    """Refuse scores of another corpus, or of other recognised words, than the plan is of.

    Raises:
        MoodlineError: the corpus has changed meanwhile
    """
    for words in task.test_words:
        found = read_json(get_file(RESULTS_FILE, folder, words, task.system.words), "run's scores")
        recognition = found["words"]["recognition"]
        hashes = (found["corpus"]["table_hash"], recognition and recognition["words_hash"])
        if hashes != (task.corpus_hash, task.words_hash if words == RECOGNISED else None):
            raise MoodlineError(
                f"{task.name}: the corpus, or its recognised words, changed while this ran; give the same command again"
            )


def shown_command(command: str) -> str:
    """A command as a ledger may show it to others: paths from the working folder, or names alone."""
    return shlex.join(shown(one) if Path(one).is_absolute() else one for one in shlex.split(command))


def build_commands(task: ExperimentTask, corpus: Path, out: Path, *, quote: bool = True) -> list[list[object]]:
    """What trains a task, and what scores it on each kind of words."""
    folder, system = task.get_run_folder(out), task.system
    of_fold = ["--recipe", get_recipe_file(system, out), "--protocol", task.protocol, "--fold", task.fold.name]
    if not system.stages:
        return [["baselines", corpus, *of_fold, "--features", out / FEATURES_FOLDER, "-o", folder]]
    train = ["train", corpus, *of_fold, "--seed", task.seed, "--words", system.words]
    train += ["--reuse", out / RUNS_FOLDER, "-o", folder]
    hidden = [] if quote else ["--no-words"]
    return [train, *(["evaluate", folder, "--words", words, *hidden] for words in task.test_words)]


def get_recipe_file(system: System, out: Path) -> Path:
    return out / "recipes" / f"{system.name}.yaml"


def collect_recipes(plan: ExperimentPlan, out: Path) -> dict[Path, Recipe]:
    """Every system's recipe, by the file where the tasks' commands read it."""
    # The first task of a system is of the base's own seed; the others' is given by their commands.
    systems = {task.system.name: task.system for task in reversed(plan.tasks)}
    return {get_recipe_file(system, out): system.recipe for system in systems.values()}


def refuse_other_recipes(plan: ExperimentPlan, out: Path) -> None:
    """Refuse to go on in a folder whose ledger is of another recipe.

    Raises:
        MoodlineError: the folder has numbers of a system of that name and of another recipe
    """
    for path, recipe in collect_recipes(plan, out).items():
        # As recipes, not as texts: that of a former moodline lacks the keys that came since.
        if path.exists() and parse_recipe(read_recipe(str(path))[0], str(path)) != recipe:
            raise MoodlineError(
                f"a ledger is of one recipe, and {path} is of another than is asked for: choose another -o"
            )


def write_recipes(plan: ExperimentPlan, out: Path) -> None:
    """Write every system's recipe, whole."""
    import yaml

    for path, recipe in collect_recipes(plan, out).items():
        write_text(path, yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False))
