"""The models of the package moodline-starter, which are trained on open corpora."""

from importlib import import_module, metadata
from pathlib import Path

from moodline.errors import MoodlineError, format_install_hint

STARTER = "starter"
STARTERS = (STARTER,)
DISTRIBUTION = "moodline-starter"


def find_starter(name: str = STARTER) -> Path | None:
    """Return the folder of a starter model; None if the package is not installed."""
    try:
        return Path(import_module("moodline_starter").get_model_path(name))
    except ModuleNotFoundError:
        return None


def require_starter(name: str) -> Path:
    """Return the folder of a starter model, or raise MoodlineError."""
    folder = find_starter(name)
    if folder is None:
        raise MoodlineError(
            f"the model {name} needs the extra starter: {format_install_hint('starter')}", code="model.missing_starter"
        )
    return folder


def find_starter_name(folder: Path) -> str | None:
    """Return the name and version of a starter model for its folder; None for any other folder."""
    place = find_starter()
    if place is None or folder.resolve().parent != place.resolve().parent:
        return None
    return f"{folder.name} {metadata.version(DISTRIBUTION)}"
