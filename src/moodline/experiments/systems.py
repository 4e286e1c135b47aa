"""Systems: the base recipe, and that recipe with some values in place of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from moodline.config import Recipe
from moodline.corpora.corpus import Corpus
from moodline.corpora.storage import RECOGNISED, REFERENCE
from moodline.errors import MoodlineError
from moodline.inference.encode import measure_seconds

BASE_NAME = "base"
CLASSICAL_NAME = "classical"
RELEASED_NAME = "as-released"


@dataclass(frozen=True, kw_only=True)
class System:
    """A recipe under a name, which is that of its runs' folder and stands in the ledger.

    Args:
        words: those of the corpus that train it
    """

    name: str
    recipe: Recipe
    words: str = REFERENCE

    @property
    def stages(self) -> tuple[str, ...]:
        """Those that train; the classical systems have none, and read of the recipe what is not of a stage alone."""
        return () if self.name == CLASSICAL_NAME else self.recipe.stages


def create_base(recipe: Recipe) -> System:
    return System(name=BASE_NAME, recipe=recipe)


def create_unimodal(base: Recipe, modality: str, size: int, *, self_attention: bool) -> System:
    """One modality up to its context, with another size of embedding, or without self-attention.

    What has the base's own values is the base system, whose stages on the way are those of each modality.
    """
    changes = {f"{modality}_utterance.embedding": size, f"{modality}_context.self_attention": self_attention}
    if is_unchanged(base, changes):
        return create_base(base)
    name = f"{modality}-{size}" + ("" if self_attention else "-no-attention")
    return System(name=name, recipe=change_config(base, {**changes, "modalities": modality}))


def create_fusion(base: Recipe, *, layers: int, hidden: int, heads: int) -> System:
    """Another size of the transformer."""
    changes = {"fusion.layers": layers, "fusion.hidden": hidden, "fusion.heads": heads}
    if is_unchanged(base, changes):
        return create_base(base)
    return System(name=f"fusion-{layers}x{hidden}-{heads}-heads", recipe=change_config(base, changes))


def create_log_mel(base: Recipe) -> System:
    """Speech alone, of log-mel: what LEAF is worth is the difference."""
    return System(
        name="log-mel", recipe=change_config(base, {"audio_utterance.front_end": "log_mel", "modalities": "audio"})
    )


def create_concatenation(base: Recipe) -> System:
    """A hidden layer over an utterance's two embeddings in the place of the transformer."""
    return System(name="concatenation", recipe=change_config(base, {"fusion.kind": "concatenation"}))


def create_bc_lstm(base: Recipe) -> System:
    """Poria et al. 2017 on the same utterance embeddings."""
    parts = ("audio_context", "text_context", "fusion")
    return System(name="bc-lstm", recipe=change_config(base, {f"{part}.kind": "bc_lstm" for part in parts}))


def create_recognised(base: Recipe) -> System:
    """The base, trained on recognised words; what it has of speech is the base's."""
    return System(name="recognised-words", recipe=base, words=RECOGNISED)


def create_classical(base: Recipe) -> System:
    """The classical baselines (reproduction/baselines): several systems in one, each a part of its own."""
    return System(name=CLASSICAL_NAME, recipe=base)


def create_released(base: Recipe, padded_seconds: float) -> System:
    """The authors' released code's selection, padding and attention, at the base's rates: see ``released``."""
    audio = base.audio_utterance
    changes = {
        "selection": "released",
        "audio_utterance.padding": "released",
        "audio_utterance.padded_seconds": padded_seconds,
        # As many utterances in a batch as without padding, and as many steps in an epoch.
        "audio_utterance.batch_seconds": max(audio.batch_seconds, audio.training.batch_size * padded_seconds),
        "audio_context.attention": "released",
        "text_context.attention": "released",
    }
    return System(name=RELEASED_NAME, recipe=change_config(base, changes))


def find_longest_seconds(corpus: Corpus) -> float:
    """To which the released code pads: the length of the corpus's longest utterance.

    Raises:
        MoodlineError: an utterance has no audio
    """
    silent = [turn.id for turn in corpus.utterances if turn.audio is None]
    if silent:
        raise MoodlineError(
            f"the tables compare speech and words, and {silent[0]} has no audio (of {len(silent)} without): prepare "
            "the corpus with its audio, or train and evaluate words alone"
        )
    return max(measure_seconds(utterance) for utterance in corpus.utterances)


def is_unchanged(recipe: Recipe, changes: Mapping[str, Any]) -> bool:
    return change_config(recipe, changes) == recipe


def change_config(config: Any, changes: Mapping[str, Any]) -> Any:
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
        values[section] = change_config(getattr(config, section), inner)
    return replace(config, **values)
