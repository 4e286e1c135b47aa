"""moodline prepare, inspect and transcribe."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli.options import (
    Parser,
    add_corpus,
    add_device,
    add_out,
    add_recognition,
    build_turn_progress,
    find_corpus,
    plan_outputs,
    process_each,
    refuse_options,
    refuse_run_together,
    refuse_several_with,
    require_at_least_one,
    resumable,
    show_progress,
)
from moodline.console import flatten_text, print_data, print_line
from moodline.errors import MoodlineError, format_count

if TYPE_CHECKING:
    from moodline.asr import SpeechRecogniser
    from moodline.conversation import Segment
    from moodline.corpora.corpus import Corpus


MAX_SHOWN_IDS = 12
PREPARE_HELP = "Read a corpus into one table."
# Reader, a module of moodline.corpora -> what it reads, and the source that it takes.
READERS = {
    "iemocap": ("IEMOCAP's full release, or a tree in its format", "the folder that holds Session1 to Session5"),
    "meld": ("MELD's tables, with its clips where they are", "the folder that holds train_sent_emo.csv"),
    "ravdess": ("RAVDESS's speech recordings", "the folder that holds Actor_01 to Actor_24"),
    "table": ("any table of utterances, with words, audio files or both", "a CSV, JSON lines or Parquet file"),
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
    readers.add_subcommand("demo", demo, help="a demo corpus of synthetic voices")


def add_output_arguments(command: Parser) -> None:
    add_out(command, "the corpus folder to write")
    command.add_argument("--strict", action="store_true", help="refuse a corpus with faults, and leave nothing out")


def run_prepare(options: Any, given: Any) -> None:
    chosen = options[options.reader]
    if options.reader == "demo":
        corpus = read_demo(chosen.out, chosen.conversations, chosen.seed)
    else:
        corpus = importlib.import_module(f"moodline.corpora.{options.reader}").read(chosen.source)
    write_and_report(corpus, chosen.out, chosen.strict)


def write_and_report(corpus: "Corpus", out: Path, strict: bool) -> None:
    """Write a corpus, and print its counts, its reader's notes, what is left out, and its first faults."""
    from moodline.corpora.corpus import ASR_COLUMN_FILE, FAULTS_FILE, refuse_faults, write_corpus
    from moodline.corpora.validation import describe_faults

    if strict:
        refuse_faults(corpus)
    replaced = write_corpus(corpus, out)
    conversations = format_count(len(corpus.conversations), "conversation")
    utterances = format_count(sum(1 for _ in corpus.utterances), "utterance")
    left_out = sum(len(ids) for ids in corpus.left_out.values())
    print_line(f"{out}: {conversations}, {utterances}; left out: {left_out}")
    if replaced:
        print_line("  replaced the corpus that was prepared before from the same source, whose content has changed")
        if (out / ASR_COLUMN_FILE).is_file():
            print_line(f"  the recognised words are not up to date: moodline transcribe {out} recognises what is new")
    for note in corpus.notes:
        print_line(f"  {note}")
    for reason, ids in corpus.left_out.items():
        print_line(f"  {reason}: {len(ids)} ({format_ids(ids)})")
    for line in describe_faults(corpus.faults, out / FAULTS_FILE):
        print_line(line)


def format_ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:MAX_SHOWN_IDS]) + (", ..." if len(ids) > MAX_SHOWN_IDS else "")


def read_demo(out: Path, conversations: int, seed: int) -> "Corpus":
    """Generate the demo corpus's tree beside ``out``, where it is not there yet, and read it."""
    from moodline.corpora import iemocap
    from moodline.corpora.corpus import find_replaceable
    from moodline.corpora.synthetic import generate

    out = out.absolute()  # so that "." has a name
    tree = out.with_name(f"{out.name}-tree")
    find_replaceable(out, "demo", tree.resolve())  # a tree takes minutes: refuse ``out`` before
    generate(tree, conversations_per_session=conversations, seed=seed)
    return replace(iemocap.read(tree), reader="demo")


INSPECT_HELP = "Show the content of a corpus."


def add_inspect(commands: Any) -> None:
    inspect = Parser(prog="moodline inspect", description=INSPECT_HELP)
    add_corpus(inspect)
    commands.add_subcommand("inspect", inspect, help=INSPECT_HELP)


def run_inspect(options: Any, given: Any) -> None:
    from moodline.corpora.asr_column import describe_asr_column
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.inspection import print_inspection

    corpus = read_corpus(options.corpus)
    print_inspection(corpus)
    for line in describe_asr_column(options.corpus, corpus):
        print_line(line)


FORMAT_SUFFIXES = {name: f".{name}" for name in ("srt", "vtt", "json", "csv", "jsonl")} | {"textgrid": ".TextGrid"}
DEFAULT_FOLDER_FORMAT = "srt"


def transcribe_recordings(options: Any, sources: Sequence[Path]) -> None:
    """Print or write what is said in recordings, one after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: nothing can be begun, or the only recording failed, or some of several did
    """
    from moodline.asr import SpeechRecogniser
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
    device = recogniser_device(options.device)
    with SpeechRecogniser(options.recogniser, options.jobs, device) as recogniser:
        if options.recogniser is not None:
            recogniser.choose()  # before any recording is decoded
        process_each(sources, lambda source: deliver_transcript(source, options, recogniser, places.get(source, [])))


def refuse_other_format(place: Path, format: str | None) -> None:
    if format is not None and place.suffix.lower() != FORMAT_SUFFIXES[format].lower():
        raise MoodlineError(
            f"{place} does not end with {FORMAT_SUFFIXES[format]}, as {format} does: rename it, or leave out --format",
            code="option.contradiction",
        )


def deliver_transcript(source: Path, options: Any, recogniser: "SpeechRecogniser", places: Sequence[Path]) -> None:
    """What is said in one recording, to its file or to the terminal, where it comes last."""
    from moodline.inference.transcribe import transcribe
    from moodline.transcripts.formats import format_transcript

    spoken = transcribe(
        source,
        transcript=options.transcript,
        channels=options.channels,
        recogniser=recogniser,
        progress=build_turn_progress(source),
    )
    for place in places:
        spoken.write(place)
    told = f"turns from {spoken.turns_from}, words from {spoken.words_from}"
    print_line(": ".join(map(str, (source, *places, told))), sys.stdout if places else sys.stderr)
    for note in spoken.notes:
        print_line(f"{source}: {note}", sys.stderr)
    if not places and options.format:
        print_data(format_transcript(FORMAT_SUFFIXES[options.format], spoken.turns_with_words).removesuffix("\n"))
    elif not places:
        if len(options.sources) > 1:
            print_line(f"{source}:")
        for line in format_lines(spoken.turns):
            print_line(line)


def format_lines(turns: "Sequence[Segment]") -> Iterator[str]:
    """A line a turn: when it starts, who speaks, what is said."""
    from moodline.transcripts.subtitles import format_clock, round_to_milliseconds

    speakers = [flatten_text(turn.speaker) for turn in turns]
    width = max(map(len, speakers))
    for turn, speaker in zip(turns, speakers, strict=True):
        start = format_clock(round_to_milliseconds(turn)[0], ".")
        yield f"{start}  {speaker:<{width}}  {flatten_text(turn.words or '')}".rstrip()


TRANSCRIBE_HELP = "Write the words of recordings, or add recognised words to a corpus beside its reference words."
CORPUS_OPTIONS = ("tts", "import_words")
RECORDING_OPTIONS = ("transcript", "channels", "format", "out", "force")


def add_transcribe(commands: Any) -> None:
    transcribe = Parser(prog="moodline transcribe", description=TRANSCRIBE_HELP)
    transcribe.add_argument("sources", type=Path, nargs="+", help="recordings, or a corpus folder")
    add_recognition(transcribe)
    transcribe.add_argument("-o", "--out", type=Path, default=None, help="the transcript's file, or a folder")
    transcribe.add_argument("--format", choices=list(FORMAT_SUFFIXES), default=None, help="in a folder, or printed")
    transcribe.add_argument(
        "--tts", action="store_true", help="of a corpus: recognise synthetic voices that speak the reference words"
    )
    transcribe.add_argument(
        "--import-words", type=Path, default=None, help="of a corpus: a table of id and words, recognised elsewhere"
    )
    add_device(transcribe, "Whisper runs on")
    commands.add_subcommand("transcribe", transcribe, help=TRANSCRIBE_HELP)


def run_transcribe(options: Any, given: Any) -> None:
    require_at_least_one(options, "jobs")
    corpus = find_corpus(options.sources)
    if corpus is None:
        refuse_options(given, CORPUS_OPTIONS, f"for a corpus, and {options.sources[0]} is not a folder")
        transcribe_recordings(options, options.sources)
    else:
        refuse_options(given, RECORDING_OPTIONS, f"for recordings, and {corpus} is a corpus folder")
        add_recognised_words(options, corpus)


@resumable()
def add_recognised_words(options: Any, folder: Path) -> None:
    """Add recognised words to a corpus."""
    if options.import_words is not None and (options.recogniser is not None or options.tts):
        raise MoodlineError(
            "--import-words takes words that are recognised already: leave out --recogniser and --tts",
            code="option.contradiction",
        )
    from moodline.asr import SpeechRecogniser
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.transcription import import_asr, transcribe_corpus
    from moodline.device import recogniser_device

    corpus = read_corpus(folder)
    if options.import_words is not None:
        recognition = import_asr(folder, corpus, options.import_words)
    else:
        device = recogniser_device(options.device)
        with SpeechRecogniser(options.recogniser, options.jobs, device) as recogniser:
            recognition = transcribe_corpus(
                folder,
                corpus,
                recogniser,
                lambda done, total: show_progress(str(folder), done, total, "utterances"),
                tts=options.tts,
            )
    print_line(f"{folder}: {recognition}")
