"""Which model a command takes where none is named."""

import os
from pathlib import Path

from moodline.errors import MoodlineError

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
