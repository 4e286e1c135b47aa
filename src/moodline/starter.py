"""The model of the package moodline-starter, which is trained on open corpora."""

from importlib import import_module, metadata
from pathlib import Path

from moodline.errors import MoodlineError, format_install_hint

STARTER = "starter"
DISTRIBUTION = "moodline-starter"


def find_starter() -> Path | None:
    """Return the folder of the starter; None if the package is not installed."""
    try:
        return Path(import_module("moodline_starter").get_model_path(STARTER))
    except ModuleNotFoundError:
        return None


def require_starter() -> Path:
    """Return the folder of the starter, or raise MoodlineError."""
    folder = find_starter()
    if folder is None:
        raise MoodlineError(
            f"the model {STARTER} needs the extra starter: {format_install_hint(STARTER)}", code="model.missing_starter"
        )
    return folder


def find_starter_name(folder: Path) -> str | None:
    """Return the starter's name and version for its folder; None for any other folder."""
    place = find_starter()
    if place is None or folder.resolve() != place.resolve():
        return None
    return f"{STARTER} {metadata.version(DISTRIBUTION)}"
