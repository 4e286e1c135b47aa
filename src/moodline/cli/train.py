"""moodline train, and recipes on the command line."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli import options as cli
from moodline.config import Recipe
from moodline.console import print_line
from moodline.errors import MoodlineError
from moodline.recipe import note_idle_keys, parse_recipe, read_recipe, rename_keys

if TYPE_CHECKING:
    from moodline.training.trainer import Hardware


def collect_recipe_keys(typed: Any) -> dict[str, Any]:
    """Return the recipe's keys on the command line, dotted, by their present names."""
    keys = {field.name for field in dataclasses.fields(Recipe)}
    return rename_keys({key: value for key, value in typed.as_dict().items() if key in keys}, "the command line")


def resolve_recipe(name: str, typed: Any) -> tuple[Recipe, str]:
    """Read a recipe, and its name; override its keys by those of the command line, and print notes on idle keys."""
    content, path = read_recipe(name)
    content |= collect_recipe_keys(typed)
    recipe = parse_recipe(content, str(path))
    for note in note_idle_keys(content, recipe):
        print_line(f"Note: {note}")
    return recipe, path.stem


@cli.resumable()
def run_train(options: Any, typed: Any) -> None:
    from moodline.api import train
    from moodline.console import create_console
    from moodline.training.trainer import is_main_process

    hardware = choose_hardware(options, typed)
    train(
        options.corpus,
        options.out,
        recipe=options.recipe,
        protocol=options.protocol,
        fold=options.fold,
        start=options["from"],
        words=options.words or cli.REFERENCE,
        embeddings=cli.collect_embeddings(options),
        reuse=options.reuse,
        licence=options.licence,
        hardware=hardware,
        console=create_console(quiet=not is_main_process()),
        **collect_recipe_keys(typed),
    )


def choose_hardware(options: Any, typed: Any) -> "Hardware":
    """Combine --device with Lightning's options."""
    from moodline.device import AUTO
    from moodline.training.trainer import Hardware, is_main_process

    values = {field.name: options[field.name] for field in dataclasses.fields(Hardware)}
    several = [name for name in ("accelerator", "devices") if typed.get(name) is not None]
    if options.device == AUTO:
        if not several and is_main_process():
            cli.select_device(AUTO)
        return Hardware(**values)
    if several:
        raise MoodlineError(
            f"--device {options.device} and --{several[0]} {values[several[0]]} both choose the device: leave out one",
            code="option.contradiction",
        )
    del values["accelerator"], values["devices"]
    return Hardware.on(cli.select_device(options.device), **values)


COMMANDS = {
    "train": cli.Command(
        help="Train the five parts, stage by stage.",
        run=run_train,
        takes_recipe=True,
        shared=(cli.CORPUS, cli.PROTOCOL, cli.FOLD, *cli.EMBEDDINGS, cli.WORDS, cli.DEVICE),
        options=(
            cli.out("the run's folder", required=True),
            cli.option("--recipe", help="a YAML file, or the name of one that comes with moodline; --from has its own"),
            cli.option("--from", help="a model whose weights the parts start from: a folder, or org/name on the hub"),
            cli.option("--reuse", type=Path, help="a folder of other runs, whose equal stages are taken over"),
            cli.option("--licence", help="the licence of the run's models, such as 'CC BY-NC 4.0'"),
            cli.option("--accelerator", default="auto", help="Lightning's accelerator: cpu, gpu, ..."),
            cli.option("--devices", default="auto", help="Lightning's devices, such as 2"),
            cli.option("--num-nodes", type=int, default=1, help="Lightning's number of machines"),
            cli.option("--strategy", default="auto", help="Lightning's strategy: ddp, ..."),
            cli.option("--precision", default="32-true", help="Lightning's precision: bf16-mixed, ..."),
            cli.option("--num-workers", type=int, default=0, help="processes that read audio; results do not change"),
        ),
    )
}
