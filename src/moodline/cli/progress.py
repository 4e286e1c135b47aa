"""How far a command is."""

import sys
from collections.abc import Callable
from pathlib import Path


def of_turns(source: Path) -> Callable[[str, int, int], None]:
    """What tells how far a recording is."""
    return lambda done, turns, of: show(f"{source}: {done}", turns, of, "turns")


def show(what: str, done: int, total: int, unit: str = "conversations") -> None:
    """A counter that overwrites itself; nothing where standard error is no terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{what}: {done}/{total} {unit}", end=end, file=sys.stderr, flush=True)
