"""moodline predict: emotions for a corpus's conversations."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli import embeddings
from moodline.cli.parser import Parser
from moodline.config import STAGE_NAMES

if TYPE_CHECKING:
    from moodline.inference.predictor import ConversationPrediction

HELP = "Label every utterance of a corpus, or of one of its conversations."


def add_to(commands: Any) -> None:
    predict = Parser(prog="moodline predict", description=HELP)
    predict.add_argument("corpus", type=Path, help="a corpus folder")
    predict.add_argument("--model", type=Path, required=True, help="a model folder")
    predict.add_argument("--conversation", type=str, default=None, help="this conversation alone")
    alone = predict.add_mutually_exclusive_group()
    alone.add_argument("--audio-only", action="store_true", help="read the speech alone, whatever words are there")
    alone.add_argument("--words-only", action="store_true", help="read the words alone; no audio is needed")
    embeddings.add_to(predict)
    predict.add_argument("--format", choices=["table", "json", "csv"], default="table", help="what is written")
    predict.add_argument("-o", "--out", type=Path, default=None, help="a file, instead of the terminal")
    commands.add_subcommand("predict", predict, help=HELP)


def run(options: Any, given: Any) -> None:
    from moodline.corpora.corpus import read_corpus
    from moodline.files import write_text
    from moodline.inference.given import read_given, vectors_of
    from moodline.inference.predictor import Predictor, load

    corpus = read_corpus(options.corpus)
    named = options.conversation
    chosen = list(corpus.conversations) if named is None else [corpus.conversation(named)]
    predictor = load(options.model)
    modalities = "audio" if options.audio_only else "text" if options.words_only else "both"
    given = read_given(predictor.model.recipe.reading(modalities), embeddings.chosen(options), chosen)
    predictions = Predictor(predictor.model, vectors_of(given)).predict_all(chosen, modalities)
    lines = FORMATS[options.format](predictions, predictor.classes)
    if options.out is None:
        for line in lines:
            print(line, flush=True)
    else:
        write_text(options.out, "".join(f"{line}\n" for line in lines))


def as_table(predictions: "Iterator[ConversationPrediction]", classes: tuple[str, ...]) -> Iterator[str]:
    """A line an utterance: time, speaker, label, probability, words; before them the stage that answers."""
    width = max(map(len, classes))
    for prediction in predictions:
        stages = dict.fromkeys(one.stage for one in prediction.utterances)
        yield f"{prediction.conversation_id}  ({'; '.join(STAGE_NAMES[stage] for stage in stages)})"
        for one in prediction.utterances:
            start = f"{one.start:8.2f}" if one.start is not None else " " * 8
            yield f"{start}  {one.speaker}  {one.label:<{width}}  {one.probability:.2f}  {one.words}"


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


def vars_of(utterance: Any) -> dict[str, Any]:
    names = ("id", "speaker", "start", "end", "words", "label", "stage", "probabilities", "by_stage")
    return {name: getattr(utterance, name) for name in names}


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
