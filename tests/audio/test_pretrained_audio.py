"""The encoder of speech over each family of pretrained ones."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding
from moodline.modeling.pretrained import get_layers
from moodline.modeling.pretrained_audio import STAGE, PretrainedAudio
from tests.audio.speech_encoders import (
    FAMILIES,
    LAYERS,
    WIDTH,
    batch_on_a_cpu,
    build_backbone,
    build_extractor,
    build_part,
    speech_like,
)
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike, count_operations, rounding

__all__ = ["batch_on_a_cpu"]
POOLINGS = ("mean", "mean_std", "attentive")
LONGEST = 8_000  # samples that a test reads
LENGTHS = [3_000, 2_999, 1, LONGEST, 0, 6_500, 3_000]  # 6,500 and the longest share a pass where masks hold
MASKED = FAMILIES.keys() - {"hubert with a batch norm", "data2vec", "sew", "sew-d", "conformer"}


def build_mixed_part(family: str, settings: dict[str, Any] | None = None, **arguments: Any) -> PretrainedAudio:
    """A part whose layers have different weights."""
    part = build_part(family, settings, **arguments).eval()
    nn.init.normal_(part.layer_weights)
    return part


def count_rounded(part: PretrainedAudio) -> int:
    """Sums also go over the samples of a waveform and the frames that each layer attends to."""
    return count_operations(part) + LONGEST + 2 * LAYERS * (LONGEST // 80)


def pad(lengths: list[int], size: int, fill: float = torch.nan) -> Tensor:
    batch = torch.full((len(lengths), size), fill)
    for row, length in enumerate(lengths):
        batch[row, :length] = speech_like(length, row)
    return batch


def encode(part: PretrainedAudio, waveforms: Tensor, lengths: list[int]) -> Encoding:
    with torch.no_grad():
        return part(waveforms, torch.tensor(lengths))


def extract(part: PretrainedAudio, waveforms: Tensor, lengths: list[int]) -> Tensor:
    with torch.no_grad():
        return part.extract(waveforms, torch.tensor(lengths)).values


def run_plainly(family: str, waveform: Tensor, window: int) -> list[np.ndarray]:
    """The hidden states (F, D) of each layer by transformers alone, windows one after the other."""
    backbone, extractor = build_backbone(family), build_extractor(family)
    features = family in ("whisper", "wav2vec2-bert")
    read = waveform.numpy() if features else extractor(waveform.numpy(), sampling_rate=16_000)["input_values"][0]
    layers: list[list[np.ndarray]] = [[] for _ in range(LAYERS + 1)]
    for piece in np.array_split(read, -(-len(read) // window)):
        if features:
            inputs = extractor(piece, sampling_rate=16_000, return_tensors="pt")["input_features"].float()
        else:
            inputs = torch.tensor(piece)[None]
        with torch.no_grad():
            states = backbone(inputs, output_hidden_states=True).hidden_states
        frames = -(-len(piece) // 320) if family == "whisper" else states[0].shape[1]
        for layer, state in zip(layers, states, strict=True):
            layer.append(state[0, :frames].double().numpy())
    return [np.concatenate(layer) for layer in layers]


def standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=-1, keepdims=True)) / np.sqrt(values.var(axis=-1, keepdims=True) + 1e-5)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_never_changes_a_result(family: str, pooling: str) -> None:
    part = build_mixed_part(family, pooling=pooling)
    together = encode(part, pad(LENGTHS, LONGEST + 700), LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = encode(part, speech_like(length, row)[None], [length])
        for found, expected in zip(together, alone, strict=True):
            assert_rounded_alike(found[row], expected[0], count_rounded(part))
    assert (together.embeddings[0] - together.embeddings[6]).abs().max() > 1e-3  # another utterance of one length


@pytest.mark.parametrize("family", FAMILIES)
def test_families_whose_masks_hold_are_read_together(family: str) -> None:
    part = build_mixed_part(family)
    shapes: list[int] = []
    part.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(len(args[0] if args else kwargs["input_features"])), with_kwargs=True
    )
    lengths = [3_000, 2_999, 3_000]
    extract(part, pad(lengths, 3_000), lengths)
    assert sorted(shapes) == ([3] if family in MASKED else [1, 2])


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_transformers_whatever_shares_the_pass(family: str) -> None:
    part = build_mixed_part(family)
    lengths = [5_100, LONGEST, 7_001] if family in MASKED else [5_100, 5_100]
    windows, _ = part.reader.split(pad(lengths, LONGEST), torch.tensor(lengths))
    with torch.no_grad():
        layers, frames = part.reader.encode(part.backbone, windows)
    for row, length in enumerate(lengths):
        expected = run_plainly(family, speech_like(length, row), LONGEST)
        for layer, own in zip(layers, expected, strict=True):
            assert_rounded_alike(layer[row, : frames[row]], own, count_rounded(part))


def test_a_pass_on_a_cpu_reads_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    reader = build_mixed_part("wavlm").reader
    assert reader.group([torch.zeros(3_000)] * 3) == [[0], [1], [2]]
    assert reader.group([torch.zeros(3_000, device="meta")] * 3) == [[0, 1, 2]]


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_keep_the_names_of_transformers(family: str) -> None:
    """Models that were saved before still load, and what is saved now loads without moodline."""
    expected = {name: one.shape for name, one in build_backbone(family).state_dict().items()}
    assert {name: one.shape for name, one in build_mixed_part(family).backbone.state_dict().items()} == expected


@pytest.mark.parametrize("window", [LONGEST, 4_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_are_those_of_all_frames(family: str, window: int) -> None:
    """Each window of 4,000 samples is read by itself, and the frames of all are pooled together."""
    part = build_mixed_part(family, pooling="mean_std")
    part.reader.window = window
    waveform = speech_like(7_001)
    found = extract(part, waveform[None], [7_001])[0]
    layers = run_plainly(family, waveform, window)
    expected = np.stack([np.concatenate([layer.mean(axis=0), layer.std(axis=0)]) for layer in layers])
    assert found.dtype == torch.float32
    assert found.shape == (LAYERS + 1, 2 * WIDTH)
    assert_rounded_alike(found, expected, count_rounded(part))
    part.powers = 1
    assert_rounded_alike(extract(part, waveform[None], [7_001])[0], expected[:, :WIDTH], count_rounded(part))


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_embeddings_are_a_weighted_sum_of_normalised_statistics(pooling: str) -> None:
    part = build_mixed_part("wavlm", pooling=pooling, layers=[3, 1])
    waveform = speech_like(LONGEST)
    layers = run_plainly("wavlm", waveform, LONGEST)
    weights = softmax(part.layer_weights.detach().double().numpy())
    pooled = np.zeros(part.powers * WIDTH)
    for weight, layer in zip(weights, (3, 1), strict=True):
        of_layer = [layers[layer].mean(axis=0), layers[layer].std(axis=0)][: part.powers]
        pooled += weight * np.concatenate([standardise(one) for one in of_layer])
    embeddings = part.embed.weight.detach().double().numpy() @ pooled + part.embed.bias.detach().numpy()
    logits = part.classify.weight.detach().double().numpy() @ embeddings + part.classify.bias.detach().numpy()
    found = encode(part, waveform[None], [LONGEST])
    assert_rounded_alike(found.embeddings[0], embeddings, count_rounded(part))
    assert_rounded_alike(found.logits[0], logits, count_rounded(part))


@pytest.mark.parametrize("window", [LONGEST, 3_000])
def test_attention_averages_all_frames_of_an_utterance(window: int) -> None:
    part = build_mixed_part("hubert", pooling="attentive", layers=[0, 2])
    part.reader.window = window
    waveform = speech_like(LONGEST)
    layers = run_plainly("hubert", waveform, window)
    weights = softmax(part.layer_weights.detach().double().numpy())
    frames = weights[0] * standardise(layers[0]) + weights[1] * standardise(layers[2])  # (F, D)
    assert isinstance(part.attention, nn.Sequential)
    hidden, _, vector = part.attention
    states = np.tanh(frames @ hidden.weight.detach().double().numpy().T + hidden.bias.detach().numpy())
    pooled = softmax(states @ vector.weight.detach().double().numpy()[0]) @ frames
    embeddings = part.embed.weight.detach().double().numpy() @ pooled + part.embed.bias.detach().numpy()
    found = encode(part, waveform[None], [LONGEST]).embeddings[0]
    assert_rounded_alike(found, embeddings, count_rounded(part))


@pytest.mark.parametrize("do_normalize", [True, False])
def test_waveforms_are_normalised_as_the_extractor_does(do_normalize: bool) -> None:
    extractor = build_extractor("wavlm", do_normalize=do_normalize)
    reader = PretrainedAudio(build_backbone("wavlm"), extractor, classes=4).reader
    for samples in (1, 400, LONGEST):
        waveform = speech_like(samples, samples)
        expected = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="np")["input_values"][0]
        assert_rounded_alike(reader.normalise(waveform), expected, 3 * samples)
    assert reader.normalise(torch.zeros(0)).shape == (0,)
    assert reader.normalise(torch.zeros(9)).equal(torch.zeros(9))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "whisper"])
def test_the_shortest_utterance_has_one_frame(family: str) -> None:
    part = build_mixed_part(family)
    shortest = part.reader.shortest
    assert count_usable_frames(part, shortest) == 1
    assert count_usable_frames(part, shortest - 1) == 0


def count_usable_frames(part: PretrainedAudio, samples: int) -> int:
    """The frames of a waveform that an encoder can read; none if it fails."""
    try:
        with torch.no_grad(), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            states = part.reader.encode(part.backbone, [speech_like(samples)])
    except (RuntimeError, ValueError):  # of the convolutions
        return 0
    return int(states.frames) if all(layer.isfinite().all() for layer in states.layers) else 0


def test_a_short_utterance_is_extended_with_silence() -> None:
    part = build_mixed_part("wav2vec2")
    (normalised,) = part.reader.split(speech_like(50)[None], torch.tensor([50]))[0]
    assert normalised[:50].equal(part.reader.normalise(speech_like(50)))
    assert normalised[50:].equal(torch.zeros(part.reader.shortest - 50))


def test_windows_are_nearly_equal_and_at_most_30_seconds() -> None:
    part = build_mixed_part("wavlm")
    samples = 61 * 16_000 + 1
    windows, counts = part.reader.split(speech_like(samples)[None], torch.tensor([samples]))
    sizes = [len(window) for window in windows]
    assert counts == [3]
    assert max(sizes) <= 30 * 16_000
    assert max(sizes) - min(sizes) <= 1
    assert torch.cat(windows).equal(part.reader.normalise(speech_like(samples)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pass_has_at_most_two_minutes(family: str) -> None:
    part = build_mixed_part(family)
    windows = [torch.zeros(30 * 16_000 if family != "whisper" else 16_000)] * 7
    groups = part.reader.group(windows)
    most = 4 if family != "whisper" else 7
    assert [len(group) for group in groups] == ([most, 7 - most] if most < 7 else [7])


def test_a_sample_rate_is_that_of_the_extractor() -> None:
    extractor = build_extractor("wavlm", sampling_rate=8_000)
    part = PretrainedAudio(build_backbone("wavlm"), extractor, classes=4)
    assert part.sample_rate == 8_000
    assert part.reader.window == 240_000


@pytest.mark.parametrize("layers", [[4], [-1], [0, 9]])
def test_layers_that_do_not_exist_are_refused(layers: list[int]) -> None:
    with refuses("recipe.unknown_layer", "audio_utterance.layers", layers[-1], "0 to 3"):
        build_mixed_part("wavlm", layers=layers)


@pytest.mark.parametrize("layers", [[], [1, 2, 1]])
def test_layers_named_twice_or_not_at_all_are_refused(layers: list[int]) -> None:
    with refuses("recipe.repeated_layer", layers):
        build_mixed_part("wavlm", layers=layers)


def test_rounding_is_far_below_what_a_test_must_see() -> None:
    """A frame of padding among the data would change a mean by about 1 / 100."""
    assert 2 * rounding(max(count_rounded(build_mixed_part(family)) for family in FAMILIES)) < 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_found(family: str) -> None:
    assert len(get_layers(build_backbone(family), STAGE)) == LAYERS
