"""What a stage is made from: another box trains again what depends on it, and nothing else."""

import pytest

from moodline.config import STAGE_NAMES, STAGES, Recipe
from moodline.labels import IEMOCAP4
from moodline.reproduction.systems import changed
from moodline.training.origin import Origin, change, origins_of


def origins(recipe: Recipe) -> dict[str, Origin]:
    return origins_of(recipe, IEMOCAP4, "a corpus", "a fold", {}, "a bert", "32-true")


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
    ],
)
def test_another_box_trains_again_what_depends_on_it_and_says_why(key: str, value: str, again: set[str]) -> None:
    before, now = origins(Recipe()), origins(changed(Recipe(), {key: value}))
    assert {stage for stage in STAGES if before[stage] != now[stage]} == again
    stage = next(stage for stage in STAGES if stage in again)
    default = before[stage][key]
    assert change(before[stage], now[stage], STAGE_NAMES) == f"{key} was {default!r} and is {value!r}"
    assert change(now[stage], before[stage], STAGE_NAMES) == f"{key} was {value!r} and is {default!r}"
    assert not change(before[stage], before[stage], STAGE_NAMES)
