"""What a stage is made from: what was trained before a key was there is not trained again for its default."""

from dataclasses import replace

import pytest

from moodline.config import STAGE_NAMES, STAGES, Recipe
from moodline.labels import IEMOCAP4
from moodline.recipe import known_keys
from moodline.training.origin import LATER, Origin, change, origins_of


def origins(recipe: Recipe) -> dict[str, Origin]:
    return origins_of(recipe, IEMOCAP4, "a fold", {}, "a bert", "32-true")


def with_value(key: str, value: str) -> Recipe:
    section, name = key.split(".")
    return replace(Recipe(), **{section: replace(getattr(Recipe(), section), **{name: value})})


def test_the_default_recipes_origins_hold_the_keys_that_they_held_before_and_no_others() -> None:
    for stage, origin in origins(Recipe()).items():
        keys = {key for key in known_keys() if key.startswith(f"{stage}.") and key != f"{stage}.training"}
        assert {key for key in origin if key.startswith(f"{stage}.")} == keys - set(LATER)


@pytest.mark.parametrize("key", LATER)
def test_what_is_left_out_is_the_default(key: str) -> None:
    assert with_value(key, LATER[key]) == Recipe()


@pytest.mark.parametrize(
    ("key", "value", "again"),
    [
        ("audio_utterance.front_end", "log_mel", {"audio_utterance", "audio_context", "fusion"}),
        ("audio_context.kind", "bc_lstm", {"audio_context", "fusion"}),
        ("text_context.kind", "bc_lstm", {"text_context", "fusion"}),
        ("fusion.kind", "concatenation", {"fusion"}),
        ("fusion.kind", "bc_lstm", {"fusion"}),
    ],
)
def test_another_box_trains_again_what_depends_on_it_and_says_why(key: str, value: str, again: set[str]) -> None:
    before, now = origins(Recipe()), origins(with_value(key, value))
    assert {stage for stage in STAGES if before[stage] != now[stage]} == again
    stage = key.partition(".")[0]
    assert change(before[stage], now[stage], STAGE_NAMES) == f"{key} was {LATER[key]!r} and is {value!r}"
    assert change(now[stage], before[stage], STAGE_NAMES) == f"{key} was {value!r} and is {LATER[key]!r}"
    assert not change(before[stage], before[stage], STAGE_NAMES)
