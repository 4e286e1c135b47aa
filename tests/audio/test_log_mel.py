"""Log-mel, the front-end of which nothing is learned, beside the formulas written out."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moodline.modeling.frontend import LogMel, build_mel_triangles, convert_to_mel
from moodline.modeling.leaf import Leaf
from tests.rounding import rounding

BOX = LogMel()
FLOOR = 1e-5
# Of a logarithm, so a relative error of two energies: a sum over the window, one over the bins, both squared.
ROUNDING = 2 * rounding(2 * 401 + 257)


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def features_of(waveform: Tensor, box: LogMel = BOX) -> np.ndarray:
    return box(waveform[None])[0][0].numpy()


def hertz(mels: float) -> float:
    """The inverse of the mel scale as O'Shaughnessy wrote it, with the decimal logarithm."""
    return 700 * (10 ** (mels / 2595) - 1)


def triangle(frequency: float, low: float, peak: float, high: float) -> float:
    """A filter at a frequency, all in mel."""
    if not low < frequency < high:
        return 0.0
    return (frequency - low) / (peak - low) if frequency <= peak else (high - frequency) / (high - peak)


def written_out(waveform: np.ndarray, frame: int, channel: int) -> float:
    """One feature at the default arguments, by the definition of each step."""
    size, half, rate = 512, 200, 16000
    taken = [
        (0.5 - 0.5 * math.cos(2 * math.pi * (n + half) / (2 * half))) * float(waveform[480 * frame + n])
        for n in range(-half, half + 1)
        if 0 <= 480 * frame + n < len(waveform)
    ]
    spectrum = [abs(sum(v * np.exp(-2j * np.pi * k * n / size) for n, v in enumerate(taken))) for k in range(257)]
    lowest, highest = (2595 * math.log10(1 + f / 700) for f in (60.0, 7800.0))
    low, peak, high = (lowest + (highest - lowest) * (channel + edge) / 41 for edge in range(3))
    weights = [triangle(2595 * math.log10(1 + k * rate / size / 700), low, peak, high) for k in range(257)]
    energy = sum(weight * value**2 for weight, value in zip(weights, spectrum, strict=True))
    return math.log(max(energy, FLOOR) / FLOOR)


@pytest.mark.parametrize(("frame", "channel"), [(0, 0), (0, 39), (2, 11), (4, 25), (4, 39)])
def test_a_feature_is_the_formula_written_out(frame: int, channel: int) -> None:
    waveform = noise(2100)  # the windows of the first frame and of the last one, 1920 +- 200, reach out of it
    assert features_of(waveform)[channel, frame] == pytest.approx(
        written_out(waveform.double().numpy(), frame, channel), abs=ROUNDING
    )


def test_the_mel_scale_is_oshaughnessys() -> None:
    for frequency in (60.0, 440.0, 1000.0, 7800.0):
        assert hertz(float(convert_to_mel(frequency))) == pytest.approx(frequency, rel=1e-4)
    assert float(convert_to_mel(1000.0)) == pytest.approx(1000.0, rel=1e-4)


def test_each_filter_rises_from_the_peak_before_to_its_own_and_falls_to_the_next() -> None:
    lowest, highest = float(convert_to_mel(100.0)), float(convert_to_mel(3800.0))
    places = [hertz(lowest + (highest - lowest) * place / 21) for place in range(22)]
    found = build_mel_triangles(
        np.array(places), filters=20, sample_rate=8000, minimum_frequency=100.0, maximum_frequency=3800.0
    )
    np.testing.assert_allclose(found, np.eye(20, 22, 1), atol=2e-3)


@pytest.mark.parametrize("arguments", [{}, {"stride_ms": 10.0}, {"sample_rate": 8000, "maximum_frequency": 3900.0}])
@pytest.mark.parametrize("samples", [0, 1, 80, 480, 481, 7000])
def test_frames_are_leafs(arguments: dict[str, Any], samples: int) -> None:
    leaf, box = Leaf(**arguments), LogMel(**arguments)
    (features, frames), (expected, as_many) = (one(torch.zeros(1, samples)) for one in (box, leaf))
    assert features.shape == expected.shape
    assert torch.equal(frames, as_many)
    assert (box.filters, box.window, box.stride) == (leaf.filters, leaf.window, leaf.stride)
    assert box.count_min_samples(36) == leaf.count_min_samples(36)


def test_a_frame_is_centred_where_leafs_is() -> None:
    for frame in (3, 10):
        waveform = torch.zeros(8000)
        waveform[frame * 480] = 1.0
        for box in (BOX, Leaf()):
            with torch.no_grad():
                loudness = box(waveform[None])[0][0].sum(dim=0)
            assert int(loudness.argmax()) == frame
        aside = [features_of(waveform.roll(shift))[:, frame] for shift in (-150, 150)]
        np.testing.assert_allclose(*aside, rtol=0, atol=ROUNDING)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 480, 481, 5000, 9999]), min_size=1, max_size=4),
    excess=st.integers(0, 3000),
)
def test_padding_never_changes_a_result(lengths: list[int], excess: int) -> None:
    batch = torch.full((len(lengths), max(lengths) + excess), torch.nan)
    for row, length in enumerate(lengths):
        batch[row, :length] = noise(length, row)
    features, frames = BOX(batch, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = features_of(noise(length, row))
        np.testing.assert_allclose(features[row, :, : frames[row]].numpy(), alone, rtol=0, atol=ROUNDING)
        assert (features[row, :, frames[row] :] == 0).all()


@pytest.mark.parametrize("samples", [1, 480, 481, 7000])
def test_silence_is_zero(samples: int) -> None:
    assert (features_of(torch.zeros(samples)) == 0).all()


@pytest.mark.parametrize("channel", [5, 20, 38])
def test_a_tone_is_loudest_in_the_channel_of_its_frequency(channel: int) -> None:
    lowest, highest = float(convert_to_mel(60.0)), float(convert_to_mel(7800.0))
    frequency = hertz(lowest + (highest - lowest) * (channel + 1) / 41)
    tone = torch.sin(2 * math.pi * frequency * torch.arange(16000) / 16000)
    assert (features_of(tone)[:, 2:-2].argmax(axis=0) == channel).all()


def test_ten_times_the_amplitude_adds_the_logarithm_of_a_hundred() -> None:
    quiet, loud = features_of(noise(5000)), features_of(10 * noise(5000))
    np.testing.assert_allclose(loud - quiet, math.log(100), rtol=0, atol=ROUNDING)


def test_nothing_is_learned_or_kept_and_gradients_reach_the_waveform() -> None:
    waveform = noise(3000)[None].requires_grad_()
    box = LogMel()
    box(waveform)[0].square().mean().backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()
    assert waveform.grad.abs().max() > 0
    assert not list(box.parameters())
    assert not box.state_dict()


def test_mixed_precision_changes_nothing() -> None:
    expected = features_of(noise(5000))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(features_of(noise(5000)), expected)
