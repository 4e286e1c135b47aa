"""The tasks of the tables: a plan in which every stage is trained once, and its execution."""

import multiprocessing
import os
import runpy
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from moodline.config import Recipe
from moodline.console import format_path
from moodline.conversation import find_label_set
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold, build_folds, choose_fold
from moodline.corpora.storage import RECOGNISED
from moodline.device import AUTO, FULL_PRECISION, Precision
from moodline.errors import MoodlineError
from moodline.experiments.paper_tables import CLASSICAL_NAME, PaperTable, System
from moodline.io import read_json, write_json
from moodline.modeling import pretrained_files
from moodline.recipe import parse_recipe, read_recipe
from moodline.runtime import end_with_parent, measure_peak_mebibytes
from moodline.training.provenance import compute_origins, fingerprint_encoders, hash_origin
from moodline.training.run import RESULTS_FILE, get_file, read_run
from moodline.training.trainer import Hardware

# In the output folder: the tasks' runs, and features of the classical baselines, computed once for all folds.
RUNS_FOLDER = "runs"
FEATURES_FOLDER = "features"
RECIPE_FILE = "recipes/{}.yaml"
TASK_FILE = "task.json"  # in a task's run folder: its command and cost
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


@dataclass(frozen=True)
class ExperimentTask:
    """One fold of one system with one seed, in a run of its own, so that tasks do not lock each other's folders."""

    system: System
    fold: Fold
    facts: Mapping[str, Any]  # what its scores depend on, for task.json
    origins: Mapping[str, str]  # hash of the inputs of each stage
    owners: Mapping[str, str] = field(default_factory=dict)  # name of the task that trains each stage for all

    @property
    def name(self) -> str:
        # A run has one kind of words: another set of recognised words has its own runs.
        words = f"-words{self.facts['words_hash']}" if self.system.words == RECOGNISED else ""
        return f"{self.system.name}/{self.fold.protocol}-seed{self.system.recipe.seed}-fold{self.fold.name}{words}"


def build_plan(
    tables: Sequence[PaperTable], corpus: Corpus, seeds: int, fold: str | None = None, words_hash: str | None = None
) -> list[ExperimentTask]:
    """Plan the tasks of some tables, or of one fold, in starting order: the first that needs a stage trains it."""
    tested: dict[tuple[System, str], set[str]] = {}
    for table in tables:
        for row in table.rows:
            # Includes the training words: results.json has the scores on those.
            tested.setdefault((row.system, table.protocol), {row.system.words}).add(row.words)
    folds = {protocol: build_tested_folds(corpus, protocol) for protocol in {table.protocol: None for table in tables}}
    fingerprint = cache(pretrained_files.fingerprint_model)  # hundreds of tasks share the same files
    tasks: list[ExperimentTask] = []
    for (system, protocol), words in tested.items():
        encoder_files = fingerprint_encoders(system.recipe, fingerprint)
        recognised = words_hash if system.words == RECOGNISED else None
        for number in range(1 if system.name == CLASSICAL_NAME else seeds):  # the classical baselines have no seed
            recipe = replace(system.recipe, seed=system.recipe.seed + number)
            labels, precision = find_label_set(recipe.label_set), Hardware().precision
            for one in choose_fold(folds[protocol], fold):
                origins = compute_origins(
                    recipe, labels, corpus.table_hash, one.training_hash, {}, encoder_files, precision, recognised
                )
                facts = {
                    "system": system.name,
                    "protocol": protocol,
                    "fold": one.name,
                    "fold_hash": one.hash,
                    "folds": len(folds[protocol]),
                    "seed": recipe.seed,
                    "corpus_hash": corpus.table_hash,
                    "made_from": hash_origin(origins),
                    "tested": sorted(words),
                    "words_hash": words_hash if RECOGNISED in words else None,
                }
                hashes = {stage: hash_origin(origins[stage]) for stage in system.stages}
                tasks.append(ExperimentTask(replace(system, recipe=recipe), one, facts, hashes))
    # Systems with more stages first: they train the stages that the others reuse.
    tasks.sort(key=lambda task: (task.system.recipe.seed, -len(task.origins)))
    owners = {origin: task.name for task in reversed(tasks) for origin in task.origins.values()}
    return [replace(task, owners={stage: owners[origin] for stage, origin in task.origins.items()}) for task in tasks]


def build_tested_folds(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """Build all folds of a protocol, each with a test set; errors name the option, which may have its default."""
    try:
        folds = build_folds(corpus, protocol)
    except MoodlineError as error:
        raise MoodlineError(f"{error} (option: --protocols, such as --protocols kfold5)", code=error.code) from error
    if not all(one.test for one in folds):
        raise MoodlineError(
            f"protocol {protocol} has no test set, and the tables score test sets; choose others, such as "
            "--protocols kfold5",
            code="experiment.no_test_set",
        )
    return folds


def is_done(task: ExperimentTask, out: Path) -> bool:
    """Return whether a task is trained as planned now, and scored on all requested kinds of words."""
    folder = out / RUNS_FOLDER / task.name
    facts = {key: value for key, value in task.facts.items() if key != "tested"}
    if facts["words_hash"] is None:
        del facts["words_hash"]
    try:
        done = read_json(folder / TASK_FILE, "task")
        if not {*task.facts["tested"]} <= {*done["tested"]} or any(done[key] != facts[key] for key in facts):
            return False
        run = read_run(folder) if task.system.stages else None
        return run is None or (run.recipe == task.system.recipe and run.is_complete(task.fold.name))
    except (MoodlineError, KeyError):  # not begun; or running it reports the fault without stopping other tasks
        return False


def run_tasks(
    plan: Sequence[ExperimentTask], out: Path, jobs: int, report: Callable[[str], None], **options: Any
) -> None:
    """Train and score all unfinished tasks, ``jobs`` in parallel; the others continue when one fails."""
    left = [task for task in plan if not is_done(task, out)]
    unfinished, running, failed = {task.name for task in left}, dict[Future[None], ExperimentTask](), dict[str, str]()
    with ThreadPoolExecutor(jobs) as pool:
        while left or running:
            ready = [task for task in left if {*task.owners.values()} & unfinished <= {task.name}][
                : jobs - len(running)
            ]
            for task in ready:
                left.remove(task)
                report(f"{task.name}: started ({len(left)} waiting)")
                running[pool.submit(run_task, task, out, jobs, **options)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
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
            f"{len(failed)} of {len(plan)} tasks failed, {first} first: {failed[first]}",
            code="experiment.task_failed",
        )


def run_task(task: ExperimentTask, out: Path, jobs: int, *, corpus: Path, **options: Any) -> None:
    """Train the stages that no other task has trained, and score the task; ``options``: see ``build_commands``."""
    folder, started = out / RUNS_FOLDER / task.name, time.monotonic()
    (folder / TASK_FILE).unlink(missing_ok=True)
    commands = build_commands(task, corpus, out, **options)
    peak = run_commands(commands, out / "logs" / f"{task.name}.txt", jobs)
    for words in task.facts["tested"]:
        found = read_json(get_file(RESULTS_FILE, folder, words, task.system.words), "run's scores")
        recognition = found["words"]["recognition"]
        hashes = (found["corpus"]["table_hash"], recognition and recognition["words_hash"])
        if hashes != (task.facts["corpus_hash"], task.facts["words_hash"] if words == RECOGNISED else None):
            raise MoodlineError(
                f"the corpus or its recognised words changed while {task.name} ran; run the same command again",
                code="experiment.corpus_changed",
            )
    command, seconds = hide_folders(shlex.join(["moodline", *commands[0]])), round(time.monotonic() - started, 1)
    write_json(folder / TASK_FILE, {**task.facts, "command": command, "seconds": seconds, "peak_mebibytes": peak})


def build_commands(
    task: ExperimentTask, corpus: Path, out: Path, *, quote: bool, device: str, precision: Precision
) -> list[list[str]]:
    """Build the commands that train a task and score it on each kind of words."""
    folder, system = out / RUNS_FOLDER / task.name, task.system
    recipe = out / RECIPE_FILE.format(system.name)
    of_fold = ["--recipe", recipe, "--protocol", task.fold.protocol, "--fold", task.fold.name]
    commands = [["baselines", corpus, *of_fold, "--features", out / FEATURES_FOLDER, "-o", folder]]
    if system.stages:
        own = ["--seed", system.recipe.seed, "--words", system.words, "--reuse", out / RUNS_FOLDER, "-o", folder]
        shown = [] if quote else ["--no-words"]
        shown += [] if precision == FULL_PRECISION else ["--precision", precision]
        scores = [["evaluate", folder, "--words", words, *shown] for words in task.facts["tested"]]
        commands = [["train", corpus, *of_fold, *own], *scores]
    named = [] if device == AUTO else ["--device", device]
    return [[*map(str, command), *named] for command in commands]


def run_commands(commands: Sequence[Sequence[str]], log: Path, jobs: int) -> int | None:
    """Run commands in one of several parallel processes, and return its peak memory in MiB, if the system reports it.

    The process is forked from a server, which imports what they need once: that takes longer than many a command. The
    output is appended to the log; an error repeats its last line.
    """
    context = multiprocessing.get_context(START_METHOD)
    if START_METHOD == "forkserver":
        context.set_forkserver_preload([__name__, "moodline.evaluation.evaluate"])
    log.parent.mkdir(parents=True, exist_ok=True)
    before = log.stat().st_size if log.exists() else 0
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
        future = pool.submit(run_in_process, commands, log, threads)
        error = future.exception()
    if error is None:
        return future.result()
    lines = log.read_bytes()[before:].decode(errors="replace").strip().splitlines() if log.exists() else []
    reason = lines[-1].removeprefix("moodline: ") if lines else f"moodline ended with {error!r}"
    if isinstance(error, BrokenProcessPool):
        reason = "moodline was killed, possibly for lack of memory"
    raise MoodlineError(f"{reason} (full output: {log})", code="experiment.task_failed")


def run_in_process(commands: Sequence[Sequence[str]], log: Path, threads: int) -> int | None:
    """Run commands in this process as from a terminal, with their output appended to a file."""
    with log.open("a", encoding="utf-8") as output:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(output.fileno(), stream.fileno())
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    try:
        for arguments in commands:
            sys.argv = ["moodline", *arguments]
            # As python -m moodline, so that processes of the command's own can import the main module again.
            runpy.run_module("moodline", run_name="__main__", alter_sys=True)
    except Exception:
        traceback.print_exc()
        raise
    return measure_peak_mebibytes()


def hide_folders(command: str) -> str:
    """Replace absolute paths in a command by paths from the working folder, or by names alone."""
    return shlex.join(format_path(one) if Path(one).is_absolute() else one for one in shlex.split(command))


def collect_recipes(plan: Sequence[ExperimentTask], out: Path) -> dict[Path, Recipe]:
    """Return every system's recipe, by the file from which the tasks' commands read it."""
    # The first task of a system has the base's own seed; the commands of the others pass --seed.
    return {out / RECIPE_FILE.format(task.system.name): task.system.recipe for task in reversed(plan)}


def refuse_other_recipes(recipes: Mapping[Path, Recipe]) -> None:
    """Refuse an output folder that has a system of the same name with another recipe."""
    for path, recipe in recipes.items():
        # Compared as recipes rather than texts: a recipe of an older moodline lacks newer keys.
        if path.exists() and parse_recipe(read_recipe(str(path))[0], str(path)) != recipe:
            raise MoodlineError(
                f"the ledger has another recipe: {path} differs from the requested one; choose another -o",
                code="experiment.other_recipe",
            )
