"""moodline transcribe: a recording's turns and words as a transcript, or a corpus's words beside its reference ones."""

import os
import sys
from pathlib import Path
from typing import Any

import jsonargparse

from moodline.cli import transcripts
from moodline.cli.interruption import going_on
from moodline.cli.parser import Parser
from moodline.cli.sources import corpus_among, refuse_options
from moodline.errors import MoodlineError

HELP = "Write what is said in recordings, or give a corpus recognised words beside its reference ones."
OF_A_CORPUS = ("tts", "words")
OF_RECORDINGS = ("transcript", "channels", "format", "out", "force")


def add_to(commands: Any) -> None:
    transcribe = Parser(prog="moodline transcribe", description=HELP)
    transcribe.add_argument("sources", type=Path, nargs="+", help="recordings, or a corpus folder")
    transcribe.add_argument(
        "--recogniser", default=None, help="pocketsphinx, or a folder or name of a model of faster-whisper"
    )
    transcribe.add_argument("--transcript", type=Path, default=None, help="a recording's turns, such as RTTM")
    transcribe.add_argument(
        "--channels", choices=["mixed", "speakers"], default="mixed", help="speakers: each channel has its own"
    )
    transcribe.add_argument("-o", "--out", type=Path, default=None, help="a recording's transcript, or a folder")
    transcribe.add_argument("--format", choices=list(transcripts.ENDINGS), default=None, help="in a folder, or printed")
    transcribe.add_argument("--force", action="store_true", help="replace files that exist")
    transcribe.add_argument(
        "--tts", action="store_true", help="of a corpus: recognise synthetic voices that speak the reference words"
    )
    transcribe.add_argument("--speak-words", action="store_true", help=jsonargparse.SUPPRESS)  # deprecated
    transcribe.add_argument(
        "--words", type=Path, default=None, help="of a corpus: recognised elsewhere, a table of id and words"
    )
    transcribe.add_argument("--jobs", type=int, default=cores(), help="turns recognised at a time")
    commands.add_subcommand("transcribe", transcribe, help=HELP)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(options: Any, given: Any) -> None:
    if options.jobs < 1:
        raise MoodlineError(f"--jobs is 1 or more, not {options.jobs}")
    if options.speak_words:
        print("moodline: --speak-words is deprecated; use --tts", file=sys.stderr, flush=True)
        options.tts = given.tts = True
    corpus = corpus_among(options.sources)
    if corpus is None:
        refuse_options(given, OF_A_CORPUS, f"for a corpus, and {options.sources[0]} is no folder")
        transcripts.run(options, options.sources)
    else:
        refuse_options(given, OF_RECORDINGS, f"for recordings, and {corpus} is a folder, as a corpus is")
        transcribe_corpus(options, corpus)


@going_on()
def transcribe_corpus(options: Any, folder: Path) -> None:
    """Give a corpus its second column of words."""
    if options.words is not None and (options.recogniser is not None or options.tts):
        raise MoodlineError("--words imports words that are recognised already: leave out --recogniser and --tts")
    from moodline.cli.progress import show
    from moodline.corpora.brought_words import bring
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.transcription import transcribe
    from moodline.speech.recogniser import choose

    corpus = read_corpus(folder)
    if options.words is not None:
        recognition = bring(folder, corpus, options.words)
    else:
        recognition = transcribe(
            folder,
            corpus,
            choose(options.recogniser),
            options.jobs,
            lambda done, total: show(str(folder), done, total, "utterances"),
            tts=options.tts,
        )
    print(f"{folder}: {recognition}")
