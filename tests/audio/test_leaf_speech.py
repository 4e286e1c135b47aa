"""LEAF on recorded speech, against float64 at the full rate: test_leaf.py holds that to the definition."""

import copy
import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from moodline.audio.leaf import Leaf

pytestmark = pytest.mark.realdata
MINUTE = 60 * 16000


@pytest.fixture(scope="module")
def speech(shared: Path) -> Tensor:
    """A minute of it, from voices of both corpora."""
    corpora = [sorted((shared / "corpora" / name).rglob("*.flac")) for name in ("ravdess", "nemo")]
    recordings = chain.from_iterable(files[:: max(1, len(files) // 15)] for files in corpora)
    return torch.from_numpy(np.concatenate([soundfile.read(path, dtype="float32")[0] for path in recordings])[:MINUTE])


def deviations(energies: Tensor, expected: Tensor) -> Tensor:
    return (energies - expected).abs() / (expected + 1e-5)


def direct_energies(leaf: Leaf, waveform: Tensor) -> Tensor:
    """The definition in single precision: convolution, squared modulus, convolution."""
    half = leaf.window // 2
    time = torch.arange(-half, half + 1)
    mu, sigma = leaf.gabor.centre_frequencies[:, None], leaf.gabor.inverse_bandwidths[:, None]
    envelope = torch.exp(-(time**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    taps = torch.cat([envelope * torch.cos(mu * time), envelope * torch.sin(mu * time)])
    filtered = nn.functional.conv1d(nn.functional.pad(waveform[None, None], (half, half)), taps[:, None])
    energy = filtered.unflatten(1, (2, -1)).square().sum(dim=1)  # (1, 2 C, T) -> (1, C, T)
    frames = -(-len(waveform) // leaf.stride)
    padded = nn.functional.pad(energy, (half, (frames - 1) * leaf.stride + half + 1 - len(waveform)))
    return nn.functional.conv1d(
        padded, leaf.pooling.weights().float()[:, None], stride=leaf.stride, groups=leaf.filters
    )[0]


@torch.no_grad()
@pytest.mark.parametrize("samples", [402, 3000, 48000, MINUTE])
@pytest.mark.parametrize("stride_ms", [5.0, 10.0, 20.0, 30.0])
def test_energies_of_speech_are_near_the_definition(speech: Tensor, stride_ms: float, samples: int) -> None:
    leaf = Leaf(stride_ms=stride_ms)
    waveform = speech[-samples:]
    energies = leaf.energies(waveform[None], [samples]).double()
    expected = copy.deepcopy(leaf).double().energies(waveform[None].double(), [samples])
    assert (energies - expected).norm() < 1e-6 * expected.norm()
    assert deviations(energies, expected).flatten().sort().values[int(0.99 * energies.numel())] < 2e-5


@torch.no_grad()
@pytest.mark.parametrize("seed", range(5))
def test_at_random_parameters_it_is_about_as_near_as_direct_convolution(speech: Tensor, seed: int) -> None:
    leaf = Leaf(stride_ms=10.0)
    generator = torch.Generator().manual_seed(seed)
    for parameter, (low, high) in (
        (leaf.gabor.centre_frequencies, (1e-2, math.pi)),
        (leaf.gabor.inverse_bandwidths, leaf.gabor.bandwidth_range),
        (leaf.pooling.widths, leaf.pooling.width_range),
    ):
        parameter.copy_(low * (high / low) ** torch.rand(leaf.filters, generator=generator))
    leaf.project()
    for waveform in (speech[:160000], 0.1 * torch.randn(160000, generator=generator)):
        expected = copy.deepcopy(leaf).double().energies(waveform[None].double(), [len(waveform)])[0]
        energies = leaf.energies(waveform[None], [len(waveform)])[0]
        assert (energies - expected).norm() < 1e-6 * expected.norm()
        ours, direct = (deviations(of, expected) for of in (energies, direct_energies(leaf, waveform)))
        assert ours.quantile(0.99) < 3 * direct.quantile(0.99)
