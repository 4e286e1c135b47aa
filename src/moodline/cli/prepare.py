"""moodline prepare: raw files of a corpus to a corpus folder."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli.parser import Parser
from moodline.wording import counted

if TYPE_CHECKING:
    from moodline.corpora.corpus import Corpus

SHOWN_IDS = 12
HELP = "Read a corpus into one table."
# Reader, in moodline.corpora -> what it reads, and what its source is.
READERS = {
    "iemocap": ("IEMOCAP's full release, or a tree in its format", "the folder that holds Session1 to Session5"),
    "meld": ("MELD's tables, with its clips where they are", "the folder that holds train_sent_emo.csv"),
    "ravdess": ("RAVDESS's speech recordings", "the folder that holds Actor_01 to Actor_24"),
    "table": ("anyone's table of utterances, with words, audio files or both", "a CSV, JSON lines or Parquet file"),
}


def add_to(commands: Any) -> None:
    prepare = Parser(prog="moodline prepare", description=HELP)
    commands.add_subcommand("prepare", prepare, help=HELP)
    readers = prepare.add_subcommands(dest="reader")
    for name, (what, source) in READERS.items():
        reader = Parser(prog=f"moodline prepare {name}", description=f"Read {what}.")
        reader.add_argument("source", type=Path, help=source)
        add_out(reader)
        readers.add_subcommand(name, reader, help=what)
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
        prepare(options.reader, chosen.source, chosen.out, chosen.strict)


def prepare(reader: str, source: Path, out: Path, strict: bool) -> None:
    finish(importlib.import_module(f"moodline.corpora.{reader}").read(source), out, strict)


def finish(corpus: "Corpus", out: Path, strict: bool) -> None:
    """Write what a reader read, and tell how much that is, how it was taken, what was left out, first faults."""
    from moodline.corpora.corpus import FAULTS_FILE, RECOGNISED_FILE, refuse_faults, write_corpus
    from moodline.corpora.validation import told_faults

    if strict:
        refuse_faults(corpus)
    replaced = write_corpus(corpus, out)
    conversations = counted(len(corpus.conversations), "conversation")
    utterances = counted(sum(1 for _ in corpus.utterances), "utterance")
    left_out = sum(len(ids) for ids in corpus.left_out.values())
    print(f"{out}: {conversations}, {utterances}; left out: {left_out}")
    if replaced:
        print(f"  what {out} held before was other content of the same source: it is replaced")
        if (out / RECOGNISED_FILE).is_file():
            print(f"  its recognised words are those of before: moodline transcribe {out} recognises what is new")
    for note in corpus.notes:
        print(f"  {note}")
    for reason, ids in corpus.left_out.items():
        print(f"  {reason}: {len(ids)} ({listed(ids)})")
    for line in told_faults(corpus.faults, out / FAULTS_FILE):
        print(line)


def listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN_IDS]) + (", ..." if len(ids) > SHOWN_IDS else "")


def prepare_demo(options: Any) -> None:
    from moodline.corpora import iemocap
    from moodline.corpora.corpus import replaceable
    from moodline.corpora.synthetic import generate

    out = options.out.absolute()  # so that "." has a name
    tree = out.with_name(f"{out.name}-tree")
    replaceable(out, "demo", tree.resolve())  # before minutes go into a tree
    generate(tree, conversations_per_session=options.conversations, seed=options.seed)
    finish(replace(iemocap.read(tree), reader="demo"), options.out, options.strict)
