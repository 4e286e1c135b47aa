"""moodline predict: emotions for recordings, or for a corpus's conversations."""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli import embeddings, modes, recordings, threshold
from moodline.cli.models import chosen_model, tell
from moodline.cli.parser import Parser
from moodline.cli.sources import corpus_among, refuse_existing, refuse_options
from moodline.cli.transcribe import cores
from moodline.config import FUSED_ALONE, FUSED_ALONE_NAMES, FUSION, STAGE_NAMES
from moodline.errors import MoodlineError

if TYPE_CHECKING:
    from moodline.inference.prediction import ConversationPrediction, UtterancePrediction

HELP = "Label recordings turn by turn, or every utterance of a corpus."
OF_RECORDINGS = ("transcript", "channels", "recogniser", "jobs")


def add_to(commands: Any) -> None:
    predict = Parser(prog="moodline predict", description=HELP)
    predict.add_argument("sources", type=Path, nargs="+", help="recordings, tables of words alone, or a corpus folder")
    predict.add_argument("--model", type=Path, default=None, help="a model folder; else MOODLINE_MODEL, or the demo's")
    predict.add_argument("--transcript", type=Path, default=None, help="a recording's turns: SRT, VTT, TextGrid, ...")
    predict.add_argument(
        "--channels", choices=["mixed", "speakers"], default="mixed", help="speakers: each channel has its own"
    )
    predict.add_argument(
        "--recogniser", default=None, help="pocketsphinx, or a folder or name of a model of faster-whisper"
    )
    predict.add_argument("--jobs", type=int, default=cores(), help="turns whose words are recognised at a time")
    predict.add_argument("--why", action="store_true", help="say for each turn what weighed most")
    predict.add_argument(
        "--conversation", type=str, default=None, help="the only one to label, of a corpus or a table of words"
    )
    modes.add_to(predict)
    embeddings.add_to(predict)
    threshold.add_to(predict)
    predict.add_argument(
        "--format",
        default=None,
        help="table, json, csv; of recordings also srt, textgrid, html, or several with commas",
    )
    predict.add_argument("-o", "--out", type=Path, default=None, help="a file or a folder, instead of the terminal")
    predict.add_argument("--force", action="store_true", help="replace files that exist")
    commands.add_subcommand("predict", predict, help=HELP)


def run(options: Any, given: Any) -> None:
    if options.jobs < 1:
        raise MoodlineError(f"--jobs is 1 or more, not {options.jobs}")
    corpus = corpus_among(options.sources)
    model = chosen_model(options.model)
    if corpus is None:
        refuse_options(given, embeddings.NAMES, f"for a corpus, and {options.sources[0]} is no folder")
        recordings.run(options, options.sources, model)
    else:
        refuse_options(given, OF_RECORDINGS, f"for recordings, and {corpus} is a folder, as a corpus is")
        label_corpus(options, corpus, model)


def label_corpus(options: Any, folder: Path, model: Path) -> None:
    """Print or write the labels of a corpus's conversations."""
    from moodline.corpora.corpus import read_corpus
    from moodline.files import write_text
    from moodline.inference.given import read_given, vectors_of
    from moodline.inference.loaded import load
    from moodline.inference.predictor import Predictor

    form = options.format or form_of(options.out)
    if form not in FORMATS:
        raise MoodlineError(f"a corpus's labels are written as {', '.join(FORMATS)}, not as {form!r}")
    if options.out is not None:
        refuse_existing(options.out, force=options.force)
    if options.why and form != "json":
        raise MoodlineError(f"--why is told in JSON, and the format is {form}: add --format json")
    corpus = read_corpus(folder)
    named = options.conversation
    chosen = list(corpus.conversations) if named is None else [corpus.conversation(named)]
    predictor = load(model)
    modalities = modes.modalities_of(options)
    given = read_given(predictor.model.recipe.reading(modalities), embeddings.chosen(options), chosen)
    tell(predictor)
    predictions = Predictor(predictor.model, vectors_of(given)).predict_all(
        chosen, modalities, threshold=options.threshold, reasons=options.why
    )
    lines = FORMATS[form](predictions, predictor.classes)
    if options.out is None:
        for line in lines:
            print(line, flush=True)
    else:
        write_text(options.out, "".join(f"{line}\n" for line in lines))


def form_of(out: Path | None) -> str:
    """The format that a file's ending tells."""
    ending = out.suffix.lower().removeprefix(".") if out is not None else ""
    return ending if ending in FORMATS else "table"


def as_table(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """A line an utterance: time, speaker, label, probability, words; before them the stage that answers."""
    from moodline.inference.prediction import UNCERTAIN

    width = max(map(len, (*classes, UNCERTAIN)))
    for prediction in predictions:
        yield f"{prediction.conversation_id}  ({'; '.join(stages_of(prediction))})"
        for one in prediction.utterances:
            start = f"{one.start:8.2f}" if one.start is not None else " " * 8
            yield f"{start}  {one.speaker}  {one.label:<{width}}  {one.probability:.2f}  {one.words}"


def stages_of(prediction: "ConversationPrediction") -> list[str]:
    """The names of the stages that answered; of a fusion that was given one modality, as that."""
    names, alone = dict(STAGE_NAMES), FUSED_ALONE.get(prediction.modalities)
    if alone is not None:
        names[FUSION] = FUSED_ALONE_NAMES[alone]
    return [names[stage] for stage in dict.fromkeys(one.stage for one in prediction.utterances)]


def as_json(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """One JSON array of conversations."""
    yield "["
    comma = ""
    for prediction in predictions:
        content = {
            "conversation": prediction.conversation_id,
            "utterances": [vars_of(u) for u in prediction.utterances],
        }
        yield comma + json.dumps(content, ensure_ascii=False, indent=1)
        comma = ","
    yield "]"


def vars_of(utterance: "UtterancePrediction") -> dict[str, Any]:
    names = ("id", "speaker", "start", "end", "words", "label", "best", "stage", "probabilities", "by_stage")
    told = {name: getattr(utterance, name) for name in names}
    return told if utterance.reasons is None else told | {"reasons": asdict(utterance.reasons)}


class Lines:
    """Takes what a csv.writer writes, a line at a time."""

    def write(self, line: str) -> str:
        return line.removesuffix("\r\n")


def as_csv(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """A header, and a row an utterance."""
    writer: Any = csv.writer(Lines())
    probabilities = [f"p_{name}" for name in classes]
    yield writer.writerow(
        ["conversation", "utterance", "speaker", "start", "end", "label", "stage", *probabilities, "words"]
    )
    for prediction in predictions:
        for one in prediction.utterances:
            values = [f"{one.probabilities[name]:.6f}" for name in classes]
            known = [one.id, one.speaker, one.start, one.end, one.label, one.stage]
            yield writer.writerow([prediction.conversation_id, *known, *values, one.words])


FORMATS = {"table": as_table, "json": as_json, "csv": as_csv}
