"""One of moodline's commands in a process of its own, which starts with its libraries loaded."""

import multiprocessing
import os
import runpy
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from moodline.errors import MoodlineError
from moodline.processes import end_with_parent
from moodline.training.fold import peak_mebibytes

# Loaded once, in the process that the commands' processes are forked from: a task has two or three commands, and
# loading takes longer than many a stage trains.
LIBRARIES = ["moodline.training.run", "moodline.evaluation.evaluate"]
# A process that starts asks the others for their status, which can be read once: two threads at a time would lose it.
STATUS = threading.Lock()
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class Cost(NamedTuple):
    """What a command took: seconds by the clock, and the most memory that its process held, where the system tells."""

    seconds: float
    peak_mebibytes: int | None


def ran(arguments: Sequence[object], log: Path, jobs: int) -> Cost:
    """Run one of moodline's commands with its share of the cores.

    Args:
        log: takes what it says
        jobs: how many run at a time

    Raises:
        MoodlineError: what the command said, where it failed
    """
    context: Any = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(LIBRARIES)
    log.parent.mkdir(parents=True, exist_ok=True)
    before = log.stat().st_size if log.exists() else 0
    started = time.monotonic()
    receiver, sender = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    process = context.Process(target=run_here, args=([*map(str, arguments)], str(log), threads, sender))
    with STATUS:
        process.start()
    sender.close()
    wait([process.sentinel])
    with STATUS:
        process.join()
    if process.exitcode:
        raise MoodlineError(f"{reason(process.exitcode, log, before)} (all that it said: {log})")
    return Cost(time.monotonic() - started, receiver.recv())


def reason(status: int, log: Path, before: int) -> str:
    """Why a command failed: what it said last, after what the log had before, or that it was ended from outside."""
    if status < 0:
        return f"moodline was ended from outside by signal {-status}, for its memory perhaps"
    said = log.read_bytes()[before:].decode(errors="replace").strip().splitlines() if log.exists() else []
    return said[-1].removeprefix("moodline: ") if said else f"moodline ended with status {status}"


def run_here(arguments: list[str], log: str, threads: int, cost: Connection) -> None:
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
    cost.send(peak_mebibytes())
