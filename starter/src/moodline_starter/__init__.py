"""A model of moodline that is trained on open corpora; the card in its folder says how good it is."""

from pathlib import Path


def get_model_path(name: str) -> Path:
    """Return the folder of a model, by its name: starter."""
    return Path(__file__).parent / name
