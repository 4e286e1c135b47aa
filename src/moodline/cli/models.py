"""Which model a command takes where none is named, and what it says of it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moodline.errors import MoodlineError

if TYPE_CHECKING:
    from moodline.inference.predictor import Predictor

VARIABLE = "MOODLINE_MODEL"
DEMO_MODELS = "demo/run/fold-*/model"  # where make demo puts them


def chosen_model(named: Path | None) -> Path:
    """The model that is named, or the environment's, or the newest of the demo's; every output tells which.

    Raises:
        MoodlineError: there is none of them
    """
    if named is not None:
        return named
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    made = sorted(Path().glob(f"{DEMO_MODELS}/config.json"), key=lambda path: path.stat().st_mtime)
    if not made:
        raise MoodlineError(
            f"a model is named with --model FOLDER or in the environment as {VARIABLE}, and neither is here; "
            "make demo makes one of synthetic voices, for a look"
        )
    return made[-1].parent


def tell(predictor: "Predictor") -> None:
    """Say beside the answers, where these have no room for it, which model they are of and what must be known of it."""
    from moodline.inference.facts import facts_of

    facts = facts_of(predictor.model, predictor.name)
    of_model = f"the model is {facts.name}, trained on {facts.trained_on}, licence {facts.licence}"
    for sentence in (of_model, *facts.notes):
        print(f"moodline: {sentence}", file=sys.stderr, flush=True)
