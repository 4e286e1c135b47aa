"""Writes docs/configuration.md, the reference of a recipe's keys, from the classes of config.py.

.venv/bin/python docs/configuration.py
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from moodline.config import STAGE_NAMES, STAGES, Recipe, TrainingConfig
from moodline.io import write_text

PAGE = Path(__file__).with_suffix(".md")
KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
INTRODUCTION = """\
# Every key of a recipe

Written by `docs/configuration.py` from the classes of `config.py`; a test holds the two together.

A recipe is a YAML file. A key that it leaves out has the default given here; a key that does not exist is refused, and
the nearest one named; a key that another choice makes idle is noted, with that choice. With `base: NAME` a recipe takes
another one's keys where it has none of its own: one of moodline's by its name, or a file by its path from this one. A
run keeps the recipe that results. On the command line keys are joined by points and go before the file's values:

    moodline train corpora/iemocap --recipe iemocap --protocol session5 -o runs/two --fusion.layers 2 --seed 1

In a run's own folder a changed value trains again the stages that depend on it, and keeps the others. `seed`,
`context`, `class_weights` and the classes of `label_set` hold for every stage: with another one nothing could be kept,
so that it is another run, which needs another `-o`.

[recipes/iemocap.yaml](../recipes/iemocap.yaml) writes the paper's values out, which
[iemocap-10ms](../recipes/iemocap-10ms.yaml) and [as-released](../recipes/as-released.yaml) have as their base;
[small](../recipes/small.yaml) and [demo](../recipes/demo.yaml) say what differs from the defaults. "Released" marks
what the paper leaves open and the authors' released code fixes; as a value, what that code does otherwise than the
paper ([protocols.md](protocols.md#as-released)).
"""


def page() -> str:
    return "\n".join(lines()) + "\n"


def lines() -> Iterator[str]:
    yield INTRODUCTION
    yield from section("The whole", Recipe(), "")
    for part in STAGES:
        yield ""
        yield from section(f"`{part}`: {STAGE_NAMES[part]}", getattr(Recipe(), part), f"{part}.")
    yield ""
    yield from training_section()


def section(title: str, config: Any, prefix: str) -> Iterator[str]:
    """The keys of one class that are no sections themselves."""
    yield f"## {title}\n"
    yield f"{summary(type(config))}\n"
    yield "| key | kind | default | meaning |"
    yield "|---|---|---|---|"
    told = meanings(type(config))
    for field in dataclasses.fields(config):
        if not dataclasses.is_dataclass(field.type):
            yield row(f"`{prefix}{field.name}`", kind(field.type), default(config, field.name), told[field.name])


def training_section() -> Iterator[str]:
    yield "## `training`, a section of each of the five\n"
    yield f"{summary(TrainingConfig)} In a recipe: `fusion.training.epochs` and so on.\n"
    told, names = meanings(TrainingConfig), [field.name for field in dataclasses.fields(TrainingConfig)]
    yield "| key | kind | meaning |"
    yield "|---|---|---|"
    for field in dataclasses.fields(TrainingConfig):
        yield row(f"`{field.name}`", kind(field.type), told[field.name])
    yield ""
    yield row("default", *(f"`{stage}`" for stage in STAGES))
    yield "|---" * (1 + len(STAGES)) + "|"
    for name in names:
        yield row(f"`{name}`", *(default(Recipe().get_training_config(stage), name) for stage in STAGES))


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def summary(config: type) -> str:
    return (inspect.getdoc(config) or "").split("\n")[0]


def meanings(config: type) -> dict[str, str]:
    """What the ``Args:`` of a class's docstring say of each key, a line each."""
    found: dict[str, str] = {}
    arguments = (inspect.getdoc(config) or "").partition("\nArgs:\n")[2]
    for line in arguments.split("\n"):
        if begun := re.fullmatch(r" {4}(\w+): (.+)", line):
            name, found[begun[1]] = begun[1], begun[2]
        elif line.strip():
            found[name] += f" {line.strip()}"
    return {name: text.replace("``", "`") for name, text in found.items()}


def kind(of: Any) -> str:
    if get_origin(of) is Literal:
        return ", ".join(get_args(of))
    if get_origin(of) is tuple:
        return f"list of {kind(get_args(of)[0])}s"
    return " or ".join(KINDS[one] for one in get_args(of) or (of,))


def default(config: Any, name: str) -> str:
    """As YAML has it."""
    value = getattr(config, name)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    write_text(PAGE, page())
