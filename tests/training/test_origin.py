"""What a stage is made from: another box trains again what depends on it, and nothing else."""

import dataclasses

import pytest

from moodline.config import STAGE_NAMES, STAGES, Recipe
from moodline.conversation import IEMOCAP4
from moodline.experiments.systems import change_config
from moodline.io import flatten_keys
from moodline.training.provenance import LATER_DEFAULTS, StageFingerprint, compute_origins, find_change


def origins(recipe: Recipe) -> dict[str, StageFingerprint]:
    return compute_origins(recipe, IEMOCAP4, "a corpus", "a fold", {}, "a bert", "32-true")


@pytest.mark.parametrize(
    ("key", "value", "again"),
    [
        ("audio_utterance.front_end", "log_mel", {"audio_utterance", "audio_context", "fusion"}),
        ("audio_utterance.padding", "released", {"audio_utterance", "audio_context", "fusion"}),
        ("audio_context.attention", "released", {"audio_context", "fusion"}),
        ("selection", "released", set(STAGES)),
        ("audio_context.kind", "bc_lstm", {"audio_context", "fusion"}),
        ("text_context.kind", "bc_lstm", {"text_context", "fusion"}),
        ("fusion.kind", "concatenation", {"fusion"}),
        ("fusion.kind", "bc_lstm", {"fusion"}),
        ("fusion.modalities", "text", {"fusion"}),
        ("fusion.modality_dropout", 0.3, {"fusion"}),
    ],
)
def test_another_box_trains_again_what_depends_on_it_and_says_why(key: str, value: str, again: set[str]) -> None:
    before, now = origins(Recipe()), origins(change_config(Recipe(), {key: value}))
    assert {stage for stage in STAGES if before[stage] != now[stage]} == again
    stage = next(stage for stage in STAGES if stage in again)
    default = before[stage].get(key, LATER_DEFAULTS.get(key))
    assert find_change(before[stage], now[stage], STAGE_NAMES) == f"{key} was {default!r} and is {value!r}"
    assert find_change(now[stage], before[stage], STAGE_NAMES) == f"{key} was {value!r} and is {default!r}"
    assert not find_change(before[stage], before[stage], STAGE_NAMES)


def test_a_key_that_came_later_is_no_part_of_what_was_made_without_it() -> None:
    """Its default does what was done before there was the key, so that a run of before stays finished."""
    defaults = flatten_keys(dataclasses.asdict(Recipe()))
    assert LATER_DEFAULTS.items() <= defaults.items()
    before, now = origins(Recipe()), origins(change_config(Recipe(), {"fusion.modality_dropout": 0.3}))
    assert not any(key in origin for origin in before.values() for key in LATER_DEFAULTS)
    assert not find_change(before["fusion"] | LATER_DEFAULTS, before["fusion"], STAGE_NAMES)
    assert LATER_DEFAULTS.keys() & now["fusion"].keys() == {"fusion.modality_dropout"}
