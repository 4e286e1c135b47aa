"""Systems: the base recipe, and variants of it with some values changed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from moodline.config import Recipe
from moodline.corpora.corpus import Corpus
from moodline.corpora.storage import REFERENCE
from moodline.errors import MoodlineError
from moodline.inference.encode import measure_seconds

BASE_NAME = "base"
CLASSICAL_NAME = "classical"
RELEASED_NAME = "as-released"


@dataclass(frozen=True, kw_only=True)
class System:
    """A recipe with a name, used for its runs' folder and in the ledger.

    Args:
        words: kind of the corpus's words that it is trained on
    """

    name: str
    recipe: Recipe
    words: str = REFERENCE

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that it trains; none for the classical baselines."""
        return () if self.name == CLASSICAL_NAME else self.recipe.stages


def create_base(recipe: Recipe) -> System:
    return System(name=BASE_NAME, recipe=recipe)


def create_variant(base: Recipe, name: str, changes: Mapping[str, Any]) -> System:
    """Create the base system with the values of some dotted keys changed."""
    return System(name=name, recipe=change_config(base, changes))


def create_unimodal(base: Recipe, modality: str, size: int, *, self_attention: bool) -> System:
    """Create a system of one modality up to its context, with this embedding size and with or without self-attention.

    With the base's own values it is the base system, which contains the stages of both modalities.
    """
    changes = {f"{modality}_utterance.embedding": size, f"{modality}_context.self_attention": self_attention}
    if change_config(base, changes) == base:
        return create_base(base)
    name = f"{modality}-{size}" + ("" if self_attention else "-no-attention")
    return create_variant(base, name, {**changes, "modalities": modality})


def create_fusion(base: Recipe, *, layers: int, hidden: int, heads: int) -> System:
    """Create a system with this size of the transformer; the base system for the base's own values."""
    changes = {"fusion.layers": layers, "fusion.hidden": hidden, "fusion.heads": heads}
    if change_config(base, changes) == base:
        return create_base(base)
    return create_variant(base, f"fusion-{layers}x{hidden}-{heads}-heads", changes)


def create_classical(base: Recipe) -> System:
    """Create the classical baselines, several systems in one, each scored as a part."""
    return System(name=CLASSICAL_NAME, recipe=base)


def create_released(base: Recipe, padded_seconds: float) -> System:
    """Create the base system with the authors' released selection, padding and attention (modeling.as_released)."""
    audio = base.audio_utterance
    changes = {
        "selection": "released",
        "audio_utterance.padding": "released",
        "audio_utterance.padded_seconds": padded_seconds,
        # Keeps the number of utterances per batch and of steps per epoch despite the padding.
        "audio_utterance.batch_seconds": max(audio.batch_seconds, audio.training.batch_size * padded_seconds),
        "audio_context.attention": "released",
        "text_context.attention": "released",
    }
    return create_variant(base, RELEASED_NAME, changes)


def find_longest_seconds(corpus: Corpus) -> float:
    """Measure the corpus's longest utterance, to which the released code pads.

    Raises:
        MoodlineError: an utterance has no audio
    """
    silent = [turn.id for turn in corpus.utterances if turn.audio is None]
    if silent:
        raise MoodlineError(
            f"{silent[0]} has no audio ({len(silent)} utterances in all), and the tables compare speech and words; "
            "prepare the corpus with its audio, or train and evaluate words alone",
            code="experiment.missing_audio",
        )
    return max(measure_seconds(utterance) for utterance in corpus.utterances)


def change_config(config: Any, changes: Mapping[str, Any]) -> Any:
    """Copy a recipe or a section of one with the values of these dotted keys changed."""
    sections: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        if rest:
            sections.setdefault(first, {})[rest] = value
        else:
            values[first] = value
    known = {field.name for field in fields(config)}
    assert known >= {*sections, *values}, f"unknown keys of {type(config)}: {sorted({*sections, *values} - known)}"
    for section, inner in sections.items():
        assert is_dataclass(getattr(config, section)), f"{section} is not a section"
        values[section] = change_config(getattr(config, section), inner)
    return replace(config, **values)
