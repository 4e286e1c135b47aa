import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moodline.modeling.batching import Encoding
from moodline.modeling.fusion import MultimodalTransformer
from tests.rounding import assert_rounded_alike, count_operations

INPUTS, HIDDEN = 6, 12


def transformer(**arguments) -> MultimodalTransformer:
    torch.manual_seed(0)
    sizes = {"classes": 4, "hidden": HIDDEN, "heads": 3, "layers": 2, "feed_forward": 20}
    model = MultimodalTransformer(INPUTS, **sizes | arguments).eval()
    with torch.no_grad():  # so that attention is far from uniform
        for layer in model.encoder.layers:
            layer.self_attn.in_proj_weight.mul_(3)
    return model


MODEL = transformer()
TOKENS = 20  # the most that a test reads; in each layer attention sums over them twice
OPERATIONS = count_operations(MODEL) + 2 * TOKENS * len(MODEL.encoder.layers)


def conversation(turns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Contextual embeddings of speech and of words."""
    audio, text = torch.randn(2, turns, INPUTS, generator=torch.Generator().manual_seed(seed)).unbind()
    return audio, text


def encode(model: MultimodalTransformer, audio: Tensor, text: Tensor, lengths: list[int]) -> Encoding:
    with torch.no_grad():
        return model(audio, text, torch.tensor(lengths))


def encode_one(audio: Tensor, text: Tensor, model: MultimodalTransformer = MODEL) -> Encoding:
    return Encoding(*(one[0] for one in encode(model, audio[None], text[None], [len(audio)])))


def layer_norm(values: np.ndarray, layer: torch.nn.LayerNorm) -> np.ndarray:
    centred = values - values.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + layer.eps)
    return scaled * array(layer.weight) + array(layer.bias)


def array(parameter: Tensor) -> np.ndarray:
    return parameter.detach().double().numpy()


def linear(values: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
    return values @ array(weight).T + array(bias)


def bert_layer(
    tokens: np.ndarray, layer: torch.nn.TransformerEncoderLayer, heads: int, present: np.ndarray | None = None
) -> np.ndarray:
    """Vaswani et al. 2017, sections 3.1 to 3.3, with the GELU of Devlin et al. 2019; absent tokens (T,) unattended."""
    from scipy.special import erf

    attention = layer.self_attn
    projected = linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        part.reshape(len(tokens), heads, -1).swapaxes(0, 1) for part in np.split(projected, 3, axis=1)
    )  # each (heads, T, H / heads)
    powers = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1]))
    powers = powers if present is None else powers * present
    attended = powers / powers.sum(axis=2, keepdims=True) @ value
    attended = attended.swapaxes(0, 1).reshape(tokens.shape)  # (heads, T, H / heads) -> (T, H)
    tokens = layer_norm(tokens + linear(attended, attention.out_proj.weight, attention.out_proj.bias), layer.norm1)
    inner = linear(tokens, layer.linear1.weight, layer.linear1.bias)
    inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
    return layer_norm(tokens + linear(inner, layer.linear2.weight, layer.linear2.bias), layer.norm2)


def test_it_is_the_papers_transformer_over_one_sequence_of_both_modalities() -> None:
    audio, text = conversation(5)
    tokens = np.concatenate(
        [
            linear(array(text), MODEL.text_map.weight, MODEL.text_map.bias),
            linear(array(audio), MODEL.audio_map.weight, MODEL.audio_map.bias),
        ]
    )  # (2S, H)
    assert tokens.shape == (10, HIDDEN)
    for layer in MODEL.encoder.layers:
        tokens = bert_layer(tokens, layer, heads=3)
    fused = np.concatenate([tokens[:5], tokens[5:]], axis=1)
    encoding = encode_one(audio, text)
    assert_rounded_alike(encoding.embeddings.numpy(), fused, OPERATIONS)
    logits = linear(fused, MODEL.classify.weight, MODEL.classify.bias)
    assert_rounded_alike(encoding.logits.numpy(), logits, OPERATIONS)


def test_an_absent_modality_is_a_token_of_the_maps_bias_that_nothing_attends_to() -> None:
    audio, text = conversation(5)
    has_audio, has_text = torch.tensor([[True, False, False, True, True], [False, True, False, True, False]])
    tokens = np.concatenate(
        [
            linear(array(text * has_text[:, None]), MODEL.text_map.weight, MODEL.text_map.bias),
            linear(array(audio * has_audio[:, None]), MODEL.audio_map.weight, MODEL.audio_map.bias),
        ]
    )  # (2S, H)
    np.testing.assert_array_equal(tokens[0], array(MODEL.text_map.bias))
    for layer in MODEL.encoder.layers:
        tokens = bert_layer(tokens, layer, heads=3, present=torch.cat([has_text, has_audio]).numpy())
    fused = np.concatenate([tokens[:5], tokens[5:]], axis=1)
    with torch.no_grad():
        encoding = MODEL(audio[None], text[None], torch.tensor([5]), None, has_audio[None], has_text[None])
    assert_rounded_alike(encoding.embeddings[0].numpy(), fused, OPERATIONS)
    logits = linear(fused, MODEL.classify.weight, MODEL.classify.bias)
    assert_rounded_alike(encoding.logits[0].numpy(), logits, OPERATIONS)


@settings(max_examples=20, deadline=None)
@given(order=st.integers(1, 9).flatmap(lambda turns: st.permutations(range(turns))))
def test_without_positions_the_order_of_the_turns_is_only_their_order(order: list[int]) -> None:
    audio, text = conversation(len(order))
    expected = encode_one(audio, text)
    permuted = encode_one(audio[order], text[order])
    assert_rounded_alike(permuted.embeddings, expected.embeddings[order], OPERATIONS)
    assert_rounded_alike(permuted.logits, expected.logits[order], OPERATIONS)


def test_every_output_hears_both_modalities_of_every_turn() -> None:
    audio, text = conversation(4)
    expected = encode_one(audio, text).embeddings
    for turn in range(4):
        for changed in (audio, text):
            kept = changed[turn].clone()
            changed[turn] += 1
            differences = encode_one(audio, text).embeddings - expected
            changed[turn] = kept
            halves = differences.view(4, 2, HIDDEN).abs().amax(dim=2)
            assert halves.min() > 1e-5


def test_sizes_are_the_arguments() -> None:
    model = transformer(classes=6, hidden=24, heads=4, layers=3, feed_forward=10)
    encoding = encode(model, *torch.randn(2, 3, 5, INPUTS).unbind(), [5, 2, 4])
    assert encoding.embeddings.shape == (3, 5, 48)
    assert encoding.logits.shape == (3, 5, 6)
    assert [layer.linear1.out_features for layer in model.encoder.layers] == [10, 10, 10]
    assert {layer.self_attn.num_heads for layer in model.encoder.layers} == {4}
