"""The licence of a run's models: one for all of them, whichever command trained which."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from moodline.checkpoint import CONFIG_FILE, load_description, save_description
from moodline.errors import MoodlineError


def licence_from(text: str) -> str:
    """A licence as it is kept.

    Raises:
        MoodlineError: it is not one line of text
    """
    if len(text.strip().splitlines()) != 1:
        raise MoodlineError(f"a licence is one line of text, such as 'CC BY-NC 4.0', not {text!r}")
    return text.strip()


def license_models(run: Path, licence: str) -> Iterator[str]:
    """Give the whole models of a run's folder this licence, and say where that changed it; no weights are touched."""
    for config in sorted(run.glob(f"fold-*/model/{CONFIG_FILE}")):
        described = load_description(config.parent)
        if described.provenance.licence != licence:
            before = described.provenance.licence_told
            provenance = replace(described.provenance, licence=licence)
            save_description(
                config.parent,
                described.recipe,
                described.label_set,
                provenance,
                described.temperatures,
                described.conditions,
            )
            yield f"model {config.parent}: its licence was {before}, and is {provenance.licence_told}"
