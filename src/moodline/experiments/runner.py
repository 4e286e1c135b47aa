"""Run tasks as moodline's own commands in processes, several in parallel."""

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

import yaml

from moodline.config import Recipe, parse_recipe, read_recipe
from moodline.console import format_path
from moodline.corpora.storage import RECOGNISED
from moodline.device import AUTO
from moodline.errors import MoodlineError
from moodline.experiments.plan import RUNS_FOLDER, ExperimentPlan, ExperimentTask
from moodline.experiments.systems import System
from moodline.io import read_json, write_json, write_text
from moodline.runtime import end_with_parent
from moodline.training.fold_training import measure_peak_mebibytes
from moodline.training.run import RESULTS_FILE, get_file, read_run

# Imported once by the fork server: a task runs two or three commands, and the imports of each take several seconds.
PRELOADED_MODULES = ["moodline.training.run", "moodline.evaluation.evaluate"]
# Starting a process polls the exit status of all others, which can be read only once: threads must take turns.
STATUS_LOCK = threading.Lock()
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class CommandCost(NamedTuple):
    """Wall-clock seconds of a command, and the peak memory of its process if the system reports it."""

    seconds: float
    peak_mebibytes: int | None


def run_command(arguments: Sequence[object], log: Path, jobs: int) -> CommandCost:
    """Run one of moodline's commands with its share of the cores.

    Args:
        log: file to which the output is appended
        jobs: number of commands that run in parallel

    Raises:
        MoodlineError: the command failed; the error repeats its last line of output
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
        reason = find_failure_reason(process.exitcode, log, before)
        raise MoodlineError(f"{reason} (full output: {log})", code="experiment.task_failed")
    return CommandCost(time.monotonic() - started, receiver.recv())


def find_failure_reason(status: int, log: Path, before: int) -> str:
    """Return the last line that a failed command logged after byte ``before``, or the signal that ended it."""
    if status < 0:
        return f"moodline was killed by signal {-status}, possibly for lack of memory"
    lines = log.read_bytes()[before:].decode(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].removeprefix("moodline: ") if lines else f"moodline ended with status {status}"


def run_in_process(arguments: list[str], log: str, threads: int, cost: Connection) -> None:
    """Run the command in this process as from a terminal, with its output appended to a file."""
    import torch

    end_with_parent()
    with open(log, "a", encoding="utf-8") as output:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(output.fileno(), stream.fileno())
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    sys.argv = ["moodline", *arguments]
    # As python -m moodline, so that processes of the command's own can import the main module again.
    runpy.run_module("moodline", run_name="__main__", alter_sys=True)
    cost.send(measure_peak_mebibytes())


# In a task's run folder: its command and cost.
TASK_FILE = "task.json"
# In the output folder: features of the classical baselines, computed once for all folds.
FEATURES_FOLDER = "features"

ReportCallback = Callable[[str], None]


def is_done(task: ExperimentTask, out: Path) -> bool:
    """Return whether a task is trained as planned now, and scored on all requested kinds of words."""
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
    except (MoodlineError, KeyError):  # running the task reports the fault without stopping other tasks
        return False


def run_tasks(
    plan: ExperimentPlan,
    corpus: Path,
    out: Path,
    jobs: int,
    report: ReportCallback,
    *,
    quote: bool = True,
    device: str = AUTO,
) -> None:
    """Train and score all unfinished tasks, ``jobs`` in parallel; the others continue when one fails.

    Raises:
        MoodlineError: a task failed; the error repeats that of the first
    """
    left = [task for task in plan.tasks if not is_done(task, out)]
    unfinished, running, failed = {task.name for task in left}, dict[Future[None], ExperimentTask](), dict[str, str]()
    with ThreadPoolExecutor(jobs) as pool:
        while left or running:
            ready = [task for task in left if not plan.find_dependencies(task) & unfinished][: jobs - len(running)]
            for task in ready:
                left.remove(task)
                report(f"{task.name}: started ({len(left)} waiting)")
                running[pool.submit(run_task, task, corpus, out, jobs, quote=quote, device=device)] = task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                unfinished.discard(task.name)
                try:
                    future.result()
                    report(f"{task.name}: done")
                except (MoodlineError, OSError) as error:
                    failed[task.name] = str(error)
                    report(f"{task.name}: failed: {error}")
    if failed:
        first = next(iter(failed))
        raise MoodlineError(
            f"{len(failed)} of {len(plan.tasks)} tasks failed, {first} first: {failed[first]}",
            code="experiment.task_failed",
        )


def run_task(task: ExperimentTask, corpus: Path, out: Path, jobs: int, *, quote: bool, device: str) -> None:
    """Train the stages that no other task has trained, and score the task."""
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
            "command": hide_folders(shlex.join(map(str, ["moodline", *commands[0]]))),
            "seconds": round(sum(cost.seconds for cost in costs), 1),
            "peak_mebibytes": max((cost.peak_mebibytes for cost in costs if cost.peak_mebibytes), default=None),
        },
    )


def refuse_changed_scores(task: ExperimentTask, folder: Path) -> None:
    """Refuse scores of another corpus or other recognised words than those of the plan.

    Raises:
        MoodlineError: the corpus changed while the task ran
    """
    for words in task.test_words:
        found = read_json(get_file(RESULTS_FILE, folder, words, task.system.words), "run's scores")
        recognition = found["words"]["recognition"]
        hashes = (found["corpus"]["table_hash"], recognition and recognition["words_hash"])
        if hashes != (task.corpus_hash, task.words_hash if words == RECOGNISED else None):
            raise MoodlineError(
                f"the corpus or its recognised words changed while {task.name} ran; run the same command again",
                code="experiment.corpus_changed",
            )


def hide_folders(command: str) -> str:
    """Replace absolute paths in a command by paths from the working folder, or by names alone."""
    return shlex.join(format_path(one) if Path(one).is_absolute() else one for one in shlex.split(command))


def build_commands(task: ExperimentTask, corpus: Path, out: Path, *, quote: bool = True) -> list[list[object]]:
    """Build the commands that train a task and score it on each kind of words."""
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
    """Return every system's recipe, by the file from which the tasks' commands read it."""
    # The first task of a system has the base's own seed; the commands of the others pass --seed.
    systems = {task.system.name: task.system for task in reversed(plan.tasks)}
    return {get_recipe_file(system, out): system.recipe for system in systems.values()}


def refuse_other_recipes(plan: ExperimentPlan, out: Path) -> None:
    """Refuse an output folder whose ledger has another recipe.

    Raises:
        MoodlineError: the folder has a system of the same name with another recipe
    """
    for path, recipe in collect_recipes(plan, out).items():
        # Compared as recipes rather than texts: a recipe of an older moodline lacks newer keys.
        if path.exists() and parse_recipe(read_recipe(str(path))[0], str(path)) != recipe:
            raise MoodlineError(
                f"the ledger has another recipe: {path} differs from the requested one; choose another -o",
                code="experiment.other_recipe",
            )


def write_recipes(plan: ExperimentPlan, out: Path) -> None:
    """Write every system's recipe with all of its keys."""
    for path, recipe in collect_recipes(plan, out).items():
        write_text(path, yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False))
