"""Pretrained encoders of each family load, and read words in one way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from moodline.config import TEXT_UTTERANCE, Recipe, TextUtteranceConfig
from moodline.conversation import IEMOCAP4
from moodline.errors import MoodlineError
from moodline.modeling.checkpoint import TOKENIZER_FILE, load_part, save_stage, save_text_assets
from moodline.modeling.model import build_stage
from moodline.modeling.pretrained import (
    PADDING_DEPENDENT,
    READ_MORE,
    build_encoder,
    find_fault,
    get_layers,
    load_pretrained,
)
from moodline.modeling.text_encoder import KEY, TextEncoder, Tokenizer, find_maximum_length, load_text_backbone
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike, count_operations
from tests.text.families import FAMILIES, POSITIONS, WITH_POSITION_TABLES, write_encoder

POOLINGS = ("gru", "mean", "first")
TURNS = ("I am so happy!", "", "no", "yes yes not sad , angry .")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("encoders")
    return {family: write_encoder(place / family, family) for family in FAMILIES}


def load(folder: Path, maximum_tokens: int = 512) -> tuple[Any, Tokenizer]:
    return load_text_backbone(str(folder), maximum_tokens)


def build(backbone: Any, **arguments: Any) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(backbone, **{"classes": 4, "hidden": 10, "embedding": 6} | arguments).eval()


def pad(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    return pad_sequence(sequences, batch_first=True), torch.tensor([len(one) for one in sequences])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_are_those_of_the_folder(folders: dict[str, Path], family: str) -> None:
    backbone = load_pretrained(str(folders[family]), key=KEY)
    saved, found = load_file(folders[family] / "model.safetensors"), backbone.state_dict()
    assert not backbone.training
    assert found.keys() >= {name for name in saved if not name.startswith("pooler.")}
    for name, weight in found.items():
        torch.testing.assert_close(weight, saved[name], rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_of_the_maximum_runs_and_a_longer_one_is_cut(folders: dict[str, Path], family: str) -> None:
    backbone, tokenizer = load(folders[family])
    exact, longer = tokenizer(["yes " * (POSITIONS - 2), "yes " * (POSITIONS - 1)])
    assert find_maximum_length(backbone) == len(exact) == len(longer) == POSITIONS
    assert exact.tolist() == longer.tolist()
    with torch.no_grad():
        assert backbone(exact[None]).last_hidden_state.isfinite().all()
        if family in WITH_POSITION_TABLES:
            with pytest.raises((IndexError, RuntimeError)):
                backbone(torch.cat([exact, exact[-1:]])[None])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_never_changes_a_result(folders: dict[str, Path], family: str, pooling: str) -> None:
    backbone, tokenizer = load(folders[family])
    model, sequences = build(backbone, pooling=pooling), tokenizer(TURNS)
    batch, lengths = pad(sequences)
    operations = count_operations(model, batch.shape[1])
    with torch.no_grad():
        together = model(batch, lengths)
        for row, one in enumerate(sequences):
            alone = model(one[None], lengths[row : row + 1])
            assert_rounded_alike(together.embeddings[row], alone.embeddings[0], operations)
            assert_rounded_alike(together.logits[row], alone.logits[0], operations)
    assert (together.logits[0] - together.logits[2]).abs().max() > 1e-3


def read_states(backbone: Any, ids: Tensor) -> list[Tensor]:
    """The hidden states (1, T, W), the last one after the model's final normalisation."""
    states = [*backbone(ids[None], output_hidden_states=True).hidden_states]
    return [*states[:-1], backbone(ids[None]).last_hidden_state]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layers_are_read_and_pooled(folders: dict[str, Path], family: str) -> None:
    backbone, tokenizer = load(folders[family])
    (ids,) = tokenizer(TURNS[:1])
    with torch.no_grad():
        hidden = read_states(backbone, ids)
        assert len(hidden) == 1 + 4
        for layers in (1, 3):
            read = torch.cat(hidden[-layers:], dim=-1)[0]
            pooled = {"mean": read.mean(dim=0), "first": read[0]}
            for pooling, vector in pooled.items():
                model = build(backbone, use_last_layers=layers, pooling=pooling)
                features = model.extract(ids[None], torch.tensor([len(ids)]))
                assert features.lengths.tolist() == [1]
                operations = count_operations(model, len(ids))
                assert_rounded_alike(features.values[0, 0], vector, operations)
                found = model(ids[None], torch.tensor([len(ids)])).embeddings[0]
                assert_rounded_alike(found, model.embed(vector), operations)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_own_tokens_are_pooled_of_a_turn_in_context(folders: dict[str, Path], family: str) -> None:
    backbone, tokenizer = load(folders[family])
    cls, *previous, sep = tokenizer(["yes no"])[0].tolist()
    (_, *before, _), (_, *own, _) = (one.tolist() for one in tokenizer(["i am", "so sad"]))
    words, context = ["so sad", "so sad", ""], [("yes no", "  ", "i am"), (), ("yes no",)]
    found = tokenizer.encode_in_context(words, context)
    assert found[0].tokens.tolist() == [cls, *previous, sep, *before, sep, *own, sep]
    assert found[0].own.tolist() == [True] + [False] * 6 + [True] * 3
    assert found[1].tokens.tolist() == [cls, *own, sep]
    assert found[2].tokens.tolist() == [cls, *previous, sep, sep]
    assert found[1].own.all()
    batch, lengths = pad([one.tokens for one in found])
    mask = pad_sequence([one.own for one in found], batch_first=True)
    with torch.no_grad():
        for pooling in POOLINGS:
            model = build(backbone, pooling=pooling)
            together = model(batch, lengths, mask).embeddings
            operations = count_operations(model, batch.shape[1])
            for row, one in enumerate(found):
                hidden = read_states(backbone, one.tokens)
                read = torch.cat(hidden[-4:], dim=-1)[0, one.own]
                if model.gru is None:
                    pooled = read.mean(dim=0) if pooling == "mean" else read[0]
                else:
                    states = model.gru(read[None])[1]
                    pooled = torch.cat([states[-2, 0], states[-1, 0]])
                assert_rounded_alike(together[row], model.embed(pooled), operations)
            assert (together[0] - together[1]).abs().max() > 1e-3  # the context is read


def test_context_is_cut_from_its_beginning(folders: dict[str, Path]) -> None:
    tokenizer = load(folders["roberta"], maximum_tokens=9)[1]
    whole = load(folders["roberta"])[1]
    (cls, *own, sep), (_, *previous, _) = (one.tolist() for one in whole(["so sad", "yes no i am"]))
    ((tokens, is_own),) = tokenizer.encode_in_context(["so sad"], [("yes " * 50, "yes no i am")])
    assert tokens.tolist() == [cls, *previous, sep, *own, sep]
    assert is_own.tolist() == [True] + [False] * 5 + [True] * 3
    # The end of a turn that is longer than the limit, and none beside own words that reach the limit.
    (one,) = tokenizer.encode_in_context(["so sad"], [("yes " * 50 + "no",)])
    assert one.tokens.tolist()[1:6] == [*whole(["yes yes yes yes no"])[0].tolist()[2:6], sep]
    (full,) = tokenizer.encode_in_context(["no " * 50], [("yes",)])
    assert full.tokens.tolist() == tokenizer(["no " * 50])[0].tolist()
    assert full.own.all()


@pytest.mark.parametrize("num_unfrozen_layers", [None, 0, 1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_trained_layers_get_gradients(
    folders: dict[str, Path], family: str, num_unfrozen_layers: int | None
) -> None:
    backbone, tokenizer = load(folders[family])
    model = build(backbone, num_unfrozen_layers=num_unfrozen_layers).train()
    model(*pad(tokenizer(TURNS))).logits.square().sum().backward()
    learning = {name for name, parameter in model.bert.named_parameters() if parameter.grad is not None}
    (prefix,) = (
        name for name, module in model.bert.named_modules() if module is get_layers(model.bert, TEXT_UTTERANCE)
    )
    last = tuple(f"{prefix}.{number}." for number in range(4 - (num_unfrozen_layers or 0), 4))
    assert model.is_frozen == (num_unfrozen_layers == 0)
    if num_unfrozen_layers is None:
        assert {name.split(".")[0] for name in learning} >= {"embeddings", prefix.split(".")[0]}
    else:
        assert {name for name, _ in model.bert.named_parameters() if name.startswith(last)} == learning


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_layers_have_the_same_gradients(folders: dict[str, Path], family: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        backbone, tokenizer = load(folders[family])
        if checkpointing and family == "mpnet":
            with pytest.raises(MoodlineError, match=r"mpnet.* text_utterance\.gradient_checkpointing") as refused:
                build(backbone, gradient_checkpointing=True)
            assert refused.value.code == "recipe.no_checkpointing"
            return
        model = build(backbone, gradient_checkpointing=checkpointing, num_unfrozen_layers=2).train()
        torch.manual_seed(1)
        model(*pad(tokenizer(TURNS))).logits.square().sum().backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert_rounded_alike(gradients[1][name], gradient, count_operations(model, 12) ** 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_encoder_gives_the_same_results(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    text = TextUtteranceConfig(pretrained=str(folders[family]), pooling="mean", use_last_layers=2)
    recipe = replace(Recipe(), text_utterance=text)
    backbone, tokenizer = load(folders[family])
    part = build_stage(TEXT_UTTERANCE, recipe, 4, backbone).eval()
    save_stage(tmp_path, TEXT_UTTERANCE, part)
    save_text_assets(tmp_path, backbone, tokenizer)
    again = load_part(tmp_path, TEXT_UTTERANCE, recipe, IEMOCAP4)
    ids = Tokenizer.from_file(tmp_path / TOKENIZER_FILE, 512)(TURNS)
    assert [one.tolist() for one in ids] == [one.tolist() for one in tokenizer(TURNS)]
    with torch.no_grad():
        for found, expected in zip(again(*pad(ids)), part(*pad(ids)), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_layers_that_share_their_weights_are_not_trained_separately() -> None:
    from transformers import AlbertConfig

    sizes = {"hidden_size": 8, "embedding_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}
    with refuses("model.shared_layers", "albert", "text_utterance.num_unfrozen_layers"):
        build(build_encoder(AlbertConfig(**sizes, num_hidden_layers=2)), num_unfrozen_layers=1, use_last_layers=2)


def test_too_few_layers_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(MoodlineError, match=r"4.* 5") as refused:
        build(load(folders["modernbert"])[0], use_last_layers=5)
    assert refused.value.code == "model.shallow_encoder"


@pytest.mark.parametrize("family", sorted(MODEL_FOR_MASKED_LM_MAPPING_NAMES))
def test_every_family_that_is_accepted_reads_a_sequence_alone(family: str) -> None:
    """A family that comes with a new version of transformers may not: it then belongs to those that are refused."""
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 40, "initializer_range": 0.2, "embedding_size": 16}
    sizes |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    sizes |= {"emb_dim": 16, "n_layers": 4, "n_heads": 2, "num_key_value_heads": 2, "mask_token_id": 3}
    if family in PADDING_DEPENDENT | READ_MORE:
        return
    config = CONFIG_MAPPING[family](**sizes)
    if find_fault(config, "text"):
        assert config.is_encoder_decoder
        return
    if family == "xmod":
        config.default_language = config.languages[0]
    torch.manual_seed(0)
    model = build(build_encoder(config))
    ids = torch.randint(5, 40, (2, 15))
    with torch.no_grad():
        alone = model(ids[:1, :9], torch.tensor([9])).embeddings[0]
        together = model(ids, torch.tensor([9, 15])).embeddings[0]
    assert_rounded_alike(together, alone, count_operations(model, 15))
