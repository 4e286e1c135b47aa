"""moodline predict and stream."""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli import options as embeddings
from moodline.cli import options as modes
from moodline.cli import options as threshold
from moodline.cli import options as words
from moodline.cli.data import count_cores
from moodline.cli.options import (
    Parser,
    add_device,
    build_turn_progress,
    chosen_device,
    find_corpus,
    find_model,
    get_modalities,
    is_folder,
    plan_outputs,
    process_each,
    refuse_existing,
    refuse_options,
    refuse_run_together,
    refuse_several_with,
    report_model,
)
from moodline.config import FUSION, SINGLE_MODALITY_FUSION, SINGLE_MODALITY_FUSION_NAMES, STAGE_NAMES
from moodline.errors import MoodlineError, clean, format_count, give, json_of, say
from moodline.tabular import harmless

if TYPE_CHECKING:
    from moodline.timeline.timeline import ConversationPrediction, UtterancePrediction


TERMINAL = "table"


def label_recordings(options: Any, sources: Sequence[Path], model: Path) -> None:
    """Print or write the timelines of recordings, one after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: nothing can be begun, or the only recording failed, or some of several did
    """
    refuse_several_with(options.transcript, sources)
    formats = find_formats(options.format, options.out)
    places = plan_outputs(sources, list_suffixes(formats), options.out, options.transcript, force=options.force)
    refuse_other_ending(options.format, options.out)
    if options.out is None and formats[0] not in (TERMINAL, "csv"):
        refuse_run_together(sources, formats[0])
    from moodline.inference.pipeline import load
    from moodline.inference.recordings import RecognitionOptions, refuse_unfit_options

    hearing = RecognitionOptions(
        transcript=options.transcript,
        channels=options.channels,
        recogniser=options.recogniser,
        modalities=get_modalities(options),
        jobs=options.jobs,
        threshold=options.threshold,
        reasons=options.why,
        conversation=options.conversation,
    )
    for source in sources:
        refuse_unfit_options(source, hearing)
    predictor = load(model, device=chosen_device(options.device))
    headers = iter([True])  # of the rows of several recordings, one stands above them all
    quote = not options.no_words
    process_each(
        sources,
        lambda source: deliver_timeline(predictor, source, hearing, formats, places.get(source, []), headers, quote),
    )


def deliver_timeline(
    predictor: Any,
    source: Path,
    hearing: Any,
    formats: Sequence[str],
    places: Sequence[Path],
    headers: Iterator[bool],
    quote: bool,
) -> None:
    """One recording's timeline to its files, or to the terminal where it has none.

    Args:
        quote: write what is said; else neither words nor, in the page, their sound
    """
    from moodline.audio.recording import Recording
    from moodline.inference.recordings import create_timeline
    from moodline.timeline import FORMATS, write_timeline
    from moodline.timeline.html import is_embedded
    from moodline.timeline.terminal import print_timeline

    timeline = create_timeline(predictor, source, None, replace(hearing, progress=build_turn_progress(source)))
    if not quote:
        timeline = timeline.without_words()
    # For the page's sound; words alone have none.
    heard = "html" in formats and timeline.duration is not None and quote
    recording = Recording.open(source) if heard else None
    if not places:
        if formats == [TERMINAL]:
            print_timeline(timeline)
        else:
            text = FORMATS[formats[0]](timeline)
            is_headless = formats == ["csv"] and not next(headers, False)
            give((text.partition("\n")[2] if is_headless else text).rstrip("\r\n"))
    for place, name in zip(places, formats, strict=False):
        write_timeline(timeline, place, name, recording=recording)
        say(f"{source}: {place}")
        if name == "html" and recording is not None and not is_embedded(recording.duration):
            say(
                f"{source}: too long to be in {place}, which plays it from beside it: keep {source.name} in its folder",
                sys.stderr,
            )
    for notice in timeline.notices if places else ():
        say(f"{source}: {notice}", sys.stderr)


def find_formats(named: str | None, out: Path | None) -> list[str]:
    """The formats that are asked for, by name or by the ending of the file.

    Raises:
        MoodlineError: there is no such format
    """
    from moodline.timeline import FORMATS, find_format

    if named is None:
        return [TERMINAL] if out is None else ["json"] if is_folder(out) else [find_format(out)]
    names = list(dict.fromkeys(name.strip() for name in named.split(",")))
    known = [*FORMATS, TERMINAL] if out is None else [*FORMATS]
    if strangers := [name for name in names if name not in known]:
        raise MoodlineError(f"a timeline's format is one of {', '.join(known)}, not {strangers[0]!r}")
    if out is None and len(names) > 1:
        raise MoodlineError(f"{' and '.join(names)} are several files: name their folder with -o")
    return names


def refuse_other_ending(named: str | None, out: Path | None) -> None:
    """Refuse a file whose ending is that of another format than the one that is named."""
    from moodline.timeline import FORMAT_BY_SUFFIX

    if named is None or out is None or is_folder(out):
        return
    ending = FORMAT_BY_SUFFIX.get(out.suffix.lower())
    if ending is not None and ending != named.strip():
        raise MoodlineError(f"{out} ends as {ending} does, and --format is {named}: leave out --format, or rename it")


def list_suffixes(formats: Sequence[str]) -> list[str]:
    """Of the files that formats go to, which the terminal's has none of."""
    from moodline.timeline import DEFAULT_SUFFIXES

    return [DEFAULT_SUFFIXES[name] for name in formats if name != TERMINAL]


PREDICT_HELP = "Label recordings turn by turn, or every utterance of a corpus."
RECORDING_OPTIONS = ("transcript", "channels", "recogniser", "jobs")


def add_predict(commands: Any) -> None:
    predict = Parser(prog="moodline predict", description=PREDICT_HELP)
    predict.add_argument("sources", type=Path, nargs="+", help="recordings, tables of words alone, or a corpus folder")
    predict.add_argument("--model", type=Path, default=None, help="a model folder; else MOODLINE_MODEL, or the demo's")
    predict.add_argument("--transcript", type=Path, default=None, help="a recording's turns: SRT, VTT, TextGrid, ...")
    predict.add_argument(
        "--channels", choices=["mixed", "speakers"], default="mixed", help="speakers: each channel has its own"
    )
    predict.add_argument(
        "--recogniser", default=None, help="pocketsphinx, or a folder or name of a model of faster-whisper"
    )
    predict.add_argument("--jobs", type=int, default=count_cores(), help="turns whose words are recognised at a time")
    words.add_leaving_out(predict, "the output")
    predict.add_argument("--why", action="store_true", help="say for each turn what weighed most")
    predict.add_argument(
        "--conversation", type=str, default=None, help="the only one to label, of a corpus or a table of words"
    )
    modes.add_modalities(predict)
    embeddings.add_embeddings(predict)
    threshold.add_threshold(predict)
    add_device(predict, "the model and Whisper run on")
    predict.add_argument(
        "--format",
        default=None,
        help="table, json, csv; of recordings also srt, textgrid, html, or several with commas",
    )
    predict.add_argument("-o", "--out", type=Path, default=None, help="a file or a folder, instead of the terminal")
    predict.add_argument("--force", action="store_true", help="replace files that exist")
    commands.add_subcommand("predict", predict, help=PREDICT_HELP)


def run_predict(options: Any, given: Any) -> None:
    if options.jobs < 1:
        raise MoodlineError(f"--jobs is 1 or more, not {options.jobs}")
    corpus = find_corpus(options.sources)
    model = find_model(options.model)
    if corpus is None:
        refuse_options(given, embeddings.EMBEDDINGS_NAMES, f"for a corpus, and {options.sources[0]} is no folder")
        label_recordings(options, options.sources, model)
    else:
        refuse_options(given, RECORDING_OPTIONS, f"for recordings, and {corpus} is a folder, as a corpus is")
        label_corpus(options, corpus, model)


def label_corpus(options: Any, folder: Path, model: Path) -> None:
    """Print or write the labels of a corpus's conversations."""
    from moodline.corpora.corpus import read_corpus
    from moodline.embeddings import get_vectors, read_precomputed
    from moodline.inference.pipeline import load
    from moodline.inference.predictor import Predictor
    from moodline.io import write_text

    form = options.format or find_format(options.out)
    if form not in FORMATS:
        raise MoodlineError(f"a corpus's labels are written as {', '.join(FORMATS)}, not as {form!r}")
    if options.out is not None:
        refuse_existing(options.out, force=options.force)
    if options.why and form != "json":
        raise MoodlineError(f"--why is told in JSON, and the format is {form}: add --format json")
    corpus = read_corpus(folder)
    named = options.conversation
    chosen = list(corpus.conversations) if named is None else [corpus.conversation(named)]
    predictor = load(model, device=chosen_device(options.device))
    modalities = modes.get_modalities(options)
    given = read_precomputed(
        predictor.model.recipe.restrict_to(modalities), embeddings.collect_embeddings_files(options), chosen
    )
    report_model(predictor)
    predictions = Predictor(predictor.model, get_vectors(given)).predict_all(
        chosen, modalities, threshold=options.threshold, reasons=options.why
    )
    lines = FORMATS[form](map(without_words, predictions) if options.no_words else predictions, predictor.classes)
    if options.out is None:
        for line in lines:
            give(line)
    else:
        write_text(options.out, "".join(f"{line}\n" for line in lines))


def without_words(prediction: "ConversationPrediction") -> "ConversationPrediction":
    return replace(prediction, utterances=tuple(replace(one, words="") for one in prediction.utterances))


def find_format(out: Path | None) -> str:
    """The format that a file's ending tells."""
    ending = out.suffix.lower().removeprefix(".") if out is not None else ""
    return ending if ending in FORMATS else "table"


def format_table(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """A line an utterance: time, speaker, label, probability, words; before them the stage that answers."""
    from moodline.timeline.timeline import UNCERTAIN

    width = max(len(clean(name)) for name in (*classes, UNCERTAIN))
    for prediction in predictions:
        yield f"{clean(prediction.conversation_id)}  ({'; '.join(list_stages(prediction))})"
        for one in prediction.utterances:
            start = f"{one.start:8.2f}" if one.start is not None else " " * 8
            speaker, label, said = map(clean, (one.speaker, one.label, one.words))
            yield f"{start}  {speaker}  {label:<{width}}  {one.probability:.2f}  {said}".rstrip()


def list_stages(prediction: "ConversationPrediction") -> list[str]:
    """The names of the stages that answered; of a fusion that was given one modality, as that."""
    names, alone = dict(STAGE_NAMES), SINGLE_MODALITY_FUSION.get(prediction.modalities)
    if alone is not None:
        names[FUSION] = SINGLE_MODALITY_FUSION_NAMES[alone]
    return [names[stage] for stage in dict.fromkeys(one.stage for one in prediction.utterances)]


def format_json(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """One JSON array of conversations."""
    yield "["
    comma = ""
    for prediction in predictions:
        content = {
            "conversation": prediction.conversation_id,
            "utterances": [collect_fields(u) for u in prediction.utterances],
        }
        yield comma + json_of(content, indent=1)
        comma = ","
    yield "]"


def collect_fields(utterance: "UtterancePrediction") -> dict[str, Any]:
    names = ("id", "speaker", "start", "end", "words", "label", "best", "stage", "probabilities", "by_stage")
    told = {name: getattr(utterance, name) for name in names}
    return told if utterance.reasons is None else told | {"reasons": asdict(utterance.reasons)}


class LineWriter:
    """Takes what a csv.writer writes, a line at a time."""

    def write(self, line: str) -> str:
        return line.removesuffix("\r\n")


def format_csv(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """A header, and a row an utterance."""
    writer: Any = csv.writer(LineWriter())
    probabilities = [f"p_{name}" for name in classes]
    columns = ["conversation", "utterance", "speaker", "start", "end", "label", "stage", *probabilities, "words"]
    yield writer.writerow(map(harmless, columns))
    for prediction in predictions:
        for one in prediction.utterances:
            values = [f"{one.probabilities[name]:.6f}" for name in classes]
            known = [one.id, one.speaker, one.start, one.end, one.label, one.stage]
            yield writer.writerow(map(harmless, [prediction.conversation_id, *known, *values, one.words]))


FORMATS = {"table": format_table, "json": format_json, "csv": format_csv}


STREAM_HELP = "Label the turns of a conversation as they come: JSON lines in, JSON lines out."


def add_stream(commands: Any) -> None:
    stream = Parser(prog="moodline stream", description=STREAM_HELP)
    stream.add_argument("--model", type=Path, default=None, help="a model folder; else MOODLINE_MODEL, or the demo's")
    modes.add_modalities(stream)
    embeddings.add_embeddings(stream)
    threshold.add_threshold(stream)
    add_device(stream)
    commands.add_subcommand("stream", stream, help=STREAM_HELP)


def run_stream(options: Any, given: Any) -> None:
    """Label each line's turn before the next is read; a line that is no turn is told and passed over."""
    from moodline.embeddings import read_embeddings
    from moodline.inference.pipeline import load
    from moodline.inference.streaming import EXAMPLE, parse_turn

    files = embeddings.collect_embeddings_files(options)
    given = {encoder: read_embeddings(path).vectors for encoder, path in files.items()}
    predictor = load(find_model(options.model), device=chosen_device(options.device)).with_embeddings(given)
    report_model(predictor)
    modalities = modes.get_modalities(options)
    stream = predictor.stream(modalities, threshold=options.threshold)
    turns, faults = 0, 0
    try:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            try:
                prediction = stream.hear(parse_turn(line, number, predictor.model.recipe, modalities))
            except MoodlineError as error:
                faults += 1
                say(f"moodline: line {number} is passed over: {error}", sys.stderr)
                continue
            turns += 1
            print(json_of(collect_fields(prediction)), flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted after {format_count(turns, 'turn')}") from None
    if faults:
        raise MoodlineError(f"{format_count(faults, 'line')} of {turns + faults} could not be labelled: see above")
    if not turns:
        raise MoodlineError(f"no turn came: write JSON lines to standard input, such as {EXAMPLE}")
