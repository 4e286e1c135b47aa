"""moodline embed: what a model's stages make of a corpus's utterances, as files for other programs and for train."""

from functools import partial
from pathlib import Path
from typing import Any

from moodline.cli import embeddings
from moodline.cli.parser import Parser
from moodline.cli.progress import show

HELP = "Write a model's embeddings of every utterance of a corpus."


def add_to(commands: Any) -> None:
    embed = Parser(prog="moodline embed", description=HELP)
    embed.add_argument("corpus", type=Path, help="a corpus folder")
    embed.add_argument("--model", type=Path, required=True, help="a model folder")
    stages = ["utterance", "context", "fusion"]
    embed.add_argument("--stage", choices=stages, default="utterance", help="whose embeddings are written")
    embeddings.add_to(embed)
    embed.add_argument("-o", "--out", type=Path, required=True, help="the files' folder: audio.parquet, text.parquet")
    commands.add_subcommand("embed", embed, help=HELP)


def run(options: Any, given: Any) -> None:
    from moodline.corpora.corpus import read_corpus
    from moodline.inference.embed import embed
    from moodline.inference.given import read_given, vectors_of
    from moodline.inference.loaded import load

    conversations = read_corpus(options.corpus).conversations
    predictor = load(options.model)
    files = read_given(predictor.model.recipe, embeddings.chosen(options), conversations)
    progress = partial(show, str(options.model), total=len(conversations))
    predictor, seen = predictor.with_embeddings(vectors_of(files)), [file.seen for file in files.values()]
    for path in embed(predictor, conversations, options.stage, options.out, progress, seen):
        print(path)
