"""Systems: the base recipe, and that recipe with some values in place of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from moodline.config import Recipe
from moodline.corpora.corpus import Corpus
from moodline.inference.inputs import seconds_of
from moodline.training.data import refuse_silent

BASE = "base"
AS_RELEASED = "as-released"


@dataclass(frozen=True, kw_only=True)
class System:
    """A recipe under a name, which is that of its runs' folder and stands in the ledger."""

    name: str
    recipe: Recipe


def base_system(recipe: Recipe) -> System:
    return System(name=BASE, recipe=recipe)


def unimodal_system(base: Recipe, modality: str, size: int, *, self_attention: bool) -> System:
    """One modality up to its context, with another size of embedding, or without self-attention.

    What has the base's own values is the base system, whose stages on the way are those of each modality.
    """
    changes = {f"{modality}_utterance.embedding": size, f"{modality}_context.self_attention": self_attention}
    if is_unchanged(base, changes):
        return base_system(base)
    name = f"{modality}-{size}" + ("" if self_attention else "-no-attention")
    return System(name=name, recipe=changed(base, {**changes, "modalities": modality}))


def fusion_system(base: Recipe, *, layers: int, hidden: int, heads: int) -> System:
    """Another size of the transformer."""
    changes = {"fusion.layers": layers, "fusion.hidden": hidden, "fusion.heads": heads}
    if is_unchanged(base, changes):
        return base_system(base)
    return System(name=f"fusion-{layers}x{hidden}-{heads}-heads", recipe=changed(base, changes))


def as_released_system(base: Recipe, padded_seconds: float) -> System:
    """The authors' released code's selection, padding and attention, at the base's rates: see ``released``."""
    changes = {
        "selection": "released",
        "audio_utterance.padding": "released",
        "audio_utterance.padded_seconds": padded_seconds,
        "audio_context.attention": "released",
        "text_context.attention": "released",
    }
    return System(name=AS_RELEASED, recipe=changed(base, changes))


def longest_seconds(corpus: Corpus) -> float:
    """To which the released code pads: the length of the corpus's longest utterance.

    Raises:
        MoodlineError: an utterance has no audio
    """
    refuse_silent(corpus.conversations)
    return max(seconds_of(utterance) for utterance in corpus.utterances)


def is_unchanged(recipe: Recipe, changes: Mapping[str, Any]) -> bool:
    return changed(recipe, changes) == recipe


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A recipe, or a section of one, with the values of dotted keys in place of its own."""
    sections: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        if rest:
            sections.setdefault(first, {})[rest] = value
        else:
            values[first] = value
    known = {field.name for field in fields(config)}
    assert known >= {*sections, *values}, f"{sorted({*sections, *values} - known)} are no keys of {type(config)}"
    for section, inner in sections.items():
        assert is_dataclass(getattr(config, section)), f"{section} is no section"
        values[section] = changed(getattr(config, section), inner)
    return replace(config, **values)
