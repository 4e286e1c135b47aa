from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import BertConfig, BertModel

from moodline.modeling.batching import Encoding
from moodline.modeling.text_encoder import TextEncoder, load_text_backbone
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike, count_operations
from tests.tiny import tiny_bert


def bert(layers: int = 4) -> BertModel:
    torch.manual_seed(layers)
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(**sizes, num_hidden_layers=layers, max_position_embeddings=24, initializer_range=0.2)
    return BertModel(config, add_pooling_layer=False)


def encoder(layers_of_bert: int = 4, **arguments) -> TextEncoder:
    return TextEncoder(bert(layers_of_bert), **{"classes": 4, "hidden": 10, "embedding": 6} | arguments).eval()


def tokens(length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 30, (length,), generator=torch.Generator().manual_seed(seed))


def encode(model: TextEncoder, ids: Tensor, lengths: list[int]) -> Encoding:
    with torch.no_grad():
        return model(ids, torch.tensor(lengths))


ENCODER = encoder()
TOKENS = 18  # the most that a test reads
OPERATIONS = count_operations(ENCODER, TOKENS)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 18), min_size=1, max_size=5), excess=st.integers(0, 6), filling=st.integers(0, 29)
)
def test_padding_never_changes_a_result(lengths: list[int], excess: int, filling: int) -> None:
    batch = torch.full((len(lengths), max(lengths) + excess), filling)
    for row, length in enumerate(lengths):
        batch[row, :length] = tokens(length, row)
    together = encode(ENCODER, batch, lengths)
    for row, length in enumerate(lengths):
        alone = encode(ENCODER, tokens(length, row)[None], [length])
        assert_rounded_alike(together.embeddings[row], alone.embeddings[0], OPERATIONS)
        assert_rounded_alike(together.logits[row], alone.logits[0], OPERATIONS)


def test_every_token_counts() -> None:
    ids = tokens(9)
    expected = encode(ENCODER, ids[None], [9]).embeddings
    for place in range(9):
        changed = ids.clone()
        changed[place] = (changed[place] + 1) % 30
        assert (encode(ENCODER, changed[None], [9]).embeddings - expected).abs().max() > 1e-3


@pytest.mark.parametrize("layers_of_bert", [4, 6])
def test_it_is_a_gru_over_the_last_four_hidden_layers(layers_of_bert: int) -> None:
    model = encoder(layers_of_bert)
    ids = tokens(11)[None]
    layers: list[Tensor] = []
    for layer in model.bert.encoder.layer:
        layer.register_forward_hook(lambda *call: layers.append(call[-1][0] if type(call[-1]) is tuple else call[-1]))
    with torch.no_grad():
        model.bert(ids)
        outputs, _ = model.gru(torch.cat(layers[-4:], dim=-1))
        # Each direction has read everything where it ends: the last token, the first token.
        embedding = model.embed(torch.cat([outputs[:, -1, :10], outputs[:, 0, 10:]], dim=-1))
        logits = model.classify(embedding)
    assert len(layers) == layers_of_bert
    for found, expected in zip(encode(model, ids, [11]), (embedding, logits), strict=True):
        assert_rounded_alike(found, expected, count_operations(model, TOKENS))


def test_sizes_are_the_arguments() -> None:
    model = encoder(classes=6, hidden=7, layers=1, embedding=50)
    encoding = encode(model, tokens(8).view(2, 4), [4, 3])
    assert encoding.embeddings.shape == (2, 50)
    assert encoding.logits.shape == (2, 6)
    assert len([name for name, _ in model.gru.named_parameters() if name.startswith("weight_hh")]) == 2  # directions


@pytest.mark.parametrize("num_unfrozen_layers", [None, 0, 1, 3, 5])
def test_only_the_trained_layers_get_gradients(num_unfrozen_layers: int | None) -> None:
    model = encoder(layers_of_bert=5, num_unfrozen_layers=num_unfrozen_layers).train()
    model(tokens(12).view(2, 6), torch.tensor([6, 5])).logits.square().sum().backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    last = (
        ("bert.",)
        if num_unfrozen_layers is None
        else tuple(f"bert.encoder.layer.{4 - n}." for n in range(num_unfrozen_layers))
    )
    assert learning == {
        name for name, _ in model.named_parameters() if not name.startswith("bert.") or name.startswith(last)
    }


def test_more_trained_layers_than_bert_has_are_refused() -> None:
    with refuses("recipe.too_many_layers", "text_utterance.num_unfrozen_layers", "4", "6"):
        encoder(num_unfrozen_layers=6)


def test_a_bert_too_shallow_to_read_is_refused() -> None:
    with refuses("model.shallow_encoder", "text_utterance.use_last_layers", "3", "4"):
        encoder(layers_of_bert=3)


def test_utterances_without_words_have_a_result_of_their_own(tmp_path: Path) -> None:
    pretrained, tokenizer = load_text_backbone(str(tiny_bert(tmp_path)), 512)
    torch.manual_seed(0)
    model = TextEncoder(pretrained, classes=4, hidden=10, embedding=6).eval()
    ids = tokenizer(["", "   ", "yes"])
    batch = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    empty, blank, yes = encode(model, batch, [len(one) for one in ids]).logits
    alone = encode(model, ids[0][None], [len(ids[0])]).logits[0]
    assert torch.isfinite(empty).all()
    operations = count_operations(model, batch.shape[1])
    assert_rounded_alike(empty, alone, operations)
    assert_rounded_alike(empty, blank, operations)
    assert (empty - yes).abs().max() > 1e-2
