"""moodline train and embed."""

import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli import options as embeddings
from moodline.cli import options as words
from moodline.cli.options import Parser, add_device, chosen_device, resumable, show_progress
from moodline.config import Recipe, find_nearest_key, list_keys, merged, notes_on_idle, parse_recipe, read_recipe
from moodline.errors import MoodlineError, say

if TYPE_CHECKING:
    from moodline.training.trainer import Hardware


TRAIN_HELP = "Train the five parts, stage by stage."


class TrainParser(Parser):
    """Knows that an unknown dotted option is a misspelt key of the recipe."""

    def sentence(self, message: str) -> str:
        stranger = re.search(r"Unrecognized arguments: --([\w.]+)", message, re.IGNORECASE)
        if stranger and (guess := find_nearest_key(stranger[1], list_keys())):
            return f"a recipe has no key {stranger[1]!r} (on the command line); did you mean --{guess}?"
        return super().sentence(message)


def add_train(commands: Any) -> None:
    train = TrainParser(prog="moodline train", description=TRAIN_HELP)
    train.add_argument("corpus", type=Path, help="a corpus folder")
    train.add_argument("--recipe", required=True, help="a YAML file, or the name of one that comes with moodline")
    train.add_argument("--protocol", required=True, help="session5, cv5, cv10, kfold5, official, all, ...")
    train.add_argument("--fold", type=str, default=None, help="train this fold alone")
    train.add_argument("-o", "--out", type=Path, required=True, help="the run's folder")
    train.add_argument("--reuse", type=Path, default=None, help="take over what runs in this folder have finished")
    embeddings.add_embeddings(train)
    words.add_words(train, "that train; the run is then scored on such words too")
    train.add_argument("--licence", default=None, help="of the models of the run: a line, such as 'CC BY-NC 4.0'")
    add_device(train, "training runs on")
    train.add_argument("--accelerator", default="auto", help="cpu, gpu, ... (Lightning's)")
    train.add_argument("--devices", default="auto", help="how many (Lightning's)")
    train.add_argument("--num-nodes", type=int, default=1, help="machines (Lightning's)")
    train.add_argument("--strategy", default="auto", help="ddp, ... (Lightning's)")
    train.add_argument("--precision", default="32-true", help="bf16-mixed, ... (Lightning's)")
    train.add_argument(
        "--num-workers", type=int, default=0, help="processes that read audio; results do not depend on it"
    )
    train.add_class_arguments(Recipe)
    commands.add_subcommand("train", train, help=TRAIN_HELP)


@resumable()
def run_train(options: Any, given: Any) -> None:
    recipe, name = resolve_recipe(options.recipe, given)
    from moodline.corpora.asr_column import read_corpus_with_words
    from moodline.corpora.protocols import build_folds, choose_fold
    from moodline.embeddings import read_embeddings
    from moodline.errors import terminal
    from moodline.training.run import EmbeddingsReference, Run, resolve_label_set, resolve_licence
    from moodline.training.train import train_folds
    from moodline.training.trainer import is_main_process

    hardware = chosen_hardware(options, given)
    label_set = resolve_label_set(recipe, options.out)
    corpus = read_corpus_with_words(options.words or words.REFERENCE, options.corpus)
    files = {encoder: read_embeddings(path) for encoder, path in embeddings.collect_embeddings_files(options).items()}
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
    console = terminal(quiet=not is_main_process())
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
            f"--device {options.device} and --{several[0]} {named[several[0]]} both choose what training runs on: "
            "leave one of them out"
        )
    return Hardware.on(
        chosen_device(options.device),
        **{name: value for name, value in named.items() if name not in ("accelerator", "devices")},
    )


def resolve_recipe(name: str, given: Any) -> tuple[Recipe, str]:
    """The recipe with the keys that the command line gives in place of its own, and its name; notes on idle keys."""
    content, path = read_recipe(name)
    keys = {field.name for field in dataclasses.fields(Recipe)}
    overrides = {key: value for key, value in given.as_dict().items() if key in keys}
    content = merged(content, overrides)
    recipe = parse_recipe(content, str(path))
    for note in notes_on_idle(content, recipe):
        say(f"Note: {note}")
    return recipe, path.stem


EMBED_HELP = "Write a model's embeddings of every utterance of a corpus."


def add_embed(commands: Any) -> None:
    embed = Parser(prog="moodline embed", description=EMBED_HELP)
    embed.add_argument("corpus", type=Path, help="a corpus folder")
    embed.add_argument("--model", type=Path, required=True, help="a model folder")
    stages = ["utterance", "context", "fusion"]
    embed.add_argument("--stage", choices=stages, default="utterance", help="whose embeddings are written")
    embeddings.add_embeddings(embed)
    add_device(embed)
    embed.add_argument("-o", "--out", type=Path, required=True, help="the files' folder: audio.parquet, text.parquet")
    commands.add_subcommand("embed", embed, help=EMBED_HELP)


def run_embed(options: Any, given: Any) -> None:
    from moodline.corpora.corpus import read_corpus
    from moodline.embeddings import get_vectors, read_precomputed
    from moodline.inference.embed import write_model_embeddings
    from moodline.inference.pipeline import load

    device = chosen_device(options.device)
    conversations = read_corpus(options.corpus).conversations
    predictor = load(options.model, device=device)
    files = read_precomputed(predictor.model.recipe, embeddings.collect_embeddings_files(options), conversations)
    progress = partial(show_progress, str(options.model), total=len(conversations))
    predictor, seen = predictor.with_embeddings(get_vectors(files)), [file.training_record for file in files.values()]
    for path in write_model_embeddings(predictor, conversations, options.stage, options.out, progress, seen):
        say(path)
