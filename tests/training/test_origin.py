"""What a stage is made from: what was trained before a key was there is not trained again for its default."""

from dataclasses import replace

import pytest

from moodline.config import STAGE_NAMES, STAGES, Recipe
from moodline.labels import IEMOCAP4
from moodline.training.origin import LATER, Origin, change, hash_of, origins_of

# Of the default recipe, taken before any key of LATER was there.
BEFORE = {
    "audio_utterance": "2ba6b079c8c4da21",
    "text_utterance": "6ae18e056de43dda",
    "audio_context": "512d39a3266af697",
    "text_context": "013b17f359953cac",
    "fusion": "bb29af8989cb75e4",
}


def origins(recipe: Recipe) -> dict[str, Origin]:
    return origins_of(recipe, IEMOCAP4, "a fold", {}, "a bert", "32-true")


def with_value(key: str, value: str) -> Recipe:
    section, name = key.split(".")
    return replace(Recipe(), **{section: replace(getattr(Recipe(), section), **{name: value})})


def test_the_default_recipes_origins_are_those_of_runs_trained_before() -> None:
    assert {stage: hash_of(origin) for stage, origin in origins(Recipe()).items()} == BEFORE


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
