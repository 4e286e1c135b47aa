"""The command line in processes that can be killed, interrupted or starved of disk space.

They are forked from a server that has everything imported, so that each starts in no time.
"""

import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")


@cache
def start_server() -> None:
    """Start the server that processes are forked from: before the code under test starts it with less imported."""
    os.environ["OMP_NUM_THREADS"] = "1"
    CONTEXT.set_forkserver_preload(["tests.preloaded"])
    ensure_running()


def start(
    arguments: list[str],
    errors: Path,
    prepare: Callable[[], None] | None = None,
    output: Path = Path(os.devnull),
) -> ForkServerProcess:
    """Start the command line; what it says, and what it says of errors, goes to files. Returns when it begins.

    Args:
        prepare: called in the process before the command; picklable
    """
    start_server()
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=command, args=(arguments, errors, prepare, output, ready))
    process.start()
    ready.wait()
    return process


def run(
    arguments: list[str],
    errors: Path,
    prepare: Callable[[], None] | None = None,
    output: Path = Path(os.devnull),
) -> int | None:
    """The exit status of a command that runs to its end."""
    process = start(arguments, errors, prepare, output)
    process.join()
    return process.exitcode


def command(arguments: list[str], errors: Path, prepare: Callable[[], None] | None, output: Path, ready: Event) -> None:
    from moodline.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = output.open("w")
    sys.stderr = errors.open("w")
    if prepare is not None:
        prepare()
    ready.set()
    main(arguments)


def run_together(arguments: list[str], errors: Path) -> list[int | None]:
    """The exit statuses of two processes that run one command, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(arguments, errors.with_name(f"{errors.name}-{rank}"), Rank(rank, port)) for rank in range(2)]
    for process in processes:
        process.join(300)
        process.kill()  # what waits for one that has ended waits for ever
        process.join()
    return [process.exitcode for process in processes]


class Rank:
    """Tells its process what torchrun tells each of two."""

    def __init__(self, rank: int, port: int) -> None:
        self.told = {
            **dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)),
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2"),
            **{"GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "tests"},
        }

    def __call__(self) -> None:
        os.environ |= self.told


class DieAtWrite:
    """Kills its process, as ``kill -9`` does, when it puts its n-th file into place: before, after, or half written."""

    def __init__(self, number: int, moment: str) -> None:
        self.number, self.moment = number, moment

    def __call__(self) -> None:
        replace = os.replace

        def deadly(source: str | Path, target: str | Path) -> None:
            self.number -= 1
            if self.number > 0:
                replace(source, target)
                return
            if self.moment == "half":
                os.truncate(source, os.path.getsize(source) // 2)
            elif self.moment == "after":
                replace(source, target)
            os.kill(os.getpid(), signal.SIGKILL)

        os.replace = deadly  # type: ignore[assignment]


class DieInTraining:
    """Kills its process, as ``kill -9`` does, in an epoch of a stage at its second batch, or after it.

    Args:
        stage: its name
        epoch: counted from 0
        moment: in, or after: when the epoch's state is written
    """

    def __init__(self, stage: str, epoch: int, moment: str) -> None:
        self.stage, self.epoch, self.moment = stage, epoch, moment

    def __call__(self) -> None:
        from moodline.training.lightning_module import StageModule

        step, keep = StageModule.training_step, StageModule.on_train_epoch_end

        def deadly_step(module: Any, batch: Any, index: int) -> Any:
            self.die_where(module, self.moment == "in" and index == 1)
            return step(module, batch, index)

        def deadly_keep(module: Any) -> None:
            keep(module)
            self.die_where(module, self.moment == "after")

        StageModule.training_step, StageModule.on_train_epoch_end = deadly_step, deadly_keep

    def die_where(self, module: Any, moment: bool) -> None:
        if moment and (module.stage, module.current_epoch) == (self.stage, self.epoch):
            os.kill(os.getpid(), signal.SIGKILL)


class FileSizeLimit:
    """No file may grow beyond so many bytes: writing fails as on a full disk, though with another reason."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))
