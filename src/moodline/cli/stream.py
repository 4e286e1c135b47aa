"""moodline stream: turns as they come, labelled one by one."""

import json
import sys
from pathlib import Path
from typing import Any

from moodline.cli import embeddings, modes, threshold
from moodline.cli.models import chosen_model, tell
from moodline.cli.parser import Parser
from moodline.cli.predict import vars_of
from moodline.errors import MoodlineError
from moodline.wording import counted

HELP = "Label the turns of a conversation as they come: JSON lines in, JSON lines out."


def add_to(commands: Any) -> None:
    stream = Parser(prog="moodline stream", description=HELP)
    stream.add_argument("--model", type=Path, default=None, help="a model folder; else MOODLINE_MODEL, or the demo's")
    modes.add_to(stream)
    embeddings.add_to(stream)
    threshold.add_to(stream)
    commands.add_subcommand("stream", stream, help=HELP)


def run(options: Any, given: Any) -> None:
    """Label each line's turn before the next is read; a line that is no turn is told and passed over."""
    from moodline.embeddings import read_embeddings
    from moodline.inference.given_turn import EXAMPLE, turn_of
    from moodline.inference.loaded import load

    files = embeddings.chosen(options)
    given = {encoder: read_embeddings(path).vectors for encoder, path in files.items()}
    predictor = load(chosen_model(options.model)).with_embeddings(given)
    tell(predictor)
    modalities = modes.modalities_of(options)
    stream = predictor.stream(modalities, threshold=options.threshold)
    turns, faults = 0, 0
    try:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            try:
                prediction = stream.hear(turn_of(line, number, predictor.model.recipe, modalities))
            except MoodlineError as error:
                faults += 1
                print(f"moodline: line {number} is passed over: {error}", file=sys.stderr, flush=True)
                continue
            turns += 1
            print(json.dumps(vars_of(prediction), ensure_ascii=False), flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted after {counted(turns, 'turn')}") from None
    if faults:
        raise MoodlineError(f"{counted(faults, 'line')} of {turns + faults} could not be labelled: see above")
    if not turns:
        raise MoodlineError(f"no turn came: write JSON lines to standard input, such as {EXAMPLE}")
