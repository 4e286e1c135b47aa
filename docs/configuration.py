"""Write docs/configuration.md, the reference of a recipe's keys, from the classes of config.py.

.venv/bin/python docs/configuration.py
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from moodline.config import (
    AUDIO_CONTEXT,
    AUDIO_UTTERANCE,
    FUSION,
    STAGE_NAMES,
    STAGES,
    TEXT_CONTEXT,
    TEXT_UTTERANCE,
    Recipe,
    TrainingConfig,
)
from moodline.io import write_text

PAGE = Path(__file__).with_suffix(".md")
KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
INTRODUCTION = """\
# Every key of a recipe

    moodline train corpora/iemocap --recipe iemocap --protocol session5 -o runs/two --fusion.layers 2 --seed 1

A recipe is a YAML file; keys on the command line, joined by points, override it. A key that both leave out has the
default given here, an unknown key is refused, and a key that another choice makes idle is noted. With `base: NAME` a
recipe takes the keys of another one, by its name or its path from this file, where it has none of its own.

In a run's own folder, a changed value retrains the stages that depend on it and keeps the others. `seed`, `context`,
`class_weights` and the classes of `label_set` concern every stage: another one is another run, which needs another
`-o`.

[recipes/iemocap.yaml](../recipes/iemocap.yaml) contains the paper's values and is the base of
[iemocap-10ms](../recipes/iemocap-10ms.yaml) and [as-released](../recipes/as-released.yaml);
[recommended](../recipes/recommended.yaml) is what we recommend, for a CPU too: the encoders of
[small](../recipes/small.yaml), with other contexts and another
fusion; small and [demo](../recipes/demo.yaml) contain what differs
from the defaults; [wavlm-roberta](../recipes/wavlm-roberta.yaml) and
[whisper-modernbert](../recipes/whisper-modernbert.yaml) take [pretrained encoders](encoders.md). "Released"
marks what the paper leaves open and the authors' code fixes; as a value, what that code does [otherwise than the
paper](protocols.md#as-released). `docs/configuration.py` writes this page from the classes of `config.py`.
"""


def page() -> str:
    return "\n".join(lines()) + "\n"


def lines() -> Iterator[str]:
    yield INTRODUCTION
    yield from section("The whole", Recipe(), "")
    for part in (AUDIO_UTTERANCE, TEXT_UTTERANCE):
        yield ""
        yield from section(f"`{part}`: {STAGE_NAMES[part]}", getattr(Recipe(), part), f"{part}.")
    yield ""
    yield from section(
        f"`{AUDIO_CONTEXT}`, and the same for `{TEXT_CONTEXT}`", Recipe().audio_context, f"{AUDIO_CONTEXT}."
    )
    yield ""
    yield from section(f"`{FUSION}`", Recipe().fusion, f"{FUSION}.")
    yield ""
    yield from training_section()


def section(title: str, config: Any, prefix: str) -> Iterator[str]:
    """List the keys of one class, without its sections."""
    yield f"## {title}\n"
    yield f"{summary(type(config))}\n"
    yield "| key | kind | default | meaning |"
    yield "|---|---|---|---|"
    texts = meanings(type(config))
    for field in dataclasses.fields(config):
        if not dataclasses.is_dataclass(field.type):
            yield row(f"`{prefix}{field.name}`", kind(field.type), default(config, field.name), texts[field.name])


def training_section() -> Iterator[str]:
    """List the training keys, with a column of defaults for each stage."""
    yield "## `training`, a section of each of the five\n"
    yield f"{summary(TrainingConfig)} In a recipe: `fusion.training.epochs` and so on.\n"
    yield row("key", "kind", *(f"`{stage}`" for stage in STAGES), "meaning")
    yield "|---" * (3 + len(STAGES)) + "|"
    texts = meanings(TrainingConfig)
    for field in dataclasses.fields(TrainingConfig):
        defaults = [default(Recipe().get_training_config(stage), field.name) for stage in STAGES]
        yield row(f"`{field.name}`", kind(field.type), *defaults, texts[field.name])


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def summary(config: type) -> str:
    return (inspect.getdoc(config) or "").split("\n")[0]


def meanings(config: type) -> dict[str, str]:
    """Parse the meaning of each key from the ``Args:`` of a class's docstring."""
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
    return KINDS[of] if of in KINDS else " or ".join(map(kind, get_args(of)))


def default(config: Any, name: str) -> str:
    """Format a default as in YAML."""
    value = getattr(config, name)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    write_text(PAGE, page())
