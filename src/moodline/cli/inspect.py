"""moodline inspect: what is in a corpus."""

from pathlib import Path
from typing import Any

from moodline.cli.parser import Parser

HELP = "Show what is in a corpus."


def add_to(commands: Any) -> None:
    inspect = Parser(prog="moodline inspect", description=HELP)
    inspect.add_argument("corpus", type=Path, help="a corpus folder")
    commands.add_subcommand("inspect", inspect, help=HELP)


def run(options: Any, given: Any) -> None:
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.inspection import print_inspection
    from moodline.corpora.recognised import told_words

    corpus = read_corpus(options.corpus)
    print_inspection(corpus)
    for line in told_words(options.corpus, corpus):
        print(line)
