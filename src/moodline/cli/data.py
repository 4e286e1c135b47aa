"""moodline prepare, inspect and transcribe."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt

from moodline.cli import options as cli
from moodline.console import flatten_text, print_data, print_line
from moodline.errors import MoodlineError, format_count

if TYPE_CHECKING:
    from moodline.conversation import Segment
    from moodline.corpora.corpus import Corpus

MAX_SHOWN_IDS = 12
# Reader, a module of moodline.corpora -> what it reads, and the source that it takes.
READERS = {
    "iemocap": ("Read IEMOCAP, or a tree in its format.", "the folder that contains Session1 to Session5"),
    "meld": ("Read MELD's tables, and its clips if there are some.", "the folder that contains train_sent_emo.csv"),
    "ravdess": ("Read RAVDESS's speech recordings.", "the folder that contains Actor_01 to Actor_24"),
    "table": ("Read any table of utterances, with words, audio files or both.", "a CSV, JSON lines or Parquet file"),
}


def run_prepare(options: Any, typed: Any) -> None:
    """Write a corpus, and print its counts, its reader's notes, what is left out, and its first faults."""
    from moodline.corpora.corpus import ASR_COLUMN_FILE, FAULTS_FILE, refuse_faults, write_corpus
    from moodline.corpora.validation import describe_faults

    reader, chosen = options.command, options[options.command]
    if reader == "demo":
        corpus = read_demo(chosen.out, chosen.conversations, chosen.seed)
    else:
        corpus = importlib.import_module(f"moodline.corpora.{reader}").read(chosen.source)
    if chosen.strict:
        refuse_faults(corpus)
    replaced = write_corpus(corpus, chosen.out)
    conversations = format_count(len(corpus.conversations), "conversation")
    utterances = format_count(sum(1 for _ in corpus.utterances), "utterance")
    left_out = sum(len(ids) for ids in corpus.left_out.values())
    print_line(f"{chosen.out}: {conversations}, {utterances}; left out: {left_out}")
    if replaced:
        print_line("  replaced the corpus that was prepared before from the same source, whose content has changed")
        if (chosen.out / ASR_COLUMN_FILE).is_file():
            print_line(f"  recognised words are out of date: moodline transcribe {chosen.out} recognises what is new")
    for note in corpus.notes:
        print_line(f"  {note}")
    for reason, ids in corpus.left_out.items():
        more = ", ..." if len(ids) > MAX_SHOWN_IDS else ""
        print_line(f"  {reason}: {len(ids)} ({', '.join(ids[:MAX_SHOWN_IDS])}{more})")
    for line in describe_faults(corpus.faults, chosen.out / FAULTS_FILE):
        print_line(line)


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


def run_inspect(options: Any, typed: Any) -> None:
    from moodline.corpora.asr_column import describe_asr_column
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.inspection import print_inspection

    corpus = read_corpus(options.corpus)
    print_inspection(corpus)
    for line in describe_asr_column(options.corpus, corpus):
        print_line(line)


FORMAT_SUFFIXES = {name: f".{name}" for name in ("srt", "vtt", "json", "csv", "jsonl")} | {"textgrid": ".TextGrid"}
DEFAULT_FOLDER_FORMAT = "srt"


def run_transcribe(options: Any, typed: Any) -> None:
    corpus = cli.find_corpus(
        options,
        typed,
        ("--tts", "--import-words"),
        ("--transcript", "--channels", "--speakers", "--names", "--format", "-o", "--force"),
    )
    if corpus is None:
        transcribe_recordings(options)
    else:
        add_recognised_words(options, corpus)


def transcribe_recordings(options: Any) -> None:
    """Print or write the words of recordings, one after the other; report each that fails, and go on."""
    from moodline.device import recogniser_device
    from moodline.inference.transcribe import transcribe
    from moodline.speech.asr import SpeechRecogniser
    from moodline.transcripts.formats import format_transcript, refuse_wordless_format

    suffix = FORMAT_SUFFIXES[options.format or DEFAULT_FOLDER_FORMAT]
    places = {source: files[0] for source, files in cli.plan_outputs(options, [suffix], options.format).items()}
    for place in places.values():
        refuse_wordless_format(place)
        if options.format is not None and place.suffix.lower() != suffix.lower():
            fault = f"{place} does not end with {suffix}, as {options.format} does: rename it, or leave out --format"
            raise MoodlineError(fault, code="option.contradiction")

    def transcribe_source(source: Path) -> None:
        progress = cli.build_turn_progress(source)
        spoken = transcribe(
            source,
            transcript=options.transcript,
            **cli.choose_speakers(options),
            recogniser=recogniser,
            progress=progress,
        )
        origin = f"turns from {spoken.turns_from}, words from {spoken.words_from}"
        if source in places:
            cli.refuse_existing(places[source], force=options.force)  # another process may have written it by now
            spoken.write(places[source])
            print_line(f"{source}: {places[source]}: {origin}")
        else:
            print_line(f"{source}: {origin}", sys.stderr)
        for note in spoken.notes:
            print_line(f"{source}: {note}", sys.stderr)
        if source in places:
            return
        if options.format:
            print_data(format_transcript(suffix, spoken.turns_with_words).removesuffix("\n"))
            return
        if len(options.sources) > 1:
            print_line(f"{source}:")
        for line in format_lines(spoken.turns):
            print_line(line)

    with SpeechRecogniser(options.recogniser, options.jobs, recogniser_device(options.device)) as recogniser:
        if options.recogniser is not None:
            recogniser.choose()  # before any recording is decoded
        cli.process_each(options.sources, transcribe_source)


def format_lines(turns: "Sequence[Segment]") -> Iterator[str]:
    """Format a line a turn: its start, its speaker, its words."""
    from moodline.transcripts.subtitles import format_clock

    speakers = [flatten_text(turn.speaker) for turn in turns]
    width = max(map(len, speakers))
    for turn, speaker in zip(turns, speakers, strict=True):
        yield f"{format_clock(turn.start)}  {speaker:<{width}}  {flatten_text(turn.words or '')}".rstrip()


@cli.resumable()
def add_recognised_words(options: Any, folder: Path) -> None:
    if options.import_words is not None and (options.recogniser is not None or options.tts):
        fault = "--import-words takes words that are recognised already: leave out --recogniser and --tts"
        raise MoodlineError(fault, code="option.contradiction")
    from moodline.corpora.asr_column import import_asr, transcribe_corpus
    from moodline.corpora.corpus import read_corpus
    from moodline.device import recogniser_device
    from moodline.speech.asr import SpeechRecogniser

    corpus = read_corpus(folder)
    if options.import_words is not None:
        recognition = import_asr(folder, corpus, options.import_words)
    else:
        progress = partial(cli.show_progress, str(folder), unit="utterances")
        with SpeechRecogniser(options.recogniser, options.jobs, recogniser_device(options.device)) as recogniser:
            recognition = transcribe_corpus(folder, corpus, recogniser, progress, tts=options.tts)
    print_line(f"{folder}: {recognition}")


CORPUS_OUT = (
    cli.out("the corpus folder to write", required=True),
    cli.flag("--strict", "refuse a corpus with faults, and leave nothing out"),
)
DEMO = cli.Command(
    help="Make a demo corpus of synthetic voices, and read it.",
    shared=CORPUS_OUT,
    options=(
        cli.option("--conversations", type=PositiveInt, default=8, help="how many in each of the five sessions"),
        cli.option("--seed", type=int, default=0, help="the same seed gives the same corpus"),
    ),
)
COMMANDS = {
    "prepare": cli.Command(
        help="Read a corpus into one table.",
        run=run_prepare,
        commands={
            name: cli.Command(help=what, options=(cli.option("source", type=Path, help=source), *CORPUS_OUT))
            for name, (what, source) in READERS.items()
        }
        | {"demo": DEMO},
    ),
    "inspect": cli.Command(help="Show the content of a corpus.", run=run_inspect, shared=(cli.CORPUS,)),
    "transcribe": cli.Command(
        help="Write the words of recordings, or add recognised words to a corpus beside its reference words.",
        run=run_transcribe,
        shared=(*cli.RECOGNITION, cli.DEVICE),
        options=(
            cli.option("sources", type=Path, nargs="+", help="recordings, or a corpus folder"),
            cli.out("the transcript's file, or a folder"),
            cli.option("--format", choices=list(FORMAT_SUFFIXES), help="the format in a folder or on the terminal"),
            cli.flag("--tts", "recognise synthetic voices that speak a corpus's reference words"),
            cli.option("--import-words", type=Path, help="a table (id, words) of words that are already recognised"),
        ),
    ),
}
