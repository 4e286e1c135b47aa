"""moodline predict, stream and embed."""

import csv
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli import options as cli
from moodline.config import (
    EMBEDDINGS_OPTIONS,
    FUSION,
    SINGLE_MODALITY_FUSION,
    SINGLE_MODALITY_FUSION_NAMES,
    STAGE_NAMES,
)
from moodline.console import dump_json, flatten_text, print_data, print_line
from moodline.errors import MoodlineError, format_count, format_install_hint
from moodline.starter import STARTER, find_starter
from moodline.tabular import escape_formula

if TYPE_CHECKING:
    from moodline.inference.predictor import Predictor
    from moodline.timeline.timeline import ConversationPrediction, UtterancePrediction

TERMINAL = "table"
STAGE_GROUPS = ["utterance", "context", "fusion"]
DEMO_MODELS = "demo/run/fold-*/model"  # where make demo writes them


def find_model() -> str:
    """Name the environment's model, the starter where it is installed, or the newest of the demo's."""
    if cli.MODEL_VARIABLE in os.environ:
        return os.environ[cli.MODEL_VARIABLE]
    if find_starter() is not None:
        return STARTER
    found = sorted(Path().glob(f"{DEMO_MODELS}/config.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise MoodlineError(
            f"no model is named: give --model, set {cli.MODEL_VARIABLE}, or install the starter: "
            f"{format_install_hint(STARTER)}",
            code="model.not_named",
        )
    return str(found[-1].parent)


def report_model(predictor: "Predictor") -> None:
    """Name on standard error the model that answers, with its notes."""
    facts = predictor.facts
    of_model = f"the model is {facts.name}, trained on {facts.trained_on}, licence {facts.licence}"
    for sentence in (of_model, *facts.notes):
        print_line(f"moodline: {sentence}", sys.stderr)


def run_predict(options: Any, typed: Any) -> None:
    corpus = cli.find_corpus(
        options,
        typed,
        EMBEDDINGS_OPTIONS.values(),
        ("--transcript", "--channels", "--speakers", "--names", "--recogniser", "--jobs"),
    )
    model = options.model or find_model()
    if corpus is None:
        predict_recordings(options, model)
    else:
        predict_corpus(options, corpus, model)


def predict_recordings(options: Any, model: str) -> None:
    """Print or write the timelines of recordings, one after the other; report each that fails, and go on."""
    formats = choose_formats(options.format, options.out)
    from moodline.audio.recording import Recording
    from moodline.inference.pipeline import load
    from moodline.inference.recordings import RecognitionOptions, holds_words_alone, label_words, recognise
    from moodline.speech.asr import SpeechRecogniser
    from moodline.timeline import DEFAULT_SUFFIXES, FORMATS, write_timeline
    from moodline.timeline.html import MAX_EMBEDDED_SECONDS
    from moodline.timeline.terminal import print_timeline

    in_files = [name for name in formats if name != TERMINAL]
    endings = [DEFAULT_SUFFIXES[name] for name in in_files]
    places = cli.plan_outputs(options, endings, None if formats[0] in (TERMINAL, "csv") else formats[0])
    headers = iter([True])  # one header precedes the rows of several recordings

    def predict_source(source: Path) -> None:
        recording = None if words_alone[source] else Recording.open(source, separate=how.channels == "speakers")
        if recording is None:
            timeline = label_words(predictor, source, how)
        else:
            timeline = recognise(predictor, recording, replace(how, progress=cli.build_turn_progress(source)))
        if options.no_words:  # nor their sound in a page
            timeline, recording = timeline.without_words(), None
        if TERMINAL in formats:
            print_timeline(timeline)
        elif not places:
            text = FORMATS[formats[0]](timeline)
            has_header = formats[0] != "csv" or next(headers, False)
            print_data((text if has_header else text.partition("\n")[2]).rstrip("\r\n"))
        for name, place in zip(in_files, places.get(source, []), strict=False):
            cli.refuse_existing(place, force=options.force)  # another process may have written it by now
            write_timeline(timeline, place, name, recording=recording)
            print_line(f"{source}: {place}")
            if name == "html" and recording is not None and recording.duration > MAX_EMBEDDED_SECONDS:
                beside = f"{place} plays {source.name} from a file: keep it in the same folder"
                print_line(f"{source}: too long for one page; {beside}", sys.stderr)
        for notice in timeline.notices if places and TERMINAL not in formats else ():
            print_line(f"{source}: {notice}", sys.stderr)

    execution = cli.select_execution(options)
    with SpeechRecogniser(options.recogniser, options.jobs, str(execution.device)) as recogniser:
        how = RecognitionOptions(
            transcript=options.transcript,
            **cli.choose_speakers(options),
            recogniser=recogniser,
            modalities=options.modalities,
            threshold=options.threshold,
            reasons=options.explain,
            conversation=options.conversation,
        )
        words_alone = {source: holds_words_alone(source, how) for source in options.sources}
        predictor = load(model, **execution._asdict())
        cli.process_each(options.sources, predict_source)


def choose_formats(named: str | None, out: Path | None) -> list[str]:
    """Choose timelines' formats by name, or by the ending of the file; ``TERMINAL`` is not one of files."""
    from moodline.timeline import FORMAT_BY_SUFFIX, FORMATS, find_format

    if named is None:
        return [TERMINAL] if out is None else ["json"] if cli.is_folder(out) else [find_format(out)]
    names = list(dict.fromkeys(name.strip() for name in named.split(",")))
    if unknown := [name for name in names if name not in (*FORMATS, TERMINAL)]:
        fault = f"unknown timeline format {unknown[0]!r}; choose one of {', '.join((*FORMATS, TERMINAL))}"
        raise MoodlineError(fault, code="timeline.unknown_format")
    if out is not None and names == [TERMINAL]:
        fault = f"{TERMINAL} goes to the terminal, and nothing to {out}: leave out -o, or add a format of files"
        raise MoodlineError(fault, code="option.contradiction")
    if out is None and len(names) > 1:
        raise MoodlineError(f"{' and '.join(names)} need a folder: add -o", code="option.no_out_folder")
    if out is not None and not cli.is_folder(out) and FORMAT_BY_SUFFIX.get(out.suffix.lower(), names[0]) not in names:
        fault = f"{out} ends as {find_format(out)} does, and --format is {named}: leave out --format, or rename it"
        raise MoodlineError(fault, code="option.contradiction")
    return names


def predict_corpus(options: Any, folder: Path, model: str) -> None:
    """Print or write the labels of a corpus's conversations."""
    from moodline.corpora.corpus import read_corpus
    from moodline.embeddings import get_vectors, read_precomputed
    from moodline.inference.pipeline import load
    from moodline.io import write_text

    ending = options.out.suffix.lower().removeprefix(".") if options.out else ""
    form = options.format or (ending if ending in CORPUS_FORMATS else TERMINAL)
    if form not in CORPUS_FORMATS:
        fault = f"a corpus's labels have no format {form!r}; choose one of {', '.join(CORPUS_FORMATS)}"
        raise MoodlineError(fault, code="option.unknown_format")
    if options.out is not None:
        cli.refuse_existing(options.out, force=options.force)
    if options.explain and form != "json":
        raise MoodlineError(f"--explain needs JSON, and the format is {form}: add --format json", code="option.unfit")
    corpus = read_corpus(folder)
    named = options.conversation
    conversations = list(corpus.conversations) if named is None else [corpus.conversation(named)]
    predictor = load(model, **cli.select_execution(options)._asdict())
    recipe = predictor.model.recipe.restrict_to(options.modalities)
    files = read_precomputed(recipe, cli.collect_embeddings(options), conversations)
    predictor = predictor.with_embeddings(get_vectors(files))
    report_model(predictor)
    predictions = predictor.predict_all(
        conversations, options.modalities, threshold=options.threshold, reasons=options.explain
    )
    lines = CORPUS_FORMATS[form](map(remove_words, predictions) if options.no_words else predictions, predictor.classes)
    if options.out is not None:
        text = "".join(f"{line}\n" for line in lines)
        cli.refuse_existing(options.out, force=options.force)  # another process may have written it by now
        write_text(options.out, text)
        return
    for line in lines:
        print_data(line)


def remove_words(prediction: "ConversationPrediction") -> "ConversationPrediction":
    return replace(prediction, utterances=tuple(replace(one, words="") for one in prediction.utterances))


def format_table(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """Format a line an utterance: time, speaker, label, probability, words; before them the stages that answer."""
    from moodline.timeline.timeline import UNCERTAIN

    width = max(len(flatten_text(name)) for name in (*classes, UNCERTAIN))
    for prediction in predictions:
        yield f"{flatten_text(prediction.conversation_id)}  ({'; '.join(list_stages(prediction))})"
        for one in prediction.utterances:
            start = f"{one.start:8.2f}" if one.start is not None else " " * 8
            speaker, label, words = map(flatten_text, (one.speaker, one.label, one.words))
            yield f"{start}  {speaker}  {label:<{width}}  {one.probability:.2f}  {words}".rstrip()


def list_stages(prediction: "ConversationPrediction") -> list[str]:
    """Name the stages that answered; a fusion that received one modality, as that."""
    names = dict(STAGE_NAMES)
    if alone := SINGLE_MODALITY_FUSION.get(prediction.modalities):
        names[FUSION] = SINGLE_MODALITY_FUSION_NAMES[alone]
    return [names[stage] for stage in dict.fromkeys(one.stage for one in prediction.utterances)]


def format_json(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """Format one JSON array of conversations."""
    yield "["
    comma = ""
    for prediction in predictions:
        utterances = [collect_fields(one) for one in prediction.utterances]
        yield comma + dump_json({"conversation": prediction.conversation_id, "utterances": utterances}, indent=1)
        comma = ","
    yield "]"


def collect_fields(utterance: "UtterancePrediction") -> dict[str, Any]:
    names = ("id", "speaker", "start", "end", "words", "label", "best", "stage", "probabilities", "by_stage")
    fields = {name: getattr(utterance, name) for name in names}
    return fields if utterance.reasons is None else fields | {"reasons": asdict(utterance.reasons)}


class LineWriter:
    """Returns the line that a csv.writer writes, without its end."""

    def write(self, line: str) -> str:
        return line.removesuffix("\r\n")


def format_csv(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """Format a header, and a row an utterance."""
    writer: Any = csv.writer(LineWriter())  # quotes cells with a line end of its own
    probabilities = [f"p_{name}" for name in classes]
    columns = ["conversation", "utterance", "speaker", "start", "end", "label", "stage", *probabilities, "words"]
    yield writer.writerow(map(escape_formula, columns))
    for prediction in predictions:
        for one in prediction.utterances:
            values = [f"{one.probabilities[name]:.6f}" for name in classes]
            known = [one.id, one.speaker, one.start, one.end, one.label, one.stage]
            yield writer.writerow(map(escape_formula, [prediction.conversation_id, *known, *values, one.words]))


CORPUS_FORMATS = {TERMINAL: format_table, "json": format_json, "csv": format_csv}


def run_stream(options: Any, typed: Any) -> None:
    """Label each line's turn before the next is read; report and skip a line that is no turn."""
    from moodline.embeddings import read_embeddings
    from moodline.inference.pipeline import load
    from moodline.inference.streaming import EXAMPLE, parse_turn

    vectors = {encoder: read_embeddings(path).vectors for encoder, path in cli.collect_embeddings(options).items()}
    model = options.model or find_model()
    predictor = load(model, **cli.select_execution(options)._asdict()).with_embeddings(vectors)
    report_model(predictor)
    modalities = options.modalities
    stream = predictor.stream(modalities, threshold=options.threshold)
    turns, faults = 0, 0
    try:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            try:
                prediction = stream.predict(parse_turn(line, number, predictor.model.recipe, modalities))
            except MoodlineError as error:
                faults += 1
                print_line(f"moodline: skipped line {number}: {error}", sys.stderr)
                continue
            turns += 1
            print_data(dump_json(collect_fields(prediction)))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted after {format_count(turns, 'turn')}.") from None
    if faults:
        raise MoodlineError(f"{faults} of {turns + faults} lines failed: see above", code="stream.some_failed")
    if not turns:
        raise MoodlineError(f"standard input has no turn; write lines such as {EXAMPLE}", code="stream.no_turn")


def run_embed(options: Any, typed: Any) -> None:
    from moodline.corpora.corpus import read_corpus
    from moodline.embeddings import get_vectors, read_precomputed
    from moodline.inference.embed import write_model_embeddings
    from moodline.inference.feature_store import choose_feature_folder
    from moodline.inference.pipeline import load

    execution = cli.select_execution(options)
    conversations = read_corpus(options.corpus).conversations
    predictor = load(options.model, **execution._asdict())
    files = read_precomputed(predictor.model.recipe, cli.collect_embeddings(options), conversations)
    predictor, records = predictor.with_embeddings(get_vectors(files)), [one.training_record for one in files.values()]
    predictor = predictor.with_features(choose_feature_folder(options.corpus, options.out), conversations)
    progress = partial(cli.show_progress, options.model, total=len(conversations))
    for path in write_model_embeddings(predictor, conversations, options.stage, options.out, progress, records):
        print_line(path)


EXECUTION = (cli.DEVICE, cli.PRECISION, cli.BATCH_SECONDS)
COMMANDS = {
    "predict": cli.Command(
        help="Label recordings turn by turn, or every utterance of a corpus.",
        run=run_predict,
        shared=(cli.MODEL, *cli.RECOGNITION, cli.MODALITIES, *cli.EMBEDDINGS, cli.THRESHOLD, cli.NO_WORDS, *EXECUTION),
        options=(
            cli.option("sources", type=Path, nargs="+", help="recordings, tables of words alone, or a corpus folder"),
            cli.flag("--explain", "add to each turn what contributed most"),
            cli.option("--conversation", type=str, help="label only this conversation of a corpus or a table of words"),
            cli.option(
                "--format", help="table, json or csv; for recordings also srt, textgrid, html, or several: table,csv"
            ),
            cli.out("a file or a folder, instead of the terminal"),
        ),
    ),
    "stream": cli.Command(
        help="Label the turns of a conversation as they come: JSON lines in, JSON lines out.",
        run=run_stream,
        shared=(cli.MODEL, cli.MODALITIES, *cli.EMBEDDINGS, cli.THRESHOLD, cli.DEVICE, cli.PRECISION),
    ),
    "embed": cli.Command(
        help="Write a model's embeddings of every utterance of a corpus.",
        run=run_embed,
        shared=(cli.CORPUS, *cli.EMBEDDINGS, *EXECUTION),
        options=(
            cli.option("--model", type=str, required=True, help=cli.MODEL_NAME),
            cli.option("--stage", choices=STAGE_GROUPS, default=STAGE_GROUPS[0], help="the parts that compute them"),
            cli.out("the folder of audio.parquet and text.parquet", required=True),
        ),
    ),
}
