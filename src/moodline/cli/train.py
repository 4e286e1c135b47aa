"""moodline train: a corpus and a recipe to trained models, fold by fold."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from moodline.cli import embeddings, words
from moodline.cli.interruption import going_on
from moodline.cli.parser import Parser
from moodline.config import Recipe
from moodline.recipe import known_keys, nearest, read_recipe, recipe_from

HELP = "Train the five parts, stage by stage."


class TrainParser(Parser):
    """Knows that an unknown dotted option is a misspelt key of the recipe."""

    def sentence(self, message: str) -> str:
        stranger = re.search(r"Unrecognized arguments: --([\w.]+)", message, re.IGNORECASE)
        if stranger and (guess := nearest(stranger[1], known_keys())):
            return f"a recipe has no key {stranger[1]!r} (on the command line); did you mean --{guess}?"
        return super().sentence(message)


def add_to(commands: Any) -> None:
    train = TrainParser(prog="moodline train", description=HELP)
    train.add_argument("corpus", type=Path, help="a corpus folder")
    train.add_argument("--recipe", required=True, help="a YAML file, or the name of one that comes with moodline")
    train.add_argument("--protocol", required=True, help="session5, cv5, cv10, kfold5, official, all, ...")
    train.add_argument("--fold", type=str, default=None, help="train this fold alone")
    train.add_argument("-o", "--out", type=Path, required=True, help="the run's folder")
    train.add_argument("--reuse", type=Path, default=None, help="take over what runs in this folder have finished")
    embeddings.add_to(train)
    words.add_to(train, "that train; the run is then scored on such words too")
    train.add_argument("--licence", default=None, help="of the models of the run: a line, such as 'CC BY-NC 4.0'")
    train.add_argument("--accelerator", default="auto", help="cpu, gpu, ... (Lightning's)")
    train.add_argument("--devices", default="auto", help="how many (Lightning's)")
    train.add_argument("--num-nodes", type=int, default=1, help="machines (Lightning's)")
    train.add_argument("--strategy", default="auto", help="ddp, ... (Lightning's)")
    train.add_argument("--precision", default="32-true", help="bf16-mixed, ... (Lightning's)")
    train.add_class_arguments(Recipe)
    commands.add_subcommand("train", train, help=HELP)


@going_on()
def run(options: Any, given: Any) -> None:
    recipe, name = chosen_recipe(options.recipe, given)
    from rich.console import Console

    from moodline.corpora.protocol import choose_fold, folds_of
    from moodline.corpora.recognised import read_corpus_with
    from moodline.embeddings import read_embeddings
    from moodline.training.run import GivenFile, Run, label_set_for, licence_for
    from moodline.training.stage import Hardware, is_main_process
    from moodline.training.train import train

    label_set = label_set_for(recipe, options.out)
    corpus = read_corpus_with(options.words or words.REFERENCE, options.corpus)
    files = {encoder: read_embeddings(path) for encoder, path in embeddings.chosen(options).items()}
    recipe = recipe.with_given({encoder: file.size for encoder, file in files.items()})
    folds = choose_fold(folds_of(corpus, options.protocol), options.fold)
    experiment = Run(
        folder=options.out,
        recipe_name=name,
        recipe=recipe,
        protocol=options.protocol,
        corpus_folder=options.corpus.resolve(),
        corpus_hash=corpus.table_hash,
        label_set=label_set,
        words=corpus.words,
        words_hash=corpus.recognition.words_hash if corpus.recognition else None,
        licence=licence_for(options.licence, options.out),
        embeddings={encoder: GivenFile(file=file.path.resolve(), hash=file.hash) for encoder, file in files.items()},
    )
    hardware = Hardware(**{field.name: options[field.name] for field in dataclasses.fields(Hardware)})
    console = Console(quiet=not is_main_process())
    train(experiment, corpus, folds, files, hardware, console, options.reuse)
    further = f"; moodline evaluate {options.out} scores it" if any(fold.test for fold in folds) else ""
    console.print(f"{options.out}: trained{further}", highlight=False, soft_wrap=True)


def chosen_recipe(name: str, given: Any) -> tuple[Recipe, str]:
    """The recipe with the keys that the command line gives in place of its own, and its name."""
    content, path = read_recipe(name)
    keys = {field.name for field in dataclasses.fields(Recipe)}
    overrides = {key: value for key, value in given.as_dict().items() if key in keys}
    return recipe_from(merged(content, overrides), str(path)), path.stem


def merged(content: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Nested keys and values, the overrides' where both have one."""
    result = dict(content)
    for key, value in overrides.items():
        nested = isinstance(value, dict) and isinstance(result.get(key, {}), dict)
        result[key] = merged(result.get(key, {}), value) if nested else value
    return result
