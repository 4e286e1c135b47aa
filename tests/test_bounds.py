"""A model's description that asks for more than its weights hold is refused before memory is taken for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

import moodline
from moodline.config import FUSION, TEXT_UTTERANCE
from moodline.modeling import checkpoint
from moodline.modeling.bounds import check_sizes, limit_parameters, refuse_large_model
from moodline.modeling.description import load_description
from moodline.modeling.pretrained import build_empty
from tests.inference.tiny_models import write_model
from tests.refusals import refuses

LARGER = 1_000  # than any size of the tiny model; it could be allocated
HUGE = 10**9


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bounds"), "both")


@pytest.fixture
def folder(complete: Path, tmp_path: Path) -> Path:
    """A copy of the model to be spoilt."""
    return Path(shutil.copytree(complete, tmp_path / "model"))


def change(path: Path, keys: str, value: Any) -> None:
    """Set a key of a JSON file; dots separate the levels."""
    content = json.loads(path.read_text())
    *sections, last = keys.split(".")
    inner = content
    for section in sections:
        inner = inner[section]
    assert last in inner
    inner[last] = value
    path.write_text(json.dumps(content))


def forbid_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a part is built with memory, not on the meta device."""
    build = checkpoint.build_stage

    def build_without_memory(*arguments: Any) -> nn.Module:
        part = build(*arguments)
        if not all(one.is_meta for one in part.parameters()):
            pytest.fail("parameters were allocated")
        return part

    monkeypatch.setattr(checkpoint, "build_stage", build_without_memory)


@pytest.mark.parametrize(
    ("stages", "key", "value"),
    [
        ("audio_utterance", "filters", HUGE),
        ("audio_utterance", "window_ms", 1e12),
        ("audio_utterance", "sample_rate", HUGE),
        ("audio_utterance", "channels", [4, 4, 6, 6, 8, LARGER]),
        ("audio_utterance", "channels", [4, 4, 6, 6, 8, HUGE]),
        ("text_utterance", "hidden", 10**30),
        ("text_utterance", "layers", 3),
        ("text_context", "layers", 3),
        ("fusion", "layers", 2),
        *(
            (stages, key, value)
            for value in (LARGER, HUGE)
            for stages, key in (
                ("audio_utterance", "embedding"),
                ("text_utterance", "hidden"),
                ("audio_context text_context", "hidden"),  # the fusion wants both alike
                ("fusion", "feed_forward"),
            )
        ),
        *((stage, "layers", HUGE) for stage in ("text_utterance", "text_context", "fusion")),
    ],
)
def test_a_recipe_beyond_the_weights_takes_no_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stages: str, key: str, value: object
) -> None:
    for stage in stages.split():
        change(folder / "config.json", f"recipe.{stage}.{key}", value)
    described = load_description(folder)
    forbid_allocation(monkeypatch)
    for stage in stages.split():
        with refuses("model.mismatched_weights", folder / f"{stage}.safetensors"):
            checkpoint.load_part(folder, stage, described.recipe, described.label_set)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 5),
        ("num_hidden_layers", HUGE),
        ("hidden_size", 18),
        ("hidden_size", 2**40),  # no tensor is as large
        *(
            (key, value)
            for key in ("vocab_size", "intermediate_size", "max_position_embeddings")
            for value in (LARGER, HUGE)
        ),
    ],
)
def test_a_bert_beyond_the_weights_takes_no_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: int
) -> None:
    change(folder / "bert/config.json", key, value)
    described = load_description(folder)
    forbid_allocation(monkeypatch)
    with refuses("model.invalid_encoder", folder):
        checkpoint.load_part(folder, TEXT_UTTERANCE, described.recipe, described.label_set)


def test_a_bert_cannot_name_code_of_a_hub(folder: Path) -> None:
    content = json.loads((folder / "bert/config.json").read_text())
    for named in ("some-org/attention", "flash_attention_2"):
        (folder / "bert/config.json").write_text(json.dumps(content | {"attn_implementation": named}))
        with refuses("model.invalid_encoder", named):
            moodline.load(folder)


def test_weights_of_other_shapes_are_refused_by_their_header(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = load_file(folder / "fusion.safetensors")
    name = "classify.bias"
    save_file(weights | {name: torch.zeros(len(weights[name]) + 1)}, folder / "fusion.safetensors")
    described = load_description(folder)
    forbid_allocation(monkeypatch)
    with refuses("model.mismatched_weights"):
        checkpoint.load_part(folder, FUSION, described.recipe, described.label_set)


def test_the_check_draws_no_random_numbers(tmp_path: Path) -> None:
    """The weights of a run that loads its stages stay the same."""
    built = nn.GRU(3, 4)
    save_file({name: one.detach() for name, one in built.state_dict().items()}, tmp_path / "gru.safetensors")
    before = torch.get_rng_state()
    check_sizes(lambda: nn.GRU(3, 4), {}, tmp_path / "gru.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_limit_counts_within_its_block_alone() -> None:
    with limit_parameters(2):
        nn.Linear(2, 2)
        with pytest.raises(ValueError, match="more than 2"):
            nn.Linear(2, 2)
    nn.Linear(2, 2)


def test_a_model_larger_than_memory_is_refused_with_both_sizes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    monkeypatch.setattr("moodline.modeling.bounds.measure_memory", lambda: size)
    moodline.load(folder, device="cpu")
    monkeypatch.setattr("moodline.modeling.bounds.measure_memory", lambda: size - 1)
    with refuses("model.too_large", str(folder), "GiB"):
        moodline.load(folder, device="cpu")


def test_the_weights_of_faster_whisper_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fusion.safetensors", "audio/model.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(10))
    monkeypatch.setattr("moodline.modeling.bounds.measure_memory", lambda: 20)
    refuse_large_model(tmp_path)
    monkeypatch.setattr("moodline.modeling.bounds.measure_memory", lambda: 19)
    with refuses("model.too_large", tmp_path):
        refuse_large_model(tmp_path)


def test_a_table_that_no_weight_bounds_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.DebertaV2Config(**sizes, vocab_size=20, position_biased_input=False)
    transformers.DebertaV2Model(config).save_pretrained(tmp_path)
    files = tmp_path / "config.json", tmp_path / "model.safetensors"
    build_empty(*files, prefix="")
    change(files[0], "max_position_embeddings", 2**25)
    with refuses("model.invalid_encoder", files[0], 2**25):
        build_empty(*files, prefix="")
