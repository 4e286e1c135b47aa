"""moodline transcribe: recognised words for a corpus, beside its reference ones."""

import os
from pathlib import Path
from typing import Any

from moodline.cli.parser import Parser
from moodline.errors import MoodlineError

HELP = "Give a corpus recognised words, beside its reference ones."


def add_to(commands: Any) -> None:
    transcribe = Parser(prog="moodline transcribe", description=HELP)
    transcribe.add_argument("corpus", type=Path, help="a corpus folder")
    transcribe.add_argument(
        "--recogniser", default=None, help="pocketsphinx, or a folder or name of a model of faster-whisper"
    )
    transcribe.add_argument(
        "--speak-words", action="store_true", help="recognise voices that say the reference words, not the recordings"
    )
    transcribe.add_argument(
        "--words", type=Path, default=None, help="words recognised elsewhere: a table with the columns id and words"
    )
    transcribe.add_argument("--jobs", type=int, default=cores(), help="utterances recognised at a time")
    commands.add_subcommand("transcribe", transcribe, help=HELP)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(options: Any, given: Any) -> None:
    if options.jobs < 1:
        raise MoodlineError(f"--jobs is 1 or more, not {options.jobs}")
    if options.words is not None and (options.recogniser is not None or options.speak_words):
        raise MoodlineError("--words brings words that are recognised: leave out --recogniser and --speak-words")
    from moodline.cli.progress import show
    from moodline.corpora.brought_words import bring
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.transcription import transcribe
    from moodline.speech.recogniser import choose

    corpus = read_corpus(options.corpus)
    if options.words is not None:
        recognition = bring(options.corpus, corpus, options.words)
    else:
        recognition = transcribe(
            options.corpus,
            corpus,
            choose(options.recogniser),
            options.jobs,
            lambda done, total: show(str(options.corpus), done, total, "utterances"),
            speak_words=options.speak_words,
        )
    print(f"{options.corpus}: {recognition}")
