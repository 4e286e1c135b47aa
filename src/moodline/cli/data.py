"""moodline prepare, inspect and transcribe."""

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonargparse

from moodline.cli.options import (
    Parser,
    add_device,
    build_turn_progress,
    find_corpus,
    plan_outputs,
    process_each,
    refuse_options,
    refuse_run_together,
    refuse_several_with,
    resumable,
)
from moodline.errors import MoodlineError, clean, format_count, give, say

if TYPE_CHECKING:
    from moodline.conversation import Segment
    from moodline.corpora.corpus import Corpus


MAX_SHOWN_IDS = 12
PREPARE_HELP = "Read a corpus into one table."
# Reader, in moodline.corpora -> what it reads, and what its source is.
READERS = {
    "iemocap": ("IEMOCAP's full release, or a tree in its format", "the folder that holds Session1 to Session5"),
    "meld": ("MELD's tables, with its clips where they are", "the folder that holds train_sent_emo.csv"),
    "ravdess": ("RAVDESS's speech recordings", "the folder that holds Actor_01 to Actor_24"),
    "table": ("anyone's table of utterances, with words, audio files or both", "a CSV, JSON lines or Parquet file"),
}


def add_prepare(commands: Any) -> None:
    prepare = Parser(prog="moodline prepare", description=PREPARE_HELP)
    commands.add_subcommand("prepare", prepare, help=PREPARE_HELP)
    readers = prepare.add_subcommands(dest="reader")
    for name, (what, source) in READERS.items():
        reader = Parser(prog=f"moodline prepare {name}", description=f"Read {what}.")
        reader.add_argument("source", type=Path, help=source)
        add_output_arguments(reader)
        readers.add_subcommand(name, reader, help=what)
    demo = Parser(prog="moodline prepare demo", description="Make a demo corpus of synthetic voices, and read it.")
    add_output_arguments(demo)
    demo.add_argument("--conversations", type=int, default=8, help="in each of the five sessions")
    demo.add_argument("--seed", type=int, default=0, help="the same seed gives the same corpus")
    readers.add_subcommand("demo", demo, help="a made-up corpus of synthetic voices")


def add_output_arguments(command: Parser) -> None:
    command.add_argument("-o", "--out", type=Path, required=True, help="the corpus folder to write")
    command.add_argument(
        "--strict", action="store_true", help="refuse a corpus with faults, instead of leaving out what is broken"
    )


def run_prepare(options: Any, given: Any) -> None:
    chosen = options[options.reader]
    if options.reader == "demo":
        prepare_demo(chosen)
    else:
        prepare_corpus(options.reader, chosen.source, chosen.out, chosen.strict)


def prepare_corpus(reader: str, source: Path, out: Path, strict: bool) -> None:
    write_and_report(importlib.import_module(f"moodline.corpora.{reader}").read(source), out, strict)


def write_and_report(corpus: "Corpus", out: Path, strict: bool) -> None:
    """Write what a reader read, and tell how much that is, how it was taken, what was left out, first faults."""
    from moodline.corpora.corpus import ASR_COLUMN_FILE, FAULTS_FILE, refuse_faults, write_corpus
    from moodline.corpora.validation import describe_faults

    if strict:
        refuse_faults(corpus)
    replaced = write_corpus(corpus, out)
    conversations = format_count(len(corpus.conversations), "conversation")
    utterances = format_count(sum(1 for _ in corpus.utterances), "utterance")
    left_out = sum(len(ids) for ids in corpus.left_out.values())
    say(f"{out}: {conversations}, {utterances}; left out: {left_out}")
    if replaced:
        say(f"  what {out} held before was other content of the same source: it is replaced")
        if (out / ASR_COLUMN_FILE).is_file():
            say(f"  its recognised words are those of before: moodline transcribe {out} recognises what is new")
    for note in corpus.notes:
        say(f"  {note}")
    for reason, ids in corpus.left_out.items():
        say(f"  {reason}: {len(ids)} ({format_ids(ids)})")
    for line in describe_faults(corpus.faults, out / FAULTS_FILE):
        say(line)


def format_ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:MAX_SHOWN_IDS]) + (", ..." if len(ids) > MAX_SHOWN_IDS else "")


def prepare_demo(options: Any) -> None:
    from moodline.corpora import iemocap
    from moodline.corpora.corpus import find_replaceable
    from moodline.corpora.synthetic import generate

    out = options.out.absolute()  # so that "." has a name
    tree = out.with_name(f"{out.name}-tree")
    find_replaceable(out, "demo", tree.resolve())  # before minutes go into a tree
    generate(tree, conversations_per_session=options.conversations, seed=options.seed)
    write_and_report(replace(iemocap.read(tree), reader="demo"), options.out, options.strict)


INSPECT_HELP = "Show what is in a corpus."


def add_inspect(commands: Any) -> None:
    inspect = Parser(prog="moodline inspect", description=INSPECT_HELP)
    inspect.add_argument("corpus", type=Path, help="a corpus folder")
    commands.add_subcommand("inspect", inspect, help=INSPECT_HELP)


def run_inspect(options: Any, given: Any) -> None:
    from moodline.corpora.asr_column import describe_asr_column
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.inspection import print_inspection

    corpus = read_corpus(options.corpus)
    print_inspection(corpus)
    for line in describe_asr_column(options.corpus, corpus):
        say(line)


FORMAT_SUFFIXES = {name: f".{name}" for name in ("srt", "vtt", "json", "csv", "jsonl")} | {"textgrid": ".TextGrid"}
DEFAULT_FOLDER_FORMAT = "srt"


def transcribe_recordings(options: Any, sources: Sequence[Path]) -> None:
    """Print or write what is said in recordings, one after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: nothing can be begun, or the only recording failed, or some of several did
    """
    from moodline.asr import choose_recogniser
    from moodline.device import recogniser_device
    from moodline.transcripts.formats import refuse_wordless_format

    refuse_several_with(options.transcript, sources)
    places = plan_outputs(
        sources,
        [FORMAT_SUFFIXES[options.format or DEFAULT_FOLDER_FORMAT]],
        options.out,
        options.transcript,
        force=options.force,
    )
    for place in (file for files in places.values() for file in files):
        refuse_wordless_format(place)
        refuse_other_format(place, options.format)
    if options.out is None and options.format:
        refuse_run_together(sources, options.format)
    recogniser_device(options.device)  # before the first recording: an unavailable one is refused once
    recogniser = None if options.recogniser is None else choose_recogniser(options.recogniser)
    process_each(sources, lambda source: deliver_transcript(source, options, recogniser, places.get(source, [])))


def refuse_other_format(place: Path, format: str | None) -> None:
    if format is not None and place.suffix.lower() != FORMAT_SUFFIXES[format].lower():
        raise MoodlineError(
            f"a transcript's ending tells its format: {place} would not hold {format}; leave --format out, or name a "
            f"file that ends with {FORMAT_SUFFIXES[format]}"
        )


def deliver_transcript(source: Path, options: Any, recogniser: str | None, places: Sequence[Path]) -> None:
    """What is said in one recording, to its file or to the terminal, where it comes last."""
    from moodline.inference.transcribe import transcribe
    from moodline.transcripts.formats import format_transcript

    spoken = transcribe(
        source,
        transcript=options.transcript,
        channels=options.channels,
        recogniser=recogniser,
        jobs=options.jobs,
        device=options.device,
        progress=build_turn_progress(source),
    )
    for place in places:
        spoken.write(place)
    told = f"turns from {spoken.turns_from}, words from {spoken.words_from}"
    say(": ".join(map(str, (source, *places, told))), sys.stdout if places else sys.stderr)
    for note in spoken.notes:
        say(f"{source}: {note}", sys.stderr)
    if not places and options.format:
        give(format_transcript(FORMAT_SUFFIXES[options.format], spoken.turns_with_words).removesuffix("\n"))
    elif not places:
        if len(options.sources) > 1:
            say(f"{source}:")
        for line in format_lines(spoken.turns):
            say(line)


def format_lines(turns: "Sequence[Segment]") -> Iterator[str]:
    """A line a turn: when it starts, who speaks, what is said."""
    from moodline.transcripts.subtitles import format_clock, round_to_milliseconds

    speakers = [clean(turn.speaker) for turn in turns]
    width = max(map(len, speakers))
    for turn, speaker in zip(turns, speakers, strict=True):
        start = format_clock(round_to_milliseconds(turn)[0], ".")
        yield f"{start}  {speaker:<{width}}  {clean(turn.words or '')}".rstrip()


TRANSCRIBE_HELP = "Write what is said in recordings, or give a corpus recognised words beside its reference ones."
CORPUS_OPTIONS = ("tts", "words")
RECORDING_OPTIONS = ("transcript", "channels", "format", "out", "force")


def add_transcribe(commands: Any) -> None:
    transcribe = Parser(prog="moodline transcribe", description=TRANSCRIBE_HELP)
    transcribe.add_argument("sources", type=Path, nargs="+", help="recordings, or a corpus folder")
    transcribe.add_argument(
        "--recogniser", default=None, help="pocketsphinx, or a folder or name of a model of faster-whisper"
    )
    transcribe.add_argument("--transcript", type=Path, default=None, help="a recording's turns, such as RTTM")
    transcribe.add_argument(
        "--channels", choices=["mixed", "speakers"], default="mixed", help="speakers: each channel has its own"
    )
    transcribe.add_argument("-o", "--out", type=Path, default=None, help="a recording's transcript, or a folder")
    transcribe.add_argument("--format", choices=list(FORMAT_SUFFIXES), default=None, help="in a folder, or printed")
    transcribe.add_argument("--force", action="store_true", help="replace files that exist")
    transcribe.add_argument(
        "--tts", action="store_true", help="of a corpus: recognise synthetic voices that speak the reference words"
    )
    transcribe.add_argument("--speak-words", action="store_true", help=jsonargparse.SUPPRESS)  # deprecated
    transcribe.add_argument(
        "--words", type=Path, default=None, help="of a corpus: recognised elsewhere, a table of id and words"
    )
    transcribe.add_argument("--jobs", type=int, default=count_cores(), help="turns recognised at a time")
    add_device(transcribe, "Whisper runs on")
    commands.add_subcommand("transcribe", transcribe, help=TRANSCRIBE_HELP)


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_transcribe(options: Any, given: Any) -> None:
    if options.jobs < 1:
        raise MoodlineError(f"--jobs is 1 or more, not {options.jobs}")
    if options.speak_words:
        print("moodline: --speak-words is deprecated; use --tts", file=sys.stderr, flush=True)
        options.tts = given.tts = True
    corpus = find_corpus(options.sources)
    if corpus is None:
        refuse_options(given, CORPUS_OPTIONS, f"for a corpus, and {options.sources[0]} is no folder")
        transcribe_recordings(options, options.sources)
    else:
        refuse_options(given, RECORDING_OPTIONS, f"for recordings, and {corpus} is a folder, as a corpus is")
        transcribe_corpus(options, corpus)


@resumable()
def transcribe_corpus(options: Any, folder: Path) -> None:
    """Give a corpus its second column of words."""
    if options.words is not None and (options.recogniser is not None or options.tts):
        raise MoodlineError("--words imports words that are recognised already: leave out --recogniser and --tts")
    from moodline.asr import choose_recogniser
    from moodline.cli.options import show_progress
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.transcription import import_asr, transcribe_corpus
    from moodline.device import recogniser_device

    corpus = read_corpus(folder)
    if options.words is not None:
        recognition = import_asr(folder, corpus, options.words)
    else:
        recognition = transcribe_corpus(
            folder,
            corpus,
            choose_recogniser(options.recogniser),
            options.jobs,
            lambda done, total: show_progress(str(folder), done, total, "utterances"),
            tts=options.tts,
            device=recogniser_device(options.device),
        )
    say(f"{folder}: {recognition}")
