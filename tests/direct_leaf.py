"""LEAF's pooled energies as they are defined, for tests of the fast ones, and signals to compare them on."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor, nn

from moodline.modeling import Leaf
from moodline.modeling.filterbank_fft import build_interior_layout
from tests.rounding import rounding

Energies = Callable[[Leaf, Tensor], Tensor]


def direct_energies(leaf: Leaf, waveform: Tensor) -> Tensor:
    """Each filter as a sum over its taps, each frame as a sum over its window: (T,) -> (C, F).

    It computes in the waveform's precision throughout, and gradients of waveform and parameters pass.
    """
    half = leaf.window // 2
    time = torch.arange(-half, half + 1, dtype=waveform.dtype)
    gabor, pooling = leaf.gabor, leaf.pooling
    mu, sigma = (p.to(waveform.dtype)[:, None] for p in (gabor.centre_frequencies, gabor.inverse_bandwidths))
    envelope = torch.exp(-(time**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    taps = torch.cat([envelope * torch.cos(mu * time), envelope * torch.sin(mu * time)])
    # Padded first: conv1d's own padding takes a slower path, and for long signals one that does not end.
    filtered = nn.functional.conv1d(nn.functional.pad(waveform[None, None], (half, half)), taps[:, None])
    energy = filtered.unflatten(1, (2, -1)).square().sum(dim=1)  # (1, 2 C, T) -> (1, C, T)
    left, frames = samples_before(leaf, len(waveform)), -(-len(waveform) // leaf.stride)
    energy = nn.functional.pad(energy, (left, (frames - 1) * leaf.stride + leaf.window - left - len(waveform)))
    windows = torch.exp(-0.5 * (time / (half * pooling.widths.to(waveform.dtype)[:, None])) ** 2)
    return nn.functional.conv1d(energy, windows[:, None], stride=leaf.stride, groups=leaf.filters)[0]


def samples_before(leaf: Leaf, length: int) -> int:
    """Zeros before the signal: half a window, or TensorFlow's SAME padding."""
    if leaf.padding == "symmetric":
        return leaf.window // 2
    return max((-(-length // leaf.stride) - 1) * leaf.stride + leaf.window - length, 0) // 2


def fast_energies(leaf: Leaf, waveform: Tensor) -> Tensor:
    """Leaf's own, of one waveform (T,) in the parameters' precision -> (C, F)."""
    return leaf.compute_energies(waveform.to(leaf.pooling.widths)[None], [len(waveform)])[0]


def filter_parameters(leaf: Leaf) -> list[Tensor]:
    return [leaf.gabor.centre_frequencies, leaf.gabor.inverse_bandwidths, leaf.pooling.widths]


def gradients(energies: Energies, leaf: Leaf, waveform: Tensor) -> list[Tensor]:
    """Of the waveform and all parameters, for random changes of features, steep where energies are low."""
    waveform = waveform.clone().requires_grad_()
    features = (energies(leaf, waveform) + 1e-5).log()
    of_features = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    return list(torch.autograd.grad(features, [waveform, *filter_parameters(leaf)], of_features.to(features)))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def most_deviate_by(actual: Tensor, expected: Tensor) -> float:
    """Return the deviation that 99 % of the energies stay below."""
    deviations = ((actual - expected).abs() / (expected + 1e-5)).flatten()
    return deviations.sort().values[int(0.99 * len(deviations))].item()


def pooled(energies: Energies, leaf: Leaf, waveform: Tensor) -> list[Tensor]:
    """The energies alone, beside ``gradients``."""
    return [energies(leaf, waveform)]


def count_transform_stages(leaf: Leaf) -> int:
    """Counts the stages of a block's Fourier transform: log2 N."""
    return math.ceil(math.log2(build_interior_layout(leaf.window, leaf.stride).strides * leaf.stride))


def transform_rounding(leaf: Leaf) -> float:
    """Bounds the relative error of energies whose blocks are transformed and transformed back, then squared."""
    return rounding(2 * 2 * count_transform_stages(leaf))


def gradient_rounding(leaf: Leaf) -> float:
    """Bounds the relative error of gradients: the transforms both ways, and sums over taps and pooling windows."""
    return rounding(2 * 4 * count_transform_stages(leaf) + 2 * leaf.window)


def double_rounding(leaf: Leaf) -> float:
    """Bounds the relative difference of the fast and the direct energies in double precision.

    A tap's phase is as much as pi / 2 windows of radians; the sum over the taps is squared, then summed over a window.
    """
    return rounding((2 * (1 + math.pi / 2) + 1) * leaf.window + 4 * count_transform_stages(leaf), torch.float64)


def after_a_transform(leaf: Leaf, waveform: Tensor) -> Tensor:
    """The waveform with as much noise as a block's Fourier transform leaves: log2 N units of its root mean square.

    It is as loud in silence as in speech, so that quiet frames and bands, and what is steep in them, have more of it.
    """
    noise = torch.randn(len(waveform), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    level = rounding(count_transform_stages(leaf)) * waveform.double().square().mean().sqrt()
    return waveform.double() + level * noise


def assert_as_exact_as_the_definition(
    quantity: Callable[[Energies, Leaf, Tensor], list[Tensor]],
    leaf: Leaf,
    waveform: Tensor,
    error: Callable[[Tensor, Tensor], float] = relative_error,
) -> None:
    """A quantity of the fast energies is as near that of the definition in double precision as rounding allows.

    Allowed are three times the direct form's own error in single precision, the change of the definition where the
    waveform has the rounding of a Fourier transform, and the rounding of the fast form's own sums.
    """
    double = in_double(leaf)
    own = transform_rounding(leaf) if quantity is pooled else gradient_rounding(leaf)
    exact = quantity(direct_energies, double, waveform.double())
    moved = quantity(direct_energies, double, after_a_transform(leaf, waveform))
    direct, fast = quantity(direct_energies, leaf, waveform), quantity(fast_energies, leaf, waveform)
    for place, expected in enumerate(exact):
        allowed = 3 * error(direct[place], expected) + error(moved[place], expected) + own
        assert error(fast[place], expected) < allowed, place


@torch.no_grad()
def with_random_parameters(leaf: Leaf, seed: int = 0) -> Leaf:
    """Parameters from the whole of their ranges, almost up to the ends."""
    generator = torch.Generator().manual_seed(seed)
    limits = leaf.gabor.limits | leaf.pooling.limits
    for parameter, (low, high) in zip(filter_parameters(leaf), limits.values(), strict=True):
        share = torch.rand(leaf.filters, generator=generator)
        share[torch.randperm(leaf.filters, generator=generator)[:4]] = torch.tensor([0.0, 1.0, 0.0, 1.0])
        parameter.copy_(low * (high / low) ** share if low else high * share)
        # The ends rounded to single precision may be outside of what is the range in double precision.
        parameter.copy_(torch.nextafter(parameter, torch.tensor((low + high) / 2)))
    return leaf


def in_double(leaf: Leaf) -> Leaf:
    """The same in double precision, in its ranges: their ends, rounded to single precision, may be outside."""
    other = copy.deepcopy(leaf).double()
    other.project()
    return other


def white_noise(samples: int) -> Tensor:
    values = np.random.default_rng(samples).normal(scale=0.1, size=samples)
    return torch.tensor(values, dtype=torch.float32)


def speech_like(samples: int, sample_rate: int = 16000) -> Tensor:
    """Pulses at a wandering pitch through three formants, in syllables with near-silence between them."""
    time = np.arange(samples) / sample_rate
    pitch = 120 * 2 ** (0.3 * np.sin(2 * np.pi * 1.3 * time))
    source = np.diff(np.floor(np.cumsum(pitch) / sample_rate), prepend=0.0) + 0.003 * white_noise(samples).numpy()
    for frequency, bandwidth in ((600, 80), (1400, 120), (2600, 160)):
        radius = np.exp(-np.pi * bandwidth / sample_rate)
        angle = 2 * np.pi * frequency / sample_rate
        source = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source)
    speech = source * (np.clip(np.sin(2 * np.pi * 2.1 * time + 0.5), 0, 1) ** 2 + 1e-3)
    return torch.tensor(0.5 * speech / np.abs(speech).max(), dtype=torch.float32)
