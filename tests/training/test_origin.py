"""What a stage is made from: another box trains again what depends on it, and nothing else."""

import dataclasses

import pytest

from moodline.config import STAGES, Recipe
from moodline.conversation import IEMOCAP4
from moodline.experiments.paper_tables import change_config
from moodline.io import flatten_keys
from moodline.recipe import RENAMED_KEYS
from moodline.training.provenance import (
    FORMER_KEYS,
    LATER_DEFAULTS,
    StageFingerprint,
    compute_origins,
    find_change,
)


def origins(
    recipe: Recipe, bert: str = "a bert", recorded: StageFingerprint | None = None
) -> dict[str, StageFingerprint]:
    files, before = {"text_utterance": bert}, {"text_utterance": recorded}
    return compute_origins(recipe, IEMOCAP4, "a corpus", "a fold", {}, files, "32-true", None, before)


@pytest.mark.parametrize(
    ("key", "value", "again"),
    [
        ("audio_utterance.frontend", "log_mel", {"audio_utterance", "audio_context", "fusion"}),
        ("audio_utterance.padding", "released", {"audio_utterance", "audio_context", "fusion"}),
        ("audio_utterance.encoder", "pretrained", {"audio_utterance", "audio_context", "fusion"}),
        ("text_utterance.pretrained", "roberta-base", {"text_utterance", "text_context", "fusion"}),
        ("text_utterance.context_words", 2, {"text_utterance", "text_context", "fusion"}),
        ("audio_context.attention", "released", {"audio_context", "fusion"}),
        ("selection", "released", set(STAGES)),
        ("audio_context.kind", "bc_lstm", {"audio_context", "fusion"}),
        ("text_context.kind", "bc_lstm", {"text_context", "fusion"}),
        ("crossfit", 3, set(STAGES)),
        ("fusion.speaker_crf", True, {"fusion"}),
        ("fusion.late_fusion", True, {"fusion"}),
        ("audio_context.training.label_smoothing", 0.1, {"audio_context", "fusion"}),
        ("fusion.kind", "concatenation", {"fusion"}),
        ("fusion.kind", "bc_lstm", {"fusion"}),
        ("fusion.input_modalities", "text", {"fusion"}),
        ("fusion.modality_dropout", 0.3, {"fusion"}),
    ],
)
def test_another_box_trains_again_what_depends_on_it_and_says_why(key: str, value: str, again: set[str]) -> None:
    before, now = origins(Recipe()), origins(change_config(Recipe(), {key: value}))
    assert {stage for stage in STAGES if before[stage] != now[stage]} == again
    stage = next(stage for stage in STAGES if stage in again)
    former = FORMER_KEYS.get(key, key)
    default = before[stage].get(former, LATER_DEFAULTS.get(former))
    assert find_change(before[stage], now[stage]) == f"{key} was {default!r} and is {value!r}"
    assert find_change(now[stage], before[stage]) == f"{key} was {value!r} and is {default!r}"
    assert not find_change(before[stage], before[stage])


def test_cross_fitting_trains_contexts_again_whose_encoders_are_given() -> None:
    given = Recipe().with_precomputed({"audio_utterance": 8, "text_utterance": 8})
    files = {"audio_utterance": "a file", "text_utterance": "another"}
    before, now = (
        compute_origins(one, IEMOCAP4, "a corpus", "a fold", files, {}, "32-true")
        for one in (given, change_config(given, {"crossfit": 3}))
    )
    assert {stage for stage in given.stages if before[stage] != now[stage]} == set(given.stages)


def test_a_key_that_came_later_is_no_part_of_what_was_made_without_it() -> None:
    """Its default does what was done before there was the key, so that a run of before stays finished."""
    defaults = flatten_keys(dataclasses.asdict(Recipe()))
    assert {key: defaults[RENAMED_KEYS.get(key, key)] for key in LATER_DEFAULTS} == LATER_DEFAULTS
    before, now = origins(Recipe()), origins(change_config(Recipe(), {"fusion.modality_dropout": 0.3}))
    assert not any(key in origin for origin in before.values() for key in LATER_DEFAULTS)
    assert not find_change({**before["fusion"], **LATER_DEFAULTS}, before["fusion"])
    assert LATER_DEFAULTS.keys() & now["fusion"].keys() == {"fusion.modality_dropout"}


@pytest.mark.parametrize(
    ("recorded", "present", "kept"), [("", "b", ""), ("a", "", "a"), ("a", "b", "b"), ("a", "a", "a"), ("", "", "")]
)
def test_an_unknown_revision_of_bert_keeps_what_is_finished(recorded: str, present: str, kept: str) -> None:
    before = origins(Recipe(), recorded)
    now = origins(Recipe(), present, before["text_utterance"])
    assert now == origins(Recipe(), kept)
    assert {stage: find_change(before[stage], now[stage]) == "" for stage in STAGES} == {
        stage: kept == recorded or stage.startswith("audio") for stage in STAGES
    }


def test_a_stage_that_trains_again_records_the_present_revision_of_bert() -> None:
    before = origins(change_config(Recipe(), {"text_utterance.hidden": 7}), "")["text_utterance"]
    assert origins(Recipe(), "a commit", before) == origins(Recipe(), "a commit")
