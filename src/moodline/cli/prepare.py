"""moodline prepare: raw files of a corpus to a corpus folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli.parser import Parser

if TYPE_CHECKING:
    from moodline.corpora.corpus import Corpus

HELP = "Read a corpus into one table."


def add_to(commands: Any) -> None:
    prepare = Parser(prog="moodline prepare", description=HELP)
    commands.add_subcommand("prepare", prepare, help=HELP)
    readers = prepare.add_subcommands(dest="reader")
    iemocap = Parser(
        prog="moodline prepare iemocap", description="Read IEMOCAP's full release, or a tree in its format."
    )
    iemocap.add_argument("source", type=Path, help="the folder that holds Session1 to Session5")
    add_out(iemocap)
    readers.add_subcommand("iemocap", iemocap, help="IEMOCAP's full release")
    demo = Parser(prog="moodline prepare demo", description="Make a demo corpus of synthetic voices, and read it.")
    add_out(demo)
    demo.add_argument("--conversations", type=int, default=8, help="in each of the five sessions")
    demo.add_argument("--seed", type=int, default=0, help="the same seed gives the same corpus")
    readers.add_subcommand("demo", demo, help="a made-up corpus of synthetic voices")


def add_out(command: Parser) -> None:
    command.add_argument("-o", "--out", type=Path, required=True, help="the corpus folder to write")
    command.add_argument(
        "--strict", action="store_true", help="refuse a corpus with faults, instead of leaving out what is broken"
    )


def run(options: Any, given: Any) -> None:
    chosen = options[options.reader]
    if options.reader == "demo":
        prepare_demo(chosen)
    else:
        prepare_iemocap(chosen.source, chosen.out, chosen.strict)


def prepare_iemocap(source: Path, out: Path, strict: bool) -> None:
    from moodline.corpora import iemocap

    finish(iemocap.read(source), out, strict)


def finish(corpus: "Corpus", out: Path, strict: bool) -> None:
    """Write what a reader read, and tell how much that is, what was left out, and the first of its faults."""
    from moodline.corpora.corpus import FAULTS_FILE, refuse_faults, write_corpus
    from moodline.corpora.validation import told_faults

    if strict:
        refuse_faults(corpus)
    write_corpus(corpus, out)
    left_out = sum(len(ids) for ids in corpus.left_out.values())
    count = sum(1 for _ in corpus.utterances)
    print(f"{out}: {len(corpus.conversations)} conversations, {count} utterances; left out: {left_out}")
    for line in told_faults(corpus.faults, out / FAULTS_FILE):
        print(line)


def prepare_demo(options: Any) -> None:
    from moodline.corpora.demo import generate

    tree = options.out.with_name(options.out.name + "-tree")
    if not tree.exists():
        generate(tree, conversations_per_session=options.conversations, seed=options.seed)
    prepare_iemocap(tree, options.out, options.strict)
