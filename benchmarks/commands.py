"""Measure time and peak memory of moodline's commands, each in a process of its own.

The module does not import torch: the peak of a command is at least that of the process that starts it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

MEBIBYTE = 2**20


def run(threads: int, command: str, *options: str) -> tuple[float, float]:
    """Return seconds and peak resident memory in MiB of one moodline command."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "moodline.cli.main", command, *options],
        stdout=subprocess.DEVNULL,
        env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"moodline {command} ended with {child.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / MEBIBYTE


def save_untrained(folder: Path) -> None:
    """Write the model folder of untrained.py."""
    subprocess.run([sys.executable, Path(__file__).with_name("untrained.py"), folder], check=True)
