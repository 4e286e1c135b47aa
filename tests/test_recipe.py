"""Recipes: the paper's values, and what is refused with which words."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from moodline.cli.main import build_parser, main
from moodline.cli.train import resolve_recipe
from moodline.config import STAGES, Recipe
from moodline.conversation import IEMOCAP4, LABEL_SETS
from moodline.errors import MoodlineError
from moodline.experiments.paper_tables import change_config
from moodline.io import read_json, write_json
from moodline.modeling.description import load_description
from moodline.recipe import RENAMED_KEYS, find_recipe, list_keys, note_idle_keys, parse_recipe, read_recipe, rename_keys
from moodline.training.provenance import compute_origins, hash_origin
from moodline.training.run import Run, read_run
from tests.inference.tiny_models import write_model

# Dutta & Ganapathy, ICASSP 2022, sections 2 and 3; those marked * are the authors' released code's.
PAPER: dict[str, Any] = {
    "label_set": "iemocap4",
    "context": "labelled",  # *
    "modalities": "both",
    "class_weights": "none",
    "audio_utterance.given": False,
    "audio_utterance.sample_rate": 16_000,
    "audio_utterance.filters": 40,
    "audio_utterance.window_ms": 25.0,
    "audio_utterance.stride_ms": 30.0,
    "audio_utterance.minimum_frequency": 60.0,
    "audio_utterance.maximum_frequency": 7_800.0,
    "audio_utterance.channels": (32, 32, 64, 64, 128, 100),  # *
    "audio_utterance.embedding": 100,
    "audio_utterance.dropout": 0.0,
    "audio_utterance.waveform_normalisation": False,
    "audio_utterance.channel_normalisation": False,
    "audio_utterance.mask_channels": 0,
    "audio_utterance.mask_frames": 0,
    "audio_utterance.speed_change": 0.0,
    "audio_utterance.frontend_lr_scale": 1.0,
    "audio_utterance.training.batch_size": 16,
    "audio_utterance.training.learning_rate": 1e-5,
    "audio_utterance.training.epochs": 100,  # *
    "text_utterance.given": False,
    "text_utterance.pretrained": "bert-base-cased",  # *
    "text_utterance.num_unfrozen_layers": None,  # all of them
    "text_utterance.hidden": 100,
    "text_utterance.layers": 2,
    "text_utterance.embedding": 100,
    "text_utterance.dropout": 0.2,  # *
    "text_utterance.text_encoder_lr_scale": 1.0,
    "text_utterance.training.batch_size": 32,
    "text_utterance.training.learning_rate": 1e-5,
    "text_utterance.training.epochs": 10,  # *
    "audio_context.hidden": 100,
    "audio_context.layers": 2,
    "audio_context.self_attention": True,
    "audio_context.dropout": 0.2,  # *
    "audio_context.training.batch_size": 32,
    "audio_context.training.learning_rate": 1e-3,
    "audio_context.training.epochs": 20,  # *
    "text_context.hidden": 100,
    "text_context.layers": 2,
    "text_context.self_attention": True,
    "text_context.dropout": 0.2,  # *
    "text_context.training.batch_size": 32,
    "text_context.training.learning_rate": 1e-3,
    "text_context.training.epochs": 20,  # *
    "fusion.hidden": 120,
    "fusion.heads": 12,
    "fusion.layers": 3,
    "fusion.feed_forward": 3072,  # *
    "fusion.dropout": 0.1,  # *
    "fusion.output_dropout": 0.2,  # *
    "fusion.training.batch_size": 32,
    "fusion.training.learning_rate": 1e-4,
    "fusion.training.epochs": 10,  # *
}
ADAM = {"weight_decay": 0.0, "max_grad_norm": 0.0, "decay": "constant"}


def value_of(recipe: Any, key: str) -> Any:
    for name in key.split("."):
        recipe = getattr(recipe, name)
    return recipe


def recipe_of(name: str) -> Recipe:
    content, path = read_recipe(name)
    return parse_recipe(content, str(path))


def refusal(content: Any, code: str) -> str:
    with pytest.raises(MoodlineError) as refused:
        parse_recipe(content, "mine.yaml")
    assert refused.value.code == code
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert "mine.yaml" in sentence
    return sentence


def nested(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("key", PAPER)
def test_the_papers_recipe_has_the_papers_values(key: str) -> None:
    assert value_of(recipe_of("iemocap"), key) == PAPER[key]
    assert value_of(Recipe(), key) == PAPER[key]


@pytest.mark.parametrize("stage", STAGES)
def test_the_papers_recipe_trains_with_plain_adam_to_the_last_epoch(stage: str) -> None:
    training = recipe_of("iemocap").get_training_config(stage)
    assert {name: getattr(training, name) for name in ADAM} == ADAM
    assert training.patience >= training.epochs


def test_a_recipe_says_only_what_differs() -> None:
    assert parse_recipe({}, "empty.yaml") == Recipe()
    own = parse_recipe({"fusion": {"training": {"epochs": 3}}}, "mine.yaml")
    training = dataclasses.replace(Recipe().fusion.training, epochs=3)
    assert own == dataclasses.replace(Recipe(), fusion=dataclasses.replace(Recipe().fusion, training=training))


def test_a_recipe_comes_back_from_what_it_is_stored_as() -> None:
    """A run and a model store their recipe as JSON, in which a tuple is a list."""
    recipe = dataclasses.replace(recipe_of("iemocap"), seed=7)
    stored = json.loads(json.dumps(dataclasses.asdict(recipe)))
    assert parse_recipe(stored, "config.json") == recipe


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].glob("recipes/*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_with_moodline_is_sound(path: Path) -> None:
    assert find_recipe(path.stem).samefile(path)
    assert isinstance(recipe_of(path.stem), Recipe)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("fusion.hiden", "fusion.hidden"),
        ("fusion.training.learning_rat", "fusion.training.learning_rate"),
        ("audio_utterence", "audio_utterance"),
        ("heads", "fusion.heads"),
        ("label_sets", "label_set"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, meant: str) -> None:
    sentence = refusal(nested(key, 1), "recipe.unknown_key")
    assert repr(key) in sentence
    assert sentence.endswith(f" {meant}?")


def test_an_unknown_key_like_no_other_names_the_list() -> None:
    assert "moodline train --help" in refusal({"zzz": 1}, "recipe.unknown_key")


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("seed", -1, "seed must be 0 or greater, not -1"),
        (
            "label_set",
            "iemocap5",
            f"label_set must be one of {', '.join(LABEL_SETS)}, or a YAML file (.yaml), not 'iemocap5'",
        ),
        ("audio_utterance.stride_ms", 0, "audio_utterance.stride_ms must be greater than 0"),
        ("audio_utterance.maximum_frequency", 9_000, "half the sample rate (8000 Hz), not 60.0, 9000.0"),
        (
            "audio_utterance.minimum_frequency",
            7_900,
            "audio_utterance.maximum_frequency must be in order",
        ),
        ("audio_utterance.channels", [32, 32, 64], "audio_utterance.channels must be an even number of sizes"),
        ("audio_utterance.speed_change", 1.0, "audio_utterance.speed_change must be at least 0 and less than 1"),
        ("text_utterance.maximum_tokens", 2, "text_utterance.maximum_tokens must be at least 3, not 2"),
        (
            "text_utterance.pretrained",
            "",
            "text_utterance.pretrained must be a hub's name, a folder or a wheel, not ''",
        ),
        (
            "audio_utterance.pretrained",
            "null",
            "audio_utterance.pretrained must be a hub's name, a folder or a wheel, not 'null'",
        ),
        ("text_utterance.num_unfrozen_layers", -1, "text_utterance.num_unfrozen_layers must be 0 or greater, not -1"),
        ("audio_context.dropout", 1.5, "audio_context.dropout must be at least 0 and less than 1, not 1.5"),
        ("text_context.layers", 0, "text_context.layers must be greater than 0, not 0"),
        ("fusion.heads", 7, "fusion.heads must be a divisor of hidden (120), not 7"),
        ("fusion.heads", 0, "fusion.heads must be greater than 0, not 0"),
        ("fusion.dropout", float("nan"), "fusion.dropout must be at least 0 and less than 1, not nan"),
        ("fusion.dropout", None, "fusion.dropout must have a value, not null"),
        ("audio_utterance.sample_rate", None, "audio_utterance.sample_rate must have a value, not null"),
        ("fusion.training.learning_rate", math.inf, "fusion.training.learning_rate must be a finite number, not inf"),
        ("text_context.training.weight_decay", math.inf, "text_context.training.weight_decay must be a finite number"),
        ("fusion.training.epochs", 0, "fusion.training.epochs must be greater than 0, not 0"),
        ("text_context.training.weight_decay", -1, "text_context.training.weight_decay must be 0 or greater"),
        ("audio_context.hidden", 50, "audio_context.hidden and text_context.hidden must be equal, not 50 and 100"),
    ],
)
def test_a_value_out_of_range_is_told_by_section_and_key(key: str, value: Any, rule: str) -> None:
    code = "recipe.null" if value is None else "recipe.unequal_contexts" if value == 50 else "recipe.bad_value"
    assert rule in refusal(nested(key, value), code)


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", "many"), ("context", "some"), ("fusion.training.decay", "linear"), ("audio_utterance.embedding", 10.5)],
)
def test_a_value_of_another_kind_is_told_by_section_and_key(key: str, value: Any) -> None:
    sentence = refusal(nested(key, value), "recipe.bad_type")
    assert sentence.startswith(f"{key} must be ")
    assert str(value) in sentence


def test_a_list_or_null_is_told_in_words() -> None:
    assert "audio_utterance.channels must be a list, not 4 (" in refusal(
        nested("audio_utterance.channels", 4), "recipe.bad_type"
    )
    rule = "text_utterance.num_unfrozen_layers must be a whole number or null, not x ("
    assert rule in refusal(nested("text_utterance.num_unfrozen_layers", "x"), "recipe.bad_type")


@pytest.mark.parametrize("content", ["fusion", 3, ["fusion"]])
def test_a_section_holds_keys_and_values(content: Any) -> None:
    assert "not " + repr(content) in refusal(content, "recipe.not_a_mapping")
    assert f"not {content!r} under fusion.training" in refusal(
        {"fusion": {"training": content}}, "recipe.not_a_mapping"
    )


def test_an_empty_section_changes_nothing_and_an_empty_value_is_refused() -> None:
    assert parse_recipe({"fusion": {}}, "mine.yaml") == Recipe()
    assert "'fusoin'" in refusal({"fusoin": {}}, "recipe.unknown_key")
    assert "seed must be a whole number, not {}" in refusal({"seed": {}}, "recipe.bad_type")


def test_contexts_of_one_modality_may_differ_in_size() -> None:
    recipe = parse_recipe({"modalities": "audio", "audio_context": {"hidden": 50}}, "mine.yaml")
    assert recipe.stages == ("audio_utterance", "audio_context")
    assert parse_recipe({"modalities": "text"}, "mine.yaml").stages == ("text_utterance", "text_context")
    assert Recipe().stages == STAGES


def test_a_given_encoder_is_no_stage_and_tells_its_size() -> None:
    recipe = Recipe().with_precomputed({"audio_utterance": 768})
    assert recipe.stages == ("text_utterance", "audio_context", "text_context", "fusion")
    assert recipe.given == {"audio_utterance": 768}
    assert recipe.text_utterance == Recipe().text_utterance
    both = recipe.with_precomputed({"audio_utterance": 12, "text_utterance": 384})
    assert both.given == {"audio_utterance": 768, "text_utterance": 384}  # a recipe's own size is not overwritten
    assert both.stages == ("audio_context", "text_context", "fusion")
    alone = dataclasses.replace(both, modalities="text")
    assert (alone.stages, alone.given) == (("text_context",), {"text_utterance": 384})
    assert Recipe().given == {}
    assert parse_recipe(json.loads(json.dumps(dataclasses.asdict(both))), "config.json") == both


def test_a_recipe_that_was_kept_before_its_boxes_had_names_means_what_it_meant() -> None:
    stored = json.loads(json.dumps(dataclasses.asdict(Recipe())))
    del stored["audio_utterance"]["frontend"]
    for section in ("audio_context", "text_context", "fusion"):
        del stored[section]["kind"]
    assert parse_recipe(stored, "config.json") == Recipe()


@pytest.mark.parametrize("kind", ["concatenation", "bc_lstm"])
def test_heads_are_idle_where_there_is_no_transformer(kind: str) -> None:
    assert parse_recipe({"fusion": {"kind": kind, "hidden": 50}}, "mine.yaml").fusion.hidden == 50


@pytest.mark.parametrize("key", ["audio_utterance.frontend", "audio_context.kind", "fusion.kind"])
def test_a_box_that_there_is_not_is_refused_beside_those_that_there_are(key: str) -> None:
    assert refusal(nested(key, "attention"), "recipe.bad_type").startswith(f"{key} must be one of ")


def test_a_rate_may_be_written_without_a_point(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-5 as text."""
    path = tmp_path / "mine.yaml"
    path.write_text("fusion: {training: {learning_rate: 1e-5}}\n")
    assert recipe_of(str(path)).fusion.training.learning_rate == 1e-5


def test_a_recipe_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for content, code, places in (
        (b"fusion: [1, 2\n", "file.bad_yaml", ["line 2"]),
        (b"\xff\xfe\x00", "file.bad_yaml", []),
        (b"fusion: {hiden: 3}\n", "recipe.unknown_key", ["'fusion.hiden'"]),
        (b"3: 4\n", "recipe.unknown_key", ["'3'"]),
    ):
        path.write_bytes(content)
        with pytest.raises(MoodlineError) as refused:
            read_recipe(str(path))
        assert refused.value.code == code
        assert all(place in str(refused.value) for place in [str(path), *places])


def test_a_key_that_stands_twice_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 1\nfusion:\n  heads: 6\n  layers: 2\n  'heads': 12\n")
    with pytest.raises(MoodlineError) as refused:
        read_recipe(str(path))
    assert refused.value.code == "file.bad_yaml"
    assert all(place in str(refused.value) for place in (str(path), "'heads'", "line 5"))


def test_a_key_may_override_what_is_merged(tmp_path: Path) -> None:
    """A merge is YAML's own way of the same key in two places."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "audio_context: &one {layers: 1, training: &training {epochs: 3}}\n"
        "text_context: {<<: *one, layers: 2, training: {<<: *training, epochs: 4}}\n"
    )
    recipe = recipe_of(str(path))
    assert (recipe.audio_context.layers, recipe.audio_context.training.epochs) == (1, 3)
    assert (recipe.text_context.layers, recipe.text_context.training.epochs) == (2, 4)


def test_an_empty_recipe_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert recipe_of(str(tmp_path / "empty.yaml")) == Recipe()


def test_a_recipe_written_as_in_the_documentation_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("recipes/small.yaml").samefile(find_recipe("small"))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/small.yaml").touch()
    assert find_recipe("recipes/small.yaml") == Path("recipes/small.yaml")  # one's own comes first


def test_a_recipe_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(MoodlineError) as refused:
        find_recipe("imocap")
    assert refused.value.code == "recipe.not_found"
    assert all(name in str(refused.value) for name in ("'imocap'", "iemocap", "small"))


def test_the_command_line_overrides_a_recipes_keys_and_no_others(tmp_path: Path) -> None:
    """Two sections may share one YAML anchor: a change to one is none to the other."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "seed: 5\nmodalities: audio\naudio_context: &context {layers: 1, dropout: 0.5}\ntext_context: *context\n"
    )
    arguments = ["train", "corpus", "--recipe", str(path), "--protocol", "cv5", "-o", "run"]
    options = [*arguments, "--seed", "9", "--audio_context.dropout", "0.25", "--fusion.training.epochs", "2"]
    recipe, name = resolve_recipe(str(path), build_parser().parse_args(options, defaults=False)["train"])
    assert name == "mine"
    assert (recipe.seed, recipe.modalities) == (9, "audio")
    assert (recipe.audio_context.layers, recipe.audio_context.dropout) == (1, 0.25)
    assert (recipe.text_context.layers, recipe.text_context.dropout) == (1, 0.5)
    assert recipe.fusion.training.epochs == 2
    assert recipe.fusion.training.learning_rate == Recipe().fusion.training.learning_rate


def test_every_key_is_known_once() -> None:
    keys = list_keys()
    assert len(keys) == len(set(keys))
    assert set(PAPER) < set(keys)
    assert "fusion.training" in keys


def origins(recipe: Recipe) -> dict[str, Any]:
    return compute_origins(recipe, IEMOCAP4, "corpus", "fold", {}, {"text_utterance": "bert"}, "32-true")


def test_a_recipe_takes_from_its_base_what_it_has_not_itself(tmp_path: Path) -> None:
    """What results is what a recipe that writes all of it out is: the same stages, by their origins."""
    (tmp_path / "below").mkdir()
    (tmp_path / "first.yaml").write_text("seed: 3\nfusion: {heads: 6, training: {epochs: 3, batch_size: 4}}\n")
    (tmp_path / "below" / "second.yaml").write_text("base: ../first.yaml\nfusion: {training: {epochs: 5}}\n")
    (tmp_path / "third.yaml").write_text("base: below/second.yaml\ncontext: all\n")
    (tmp_path / "whole.yaml").write_text(
        "seed: 3\ncontext: all\nfusion: {heads: 6, training: {epochs: 5, batch_size: 4}}\n"
    )
    derived, whole = (recipe_of(str(tmp_path / f"{name}.yaml")) for name in ("third", "whole"))
    assert derived == whole
    assert origins(derived) == origins(whole)


def test_a_base_is_found_from_the_file_and_not_from_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "first.yaml").write_text("seed: 1\n")
    (tmp_path / "there" / "first.yaml").write_text("seed: 2\n")
    (tmp_path / "there" / "second.yaml").write_text("base: first.yaml\n")
    assert recipe_of("../there/second.yaml").seed == 2
    (tmp_path / "there" / "third.yaml").write_text("base: iemocap\nseed: 7\n")
    (tmp_path / "here" / "iemocap").write_text("seed: 1\ncontext: all\n")
    assert recipe_of("../there/third.yaml") == dataclasses.replace(recipe_of("../there/third.yaml"), context="labelled")


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("mine.yaml", ["mine.yaml", "its own base", "mine.yaml -> mine.yaml"]),
        ("other.yaml", ["its own base", "mine.yaml -> other.yaml -> mine.yaml"]),
        ("nowhere", ["base", "'nowhere'", "iemocap", "mine.yaml"]),
        ("[1, 2]", ["base", "[1, 2]", "mine.yaml"]),
        ("bad.yaml", ["'fusion.hiden'", "bad.yaml"]),
    ],
)
def test_a_base_that_is_none_is_refused_with_the_file_that_names_it(tmp_path: Path, base: str, told: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(f"base: {base}\n")
    (tmp_path / "other.yaml").write_text("base: mine.yaml\n")
    (tmp_path / "bad.yaml").write_text("fusion: {hiden: 3}\n")
    with pytest.raises(MoodlineError) as refused:
        read_recipe(str(tmp_path / "mine.yaml"))
    assert all(part in str(refused.value) for part in told), refused.value


@pytest.mark.parametrize(
    ("content", "idle", "choice"),
    [
        ({"fusion": {"kind": "concatenation", "heads": 6, "hidden": 12}}, "fusion.heads", "fusion.kind"),
        ({"fusion": {"kind": "bc_lstm", "feed_forward": 6}}, "fusion.feed_forward", "fusion.kind"),
        (
            {"audio_context": {"kind": "bc_lstm", "attention": "released"}},
            "audio_context.attention",
            "audio_context.kind",
        ),
        ({"text_context": {"self_attention": False, "attention": "paper"}}, "text_context.attention", "self_attention"),
        (
            {"audio_utterance": {"frontend": "log_mel", "frontend_lr_scale": 0.1, "stride_ms": 10}},
            "audio_utterance.frontend_lr_scale",
            "audio_utterance.frontend",
        ),
        ({"audio_utterance": {"padded_seconds": 9}}, "audio_utterance.padded_seconds", "audio_utterance.padding"),
        (
            {"text_utterance": {"num_unfrozen_layers": 0, "text_encoder_lr_scale": 0.1}},
            "text_utterance.text_encoder_lr_scale",
            "num_unfrozen_layers",
        ),
        (
            {"text_utterance": {"pooling": "mean", "hidden": 3}},
            "text_utterance.hidden",
            "text_utterance.pooling is mean",
        ),
        ({"text_utterance": {"pretrained": "wheel:x", "revision": "y"}}, "text_utterance.revision", "not on a hub"),
        ({"audio_utterance": {"encoder": "pretrained", "filters": 40}}, "audio_utterance.filters", "is pretrained"),
        ({"audio_utterance": {"pooling": "mean_std"}}, "audio_utterance.pooling", "encoder is leaf_cnn"),
        (
            {"audio_utterance": {"encoder": "pretrained", "pretrained_lr_scale": 0.1}},
            "audio_utterance.pretrained_lr_scale",
            "num_unfrozen_layers is 0",
        ),
        ({"audio_utterance": {"encoder": "faster-whisper", "layers": [1]}}, "audio_utterance.layers", "faster-whisper"),
        ({"text_utterance": {"given": True, "embedding": 8, "hidden": 3}}, "text_utterance.hidden", "given"),
        ({"audio_utterance": {"given": True, "training": {"epochs": 3}}}, "audio_utterance.training", "given"),
        ({"modalities": "audio", "fusion": {"training": {"epochs": 3}}}, "fusion", "modalities"),
        (
            {"modalities": "text", "text_utterance": {"given": True}, "selection": "released"},
            "selection",
            "no encoder is trained",
        ),
        ({"modalities": "text", "text_utterance": {"given": True}, "crossfit": 3}, "crossfit", "reads another"),
    ],
)
def test_a_key_that_a_choice_makes_idle_is_noted_with_the_choice(content: Any, idle: str, choice: str) -> None:
    (note,) = note_idle_keys(rename_keys(content, "test"), parse_recipe(content, "test"))
    keys, _, reason = note.partition(": ")
    assert keys == idle
    assert choice in reason


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({}, None),
        ({"pooling": "mean_std"}, None),
        ({"pooling": "attentive"}, "pooling is attentive"),
        ({"num_unfrozen_layers": 2}, "num_unfrozen_layers is 2"),
        ({"num_unfrozen_layers": None, "pooling": "attentive"}, "num_unfrozen_layers is null"),
    ],
)
def test_an_encoder_that_reads_the_audio_in_every_epoch_is_noted(choices: dict[str, Any], reason: str | None) -> None:
    content = {"audio_utterance": {"encoder": "pretrained", **choices}}
    notes = note_idle_keys(rename_keys(content, "test"), parse_recipe(content, "test"))
    assert [note.endswith(f"in every epoch, since {reason}") for note in notes] == ([] if reason is None else [True])


def test_keys_that_have_an_effect_are_not_noted() -> None:
    for path in Path("recipes").glob("*.yaml"):
        name = path.stem
        content, _ = read_recipe(name)
        assert note_idle_keys(content, parse_recipe(content, name)) == []


def test_the_command_notes_what_is_idle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("fusion: {heads: 6}\n")
    options = ["train", "c", "--recipe", str(path), "--protocol", "cv5", "-o", "run", "--fusion.kind", "concatenation"]
    recipe, _ = resolve_recipe(str(path), build_parser().parse_args(options, defaults=False)["train"])
    assert recipe.fusion.kind == "concatenation"
    assert "fusion.heads: no effect" in capsys.readouterr().out


# A value for each renamed key, none of them its default but the encoder's name.
CHANGES: dict[str, Any] = {
    "audio_utterance.frontend": "log_mel",
    "audio_utterance.frontend_lr_scale": 0.1,
    "text_utterance.pretrained": "bert-base-cased",
    "text_utterance.num_unfrozen_layers": 2,
    "text_utterance.text_encoder_lr_scale": 0.2,
    "fusion.input_modalities": "text",
    **{f"{stage}.training.max_grad_norm": 1.0 for stage in STAGES},
    **{f"{stage}.training.ema_decay": 0.9 for stage in STAGES},
}


def under_former_names(content: dict[str, Any]) -> dict[str, Any]:
    """A recipe's nested keys and values as the release before wrote them."""
    former = {present: former.rpartition(".")[2] for former, present in RENAMED_KEYS.items()}

    def rename(values: Any, prefix: str) -> Any:
        if not isinstance(values, dict):
            return values
        return {former.get(prefix + key, key): rename(value, f"{prefix}{key}.") for key, value in values.items()}

    return rename(content, "")


def assert_one_warning(caplog: pytest.LogCaptureFixture, origin: str) -> None:
    (record,) = caplog.records
    assert record.name == "moodline"
    assert origin in record.getMessage()
    for key in CHANGES:
        assert key.rpartition(".")[2] in record.getMessage()


def test_a_recipe_file_with_former_keys_is_read_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert CHANGES.keys() == set(RENAMED_KEYS.values())
    changed = change_config(Recipe(), CHANGES)
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(under_former_names(dataclasses.asdict(changed))))  # JSON is YAML
    assert recipe_of(str(path)) == recipe_of(str(path)) == changed
    assert_one_warning(caplog, str(path))


def test_the_command_line_prints_the_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("text_utterance: {bert: bert-base-cased}\n")
    with pytest.raises(SystemExit):  # there is no such corpus
        main(
            ["train", str(tmp_path / "corpus"), "--recipe", str(path), "--protocol", "cv5", "-o", str(tmp_path / "run")]
        )
    warning, _ = capsys.readouterr().err.strip().splitlines()
    assert str(path) in warning
    assert "text_utterance.bert" in warning


def test_runs_and_models_with_former_keys_are_read_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = change_config(Recipe(), CHANGES)
    run = Run(
        folder=tmp_path / "run",
        recipe_name="mine",
        recipe=changed,
        protocol="cv5",
        corpus_folder=tmp_path,
        corpus_hash="corpus",
        label_set=IEMOCAP4,
    )
    content = run.build_description()
    write_json(run.folder / "run.json", content | {"recipe": under_former_names(content["recipe"])})
    assert read_run(run.folder) == read_run(run.folder) == run
    assert_one_warning(caplog, "run.json")

    caplog.clear()
    model = write_model(tmp_path, "both")
    recipe = load_description(model).recipe
    assert not caplog.records
    content = read_json(model / "config.json", "model")
    write_json(model / "config.json", content | {"recipe": under_former_names(content["recipe"])})
    assert load_description(model).recipe == load_description(model).recipe == recipe
    assert_one_warning(caplog, "config.json")


def test_the_command_line_reads_former_keys_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The command's value goes before the file's present key."""
    arguments = ["train", "c", "--recipe", "demo", "--protocol", "cv5", "-o", "run"]
    for former, present in RENAMED_KEYS.items():
        arguments += [f"--{former}", str(CHANGES[present])]
    recipe, _ = resolve_recipe("demo", build_parser().parse_args(arguments, defaults=False)["train"])
    assert {key: value_of(recipe, key) for key in CHANGES} == CHANGES
    assert_one_warning(caplog, "the command line")


def test_a_key_under_both_names_is_refused() -> None:
    with pytest.raises(MoodlineError) as refused:
        parse_recipe({"text_utterance": {"bert_rate": 0.1, "text_encoder_lr_scale": 0.1}}, "mine.yaml")
    assert refused.value.code == "recipe.duplicate_key"
    assert "text_utterance.text_encoder_lr_scale" in str(refused.value)
    assert "mine.yaml" in str(refused.value)


def test_renamed_keys_leave_fingerprints_of_stages_as_they_are() -> None:
    """These are of the release before the keys were renamed: its finished stages are not trained again."""
    expected = {
        "audio_utterance": ("f5b7dc2dddd5ad93", "b9992d31570b0a43"),
        "text_utterance": ("4c17f208266e07c9", "cfbef363cb019845"),
        "audio_context": ("a5158b19c9a12249", "f5a2cd469fab1f1f"),
        "text_context": ("db224f3736be6863", "871d63cb7695a5ba"),
        "fusion": ("1bc9c8e86802e0d2", "a6e26b46718a8a90"),
    }
    default, changed = origins(Recipe()), origins(change_config(Recipe(), CHANGES))
    assert {stage: (hash_origin(default[stage]), hash_origin(changed[stage])) for stage in STAGES} == expected


@pytest.mark.parametrize(("value", "layers"), [("all", "all"), ([0], (0,)), ([3, 12], (3, 12))])
def test_layers_are_all_or_a_list(value: Any, layers: Any) -> None:
    found = parse_recipe({"audio_utterance": {"layers": value}}, "mine.yaml")
    assert found.audio_utterance.layers == layers
    written = json.loads(json.dumps(dataclasses.asdict(found)))  # as a run and a model keep it
    assert parse_recipe(written, "run.json") == found


@pytest.mark.parametrize(
    ("value", "code"),
    [([-1], "recipe.bad_value"), ([], "recipe.bad_value"), ("some", "recipe.bad_type"), ([0.5], "recipe.bad_type")],
)
def test_layers_that_do_not_exist_are_refused(value: Any, code: str) -> None:
    sentence = refusal({"audio_utterance": {"layers": value}}, code)
    assert sentence.startswith("audio_utterance.layers must be all or a list")


def test_a_revision_may_be_null() -> None:
    content = {"text_utterance": {"revision": None}, "audio_utterance": {"revision": "v1"}}
    found = parse_recipe(content, "mine.yaml")
    assert (found.text_utterance.revision, found.audio_utterance.revision) == (None, "v1")
