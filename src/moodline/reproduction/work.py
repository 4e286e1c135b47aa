"""Tasks at work: moodline's own commands, some side by side, each in a process of its own."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from moodline.errors import MoodlineError
from moodline.files import read_json, write_json, write_text
from moodline.reproduction.plan import RUNS_FOLDER, Plan, Task
from moodline.training.run import read_run

# In a task's run: its command, and what it took.
TASK_FILE = "task.json"

Told = Callable[[str], None]


class Cost(NamedTuple):
    """What a task's processes took: seconds by the clock, and the most memory that one of them held."""

    seconds: float
    peak_mebibytes: float


def is_done(task: Task, out: Path) -> bool:
    """Whether a task is trained as it is planned now, and scored."""
    folder = task.run_folder(out)
    if not (folder / TASK_FILE).is_file():
        return False
    try:
        run, done = read_run(folder), read_json(folder / TASK_FILE, "task")
        same = run.recipe == task.system.recipe and done["fold_hash"] == task.fold.hash
        return same and run.is_complete(task.fold.name)
    except MoodlineError:  # the task itself will say what is wrong with its run, and keeps no other from its work
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
                except MoodlineError as error:
                    failed[task.name] = str(error)
                    tell(f"{task.name}: failed: {error}")
    if failed:
        first = next(iter(failed))
        raise MoodlineError(f"{len(failed)} of {len(plan.tasks)} tasks failed, {first} first: {failed[first]}")


def do(task: Task, corpus: Path, out: Path, jobs: int) -> None:
    """Train what no other task has trained, and score it."""
    folder = task.run_folder(out)
    (folder / TASK_FILE).unlink(missing_ok=True)
    recipe = out / "recipes" / f"{task.system.name}.yaml"
    train = ["train", corpus, "--recipe", recipe, "--seed", task.seed, "--protocol", task.protocol]
    train += ["--fold", task.fold.name, "--reuse", out / RUNS_FOLDER, "-o", folder]
    log = out / "logs" / f"{task.name}.txt"
    costs = [ran(command, log, jobs) for command in (train, ["evaluate", folder])]
    write_json(
        folder / TASK_FILE,
        {
            "system": task.system.name,
            "protocol": task.protocol,
            "fold": task.fold.name,
            "fold_hash": task.fold.hash,
            "seed": task.seed,
            "command": " ".join(map(str, ["moodline", *train])),
            "seconds": round(sum(cost.seconds for cost in costs), 1),
            "peak_mebibytes": round(max(cost.peak_mebibytes for cost in costs)),
        },
    )


def ran(arguments: Sequence[object], log: Path, jobs: int) -> Cost:
    """Run one of moodline's commands with its share of the cores.

    Raises:
        MoodlineError: what the command said, where it failed
    """
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "moodline.cli.main", *map(str, arguments)]
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        said = log.read_text(encoding="utf-8").strip().splitlines() or [f"it ended with status {status}"]
        raise MoodlineError(f"{said[-1].removeprefix('moodline: ')} (all that it said: {log})")
    return Cost(time.monotonic() - started, usage.ru_maxrss / 1024)


def write_recipes(plan: Plan, out: Path) -> None:
    """Every system's recipe, whole, where the tasks' commands read it.

    Raises:
        MoodlineError: the folder has numbers of a system of that name and of another recipe
    """
    import yaml

    # The first task of a system is of the base's own seed; the others' is given by their commands.
    recipes = {task.system.name: task.system.recipe for task in reversed(plan.tasks)}
    contents = {
        out / "recipes" / f"{name}.yaml": yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False)
        for name, recipe in recipes.items()
    }
    for path, content in contents.items():
        if path.exists() and path.read_text(encoding="utf-8") != content:
            raise MoodlineError(
                f"a ledger is of one recipe, and {path} is of another than is asked for: choose another -o"
            )
    for path, content in contents.items():
        write_text(path, content)
