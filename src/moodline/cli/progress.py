"""How far a command is."""

import sys


def show(what: str, done: int, total: int, unit: str = "conversations") -> None:
    """A counter that overwrites itself; nothing where standard error is no terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{what}: {done}/{total} {unit}", end=end, file=sys.stderr, flush=True)
