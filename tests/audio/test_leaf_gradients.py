"""LEAF's gradients against finite differences, and in single precision against the definition in double."""

import math
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from moodline.modeling import Leaf
from moodline.modeling import filterbank_fft as energy_module
from tests.direct_leaf import (
    assert_as_exact_as_the_definition,
    direct_energies,
    fast_energies,
    filter_parameters,
    gradients,
    in_double,
    relative_error,
    speech_like,
    white_noise,
    with_random_parameters,
)

signals = pytest.mark.parametrize("signal", [white_noise, speech_like])


def tiny(stride_ms: float) -> Leaf:
    leaf = Leaf(filters=3, sample_rate=1000, stride_ms=stride_ms, minimum_frequency=30.0, maximum_frequency=450.0)
    with torch.no_grad():
        leaf.gabor.inverse_bandwidths.copy_(torch.tensor([2.5, 4.0, 6.0]))
        leaf.pooling.widths.copy_(torch.tensor([0.2, 0.3, 0.4]))
    return leaf.double()


@pytest.mark.parametrize("stride_ms", [30.0, 10.0])
def test_gradients_are_those_of_finite_differences(stride_ms: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(energy_module.CHUNK_BYTES, "cpu", 1)  # one block at a time, so that chunks add up
    torch.manual_seed(0)
    leaf = tiny(stride_ms)
    waveforms = torch.randn(2, 200, dtype=torch.float64, requires_grad=True)

    def pooled(*_: Tensor) -> Tensor:
        return leaf.compute_energies(waveforms, [200, 61])

    assert torch.autograd.gradcheck(pooled, (waveforms, *filter_parameters(leaf)), fast_mode=True)
    assert torch.autograd.gradcheck(pooled, filter_parameters(leaf))


@pytest.mark.parametrize("random_parameters", [False, True])
@pytest.mark.parametrize("stride_ms", [30.0, 10.0])
@signals
def test_gradients_in_single_precision_are_those_of_the_definition(
    signal: Callable[[int], Tensor], stride_ms: float, random_parameters: bool
) -> None:
    leaf = Leaf(stride_ms=stride_ms)
    if random_parameters:
        with_random_parameters(leaf)
    assert_as_exact_as_the_definition(gradients, leaf, signal(16000))


def test_a_loud_band_does_not_spoil_the_gradients_of_quiet_ones() -> None:
    leaf = Leaf(stride_ms=10.0)
    tone = 0.5 * torch.sin(2 * math.pi * 440 / 16000 * torch.arange(16000))
    waveform = tone + 1e-3 * white_noise(16000)
    expected, *_ = gradients(direct_energies, in_double(leaf), waveform.double())
    direct, *_ = gradients(direct_energies, leaf, waveform)
    fast, *_ = gradients(fast_energies, leaf, waveform)
    assert relative_error(fast, expected) < 3 * relative_error(direct, expected)


def test_taps_too_small_for_a_reciprocal_have_gradients() -> None:
    """The narrowest filters' envelopes fall below the smallest normal number within the window."""
    leaf = with_random_parameters(Leaf())
    leaf(torch.ones(1, 2000))[0].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in leaf.parameters())


@pytest.mark.slow
def test_so_they_have_on_every_processor() -> None:
    code = f"from {__name__} import {test_taps_too_small_for_a_reciprocal_have_gradients.__name__} as test; test()"
    # PyTorch's plain kernels are those of a processor without AVX2.
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
