"""moodline predict and stream."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli.options import (
    EMBEDDINGS_NAMES,
    Parser,
    add_device,
    add_embeddings,
    add_modalities,
    add_model,
    add_no_words,
    add_recognition,
    add_threshold,
    build_turn_progress,
    chosen_device,
    collect_embeddings_files,
    find_corpus,
    find_model,
    is_folder,
    plan_outputs,
    process_each,
    refuse_existing,
    refuse_options,
    refuse_run_together,
    refuse_several_with,
    report_model,
    require_at_least_one,
)
from moodline.config import FUSION, SINGLE_MODALITY_FUSION, SINGLE_MODALITY_FUSION_NAMES, STAGE_NAMES
from moodline.console import dump_json, flatten_text, print_data, print_line
from moodline.errors import MoodlineError, format_count
from moodline.tabular import escape_formula

if TYPE_CHECKING:
    from moodline.audio.recording import Recording
    from moodline.timeline import Timeline
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
    from moodline.asr import SpeechRecogniser
    from moodline.audio.recording import Recording
    from moodline.inference.pipeline import load
    from moodline.inference.recordings import RecognitionOptions, holds_words_alone, label_words, recognise

    headers = iter([True])  # one header stands above the rows of several recordings

    def deliver(source: Path) -> None:
        recording = None if words_alone[source] else Recording.open(source, separate=how.channels == "speakers")
        if recording is None:
            timeline = label_words(predictor, source, how)
        else:
            timeline = recognise(predictor, recording, replace(how, progress=build_turn_progress(source)))
        if options.no_words:  # nor their sound in a page
            timeline, recording = timeline.without_words(), None
        if places:
            write_files(timeline, recording, source, dict(zip(formats, places[source], strict=True)))
        else:
            print_timeline(timeline, formats[0], headers)

    device = chosen_device(options.device)
    with SpeechRecogniser(options.recogniser, options.jobs, str(device)) as recogniser:
        how = RecognitionOptions(
            transcript=options.transcript,
            channels=options.channels,
            recogniser=recogniser,
            modalities=options.modalities,
            threshold=options.threshold,
            reasons=options.explain,
            conversation=options.conversation,
        )
        words_alone = {source: holds_words_alone(source, how) for source in sources}
        predictor = load(model, device=device)
        process_each(sources, deliver)


def write_files(timeline: "Timeline", recording: "Recording | None", source: Path, places: Mapping[str, Path]) -> None:
    """Write one source's timeline to a file of each format; notices go to standard error."""
    from moodline.timeline import write_timeline
    from moodline.timeline.html import MAX_EMBEDDED_SECONDS

    for name, place in places.items():
        write_timeline(timeline, place, name, recording=recording)
        print_line(f"{source}: {place}")
        if name == "html" and recording is not None and recording.duration > MAX_EMBEDDED_SECONDS:
            print_line(
                f"{source}: too long to be in {place}, which plays it from beside it: keep {source.name} in its folder",
                sys.stderr,
            )
    for notice in timeline.notices:
        print_line(f"{source}: {notice}", sys.stderr)


def print_timeline(timeline: "Timeline", format: str, headers: Iterator[bool]) -> None:
    """Print one source's timeline.

    Args:
        headers: yields where the next rows have a header above them
    """
    from moodline.timeline import FORMATS
    from moodline.timeline.terminal import print_timeline

    if format == TERMINAL:
        print_timeline(timeline)
        return
    text = FORMATS[format](timeline)
    is_headless = format == "csv" and not next(headers, False)
    print_data((text.partition("\n")[2] if is_headless else text).rstrip("\r\n"))


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
    add_model(predict)
    add_recognition(predict)
    add_no_words(predict, "the output")
    predict.add_argument("--explain", action="store_true", help="add to each turn what contributed most")
    predict.add_argument(
        "--conversation", type=str, default=None, help="the only one to label, of a corpus or a table of words"
    )
    add_modalities(predict)
    add_embeddings(predict)
    add_threshold(predict)
    add_device(predict, "the model and Whisper run on")
    predict.add_argument(
        "--format",
        default=None,
        help="table, json, csv; of recordings also srt, textgrid, html, or several with commas",
    )
    predict.add_argument("-o", "--out", type=Path, default=None, help="a file or a folder, instead of the terminal")
    commands.add_subcommand("predict", predict, help=PREDICT_HELP)


def run_predict(options: Any, given: Any) -> None:
    require_at_least_one(options, "jobs")
    corpus = find_corpus(options.sources)
    model = find_model(options.model)
    if corpus is None:
        refuse_options(given, EMBEDDINGS_NAMES, f"for a corpus, and {options.sources[0]} is no folder")
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
    if options.explain and form != "json":
        raise MoodlineError(f"--explain needs JSON, and the format is {form}: add --format json", code="option.unfit")
    corpus = read_corpus(folder)
    named = options.conversation
    chosen = list(corpus.conversations) if named is None else [corpus.conversation(named)]
    predictor = load(model, device=chosen_device(options.device))
    modalities = options.modalities
    given = read_precomputed(predictor.model.recipe.restrict_to(modalities), collect_embeddings_files(options), chosen)
    report_model(predictor)
    predictions = Predictor(predictor.model, get_vectors(given)).predict_all(
        chosen, modalities, threshold=options.threshold, reasons=options.explain
    )
    lines = FORMATS[form](map(without_words, predictions) if options.no_words else predictions, predictor.classes)
    if options.out is None:
        for line in lines:
            print_data(line)
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

    width = max(len(flatten_text(name)) for name in (*classes, UNCERTAIN))
    for prediction in predictions:
        yield f"{flatten_text(prediction.conversation_id)}  ({'; '.join(list_stages(prediction))})"
        for one in prediction.utterances:
            start = f"{one.start:8.2f}" if one.start is not None else " " * 8
            speaker, label, said = map(flatten_text, (one.speaker, one.label, one.words))
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
        yield comma + dump_json(content, indent=1)
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
    yield writer.writerow(map(escape_formula, columns))
    for prediction in predictions:
        for one in prediction.utterances:
            values = [f"{one.probabilities[name]:.6f}" for name in classes]
            known = [one.id, one.speaker, one.start, one.end, one.label, one.stage]
            yield writer.writerow(map(escape_formula, [prediction.conversation_id, *known, *values, one.words]))


FORMATS = {"table": format_table, "json": format_json, "csv": format_csv}


STREAM_HELP = "Label the turns of a conversation as they come: JSON lines in, JSON lines out."


def add_stream(commands: Any) -> None:
    stream = Parser(prog="moodline stream", description=STREAM_HELP)
    add_model(stream)
    add_modalities(stream)
    add_embeddings(stream)
    add_threshold(stream)
    add_device(stream)
    commands.add_subcommand("stream", stream, help=STREAM_HELP)


def run_stream(options: Any, given: Any) -> None:
    """Label each line's turn before the next is read; a line that is no turn is told and passed over."""
    from moodline.embeddings import read_embeddings
    from moodline.inference.pipeline import load
    from moodline.inference.streaming import EXAMPLE, parse_turn

    files = collect_embeddings_files(options)
    given = {encoder: read_embeddings(path).vectors for encoder, path in files.items()}
    predictor = load(find_model(options.model), device=chosen_device(options.device)).with_embeddings(given)
    report_model(predictor)
    modalities = options.modalities
    stream = predictor.stream(modalities, threshold=options.threshold)
    turns, faults = 0, 0
    try:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            try:
                prediction = stream.hear(parse_turn(line, number, predictor.model.recipe, modalities))
            except MoodlineError as error:
                faults += 1
                print_line(f"moodline: line {number} is passed over: {error}", sys.stderr)
                continue
            turns += 1
            print(dump_json(collect_fields(prediction)), flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted after {format_count(turns, 'turn')}") from None
    if faults:
        raise MoodlineError(f"{format_count(faults, 'line')} of {turns + faults} could not be labelled: see above")
    if not turns:
        raise MoodlineError(f"no turn came: write JSON lines to standard input, such as {EXAMPLE}")
