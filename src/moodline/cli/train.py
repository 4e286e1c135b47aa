"""moodline train and embed."""

import argparse
import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonargparse

from moodline.cli.options import (
    REFERENCE,
    Parser,
    add_corpus,
    add_device,
    add_embeddings,
    add_fold,
    add_out,
    add_words,
    chosen_device,
    collect_embeddings_files,
    resumable,
    show_progress,
)
from moodline.config import (
    RENAMED_KEYS,
    Recipe,
    find_nearest_key,
    list_keys,
    merge,
    note_idle_keys,
    parse_recipe,
    read_recipe,
    rename_keys,
)
from moodline.console import print_line
from moodline.errors import MoodlineError

if TYPE_CHECKING:
    from moodline.training.trainer import Hardware


TRAIN_HELP = "Train the five parts, stage by stage."


class TrainParser(Parser):
    """Reports an unknown dotted option as a misspelt key of the recipe."""

    def build_unknown_error(self, option: str) -> MoodlineError:
        key = option.removeprefix("--")
        if re.fullmatch(r"[\w.]+", key) and (nearest := find_nearest_key(key, list_keys())):
            return MoodlineError(f"unknown recipe key {option}; did you mean --{nearest}?", code="recipe.unknown_key")
        return super().build_unknown_error(option)


def add_train(commands: Any) -> None:
    train = TrainParser(prog="moodline train", description=TRAIN_HELP)
    add_corpus(train)
    add_protocol(train)
    add_out(train, "the run's folder")
    train.add_argument("--reuse", type=Path, default=None, help="take finished stages from the runs in this folder")
    add_embeddings(train)
    add_words(train, "to train on; evaluate then scores on the same")
    train.add_argument("--licence", default=None, help="the licence of the run's models, such as 'CC BY-NC 4.0'")
    add_device(train, "training runs on")
    train.add_argument("--accelerator", default="auto", help="Lightning's: cpu, gpu, ...")
    train.add_argument("--devices", default="auto", help="Lightning's: how many")
    train.add_argument("--num-nodes", type=int, default=1, help="Lightning's: how many machines")
    train.add_argument("--strategy", default="auto", help="Lightning's: ddp, ...")
    train.add_argument("--precision", default="32-true", help="Lightning's: bf16-mixed, ...")
    train.add_argument(
        "--num-workers", type=int, default=0, help="processes that read audio; results do not depend on it"
    )
    train.add_class_arguments(Recipe)
    for key in RENAMED_KEYS:
        train.add_argument(f"--{key}", type=Any, default=argparse.SUPPRESS, help=jsonargparse.SUPPRESS)  # deprecated
    commands.add_subcommand("train", train, help=TRAIN_HELP)


def add_protocol(command: Parser) -> None:
    """Add the recipe, the protocol and the choice of a fold."""
    command.add_argument("--recipe", required=True, help="a YAML file, or the name of one that comes with moodline")
    command.add_argument("--protocol", required=True, help="session5, cv5, cv10, kfold5, official, all, ...")
    add_fold(command)


@resumable()
def run_train(options: Any, given: Any) -> None:
    recipe, name = resolve_recipe(options.recipe, given)
    from moodline.console import create_console
    from moodline.corpora.asr_column import read_corpus_with_words
    from moodline.corpora.protocols import build_folds, choose_fold
    from moodline.embeddings import read_embeddings
    from moodline.training.run import EmbeddingsReference, Run, resolve_label_set, resolve_licence
    from moodline.training.train import train_folds
    from moodline.training.trainer import is_main_process

    hardware = chosen_hardware(options, given)
    label_set = resolve_label_set(recipe, options.out)
    corpus = read_corpus_with_words(options.words or REFERENCE, options.corpus)
    files = {encoder: read_embeddings(path) for encoder, path in collect_embeddings_files(options).items()}
    recipe = recipe.with_precomputed({encoder: file.size for encoder, file in files.items()})
    folds = choose_fold(build_folds(corpus, options.protocol), options.fold)
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
        licence=resolve_licence(options.licence, options.out),
        embeddings={
            encoder: EmbeddingsReference(file=file.path.resolve(), hash=file.hash) for encoder, file in files.items()
        },
    )
    console = create_console(quiet=not is_main_process())
    train_folds(experiment, corpus, folds, files, hardware, console, options.reuse)
    further = f"; moodline evaluate {options.out} scores it" if any(fold.test for fold in folds) else ""
    console.print(f"{options.out}: trained{further}", highlight=False, soft_wrap=True)


def chosen_hardware(options: Any, given: Any) -> "Hardware":
    """Combine --device with Lightning's options.

    Raises:
        MoodlineError: this machine has no such device, or several options name one
    """
    from moodline.training.trainer import Hardware, is_main_process

    named = {field.name: options[field.name] for field in dataclasses.fields(Hardware)}
    several = [name for name in ("accelerator", "devices") if given.get(name) is not None]
    if options.device == "auto":
        if not several and is_main_process():
            chosen_device(options.device)
        return Hardware(**named)
    if several:
        raise MoodlineError(
            f"--device {options.device} and --{several[0]} {named[several[0]]} both choose the device: leave out one",
            code="option.contradiction",
        )
    return Hardware.on(
        chosen_device(options.device),
        **{name: value for name, value in named.items() if name not in ("accelerator", "devices")},
    )


def resolve_recipe(name: str, given: Any) -> tuple[Recipe, str]:
    """Read a recipe, override its keys by those of the command line, and print notes on idle keys.

    Returns:
        the recipe and its name
    """
    content, path = read_recipe(name)
    keys = {field.name for field in dataclasses.fields(Recipe)}
    overrides = {key: value for key, value in given.as_dict().items() if key in keys}
    content = merge(content, rename_keys(overrides, "the command line"))
    recipe = parse_recipe(content, str(path))
    for note in note_idle_keys(content, recipe):
        print_line(f"Note: {note}")
    return recipe, path.stem


EMBED_HELP = "Write a model's embeddings of every utterance of a corpus."


def add_embed(commands: Any) -> None:
    embed = Parser(prog="moodline embed", description=EMBED_HELP)
    add_corpus(embed)
    embed.add_argument("--model", type=Path, required=True, help="a model folder")
    stages = ["utterance", "context", "fusion"]
    embed.add_argument("--stage", choices=stages, default="utterance", help="the stage that computes the embeddings")
    add_embeddings(embed)
    add_device(embed)
    add_out(embed, "the folder of audio.parquet and text.parquet")
    commands.add_subcommand("embed", embed, help=EMBED_HELP)


def run_embed(options: Any, given: Any) -> None:
    from moodline.corpora.corpus import read_corpus
    from moodline.embeddings import get_vectors, read_precomputed
    from moodline.inference.embed import write_model_embeddings
    from moodline.inference.pipeline import load

    device = chosen_device(options.device)
    conversations = read_corpus(options.corpus).conversations
    predictor = load(options.model, device=device)
    files = read_precomputed(predictor.model.recipe, collect_embeddings_files(options), conversations)
    progress = partial(show_progress, str(options.model), total=len(conversations))
    predictor, seen = predictor.with_embeddings(get_vectors(files)), [file.training_record for file in files.values()]
    for path in write_model_embeddings(predictor, conversations, options.stage, options.out, progress, seen):
        print_line(path)
