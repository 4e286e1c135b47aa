"""--words: which of a corpus's words are read."""

from moodline.cli.parser import Parser

REFERENCE, RECOGNISED = "reference", "recognised"  # as corpora.recognition has them, which is not loaded here


def add_to(command: Parser, which: str) -> None:
    command.add_argument("--words", choices=[REFERENCE, RECOGNISED], default=None, help=f"the corpus's words {which}")
