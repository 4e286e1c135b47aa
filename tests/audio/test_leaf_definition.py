"""LEAF's pooled energies against their definition, written out in double precision."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from moodline.modeling import Leaf
from moodline.modeling.filterbank_fft import build_interior_layout
from tests.direct_leaf import (
    assert_as_exact_as_the_definition,
    direct_energies,
    double_rounding,
    fast_energies,
    in_double,
    most_deviate_by,
    pooled,
    relative_error,
    speech_like,
    transform_rounding,
    white_noise,
    with_random_parameters,
)

Padding = Literal["symmetric", "same"]
signals = pytest.mark.parametrize("signal", [white_noise, speech_like])


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def steps(leaf: Leaf) -> set[int]:
    """The sampling intervals of its filters."""
    return {bank.step for bank in leaf._get_plan(build_interior_layout(leaf.window, leaf.stride).strides * leaf.stride)}


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("stride_ms", [30.0, 26.0, 10.0, 3.0])
@pytest.mark.parametrize("samples", [1, 150, 401, 402, 480, 481, 5003])
def test_energies_are_the_definitions(padding: Padding, stride_ms: float, samples: int) -> None:
    leaf = Leaf(filters=10, stride_ms=stride_ms, padding=padding)
    for waveform in (white_noise(samples), speech_like(5003)[-samples:]):
        expected = direct_energies(leaf, waveform.double())
        assert_as_exact_as_the_definition(pooled, leaf, waveform)
        assert relative_error(fast_energies(in_double(leaf), waveform), expected) < double_rounding(leaf)


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize(
    ("filters", "window_ms", "stride_ms"), [(1, 25.0, 10.0), (5, 8.0, 30.0), (23, 25.0, 20.0), (64, 50.0, 12.5)]
)
def test_so_they_are_at_other_rates_windows_and_numbers_of_filters(
    sample_rate: int, filters: int, window_ms: float, stride_ms: float
) -> None:
    leaf = Leaf(
        sample_rate=sample_rate, filters=filters, window_ms=window_ms, stride_ms=stride_ms, maximum_frequency=4000.0
    )
    waveform = white_noise(sample_rate // 8)
    expected = direct_energies(leaf, waveform.double())
    assert leaf.window % 2 == 1
    assert abs(leaf.window - 1 - window_ms * sample_rate / 1000) <= 1
    assert expected.shape == (filters, -(-len(waveform) // leaf.stride))
    assert_as_exact_as_the_definition(pooled, leaf, waveform)
    assert relative_error(fast_energies(in_double(leaf), waveform), expected) < double_rounding(leaf)


@pytest.mark.parametrize("stride", [1, 7, 163, 997])
def test_strides_that_no_coarser_sampling_divides_are_computed_at_the_full_rate(stride: int) -> None:
    leaf = Leaf(filters=12, stride_ms=stride / 16)
    assert leaf.stride == stride
    assert steps(leaf) <= {1, stride}
    waveform = speech_like(1500 if stride == 1 else 8000)
    assert_as_exact_as_the_definition(pooled, leaf, waveform)


@pytest.mark.parametrize("seed", range(4))
@signals
def test_at_any_parameters_they_are_as_near_as_a_direct_computation_in_single_precision(
    signal: Callable[[int], Tensor], seed: int
) -> None:
    leaf = with_random_parameters(Leaf(stride_ms=(5.0, 10.0, 20.0, 30.0)[seed % 4]), seed)
    waveform = signal(8000)
    expected = direct_energies(in_double(leaf), waveform.double())
    assert_as_exact_as_the_definition(pooled, leaf, waveform)
    assert_as_exact_as_the_definition(pooled, leaf, waveform, most_deviate_by)
    assert relative_error(fast_energies(in_double(leaf), waveform), expected) < double_rounding(leaf)


def test_filters_closer_than_the_references_spectrum_resolves_are_still_apart() -> None:
    gabor = Leaf(filters=64, sample_rate=48000).gabor
    assert gabor.centre_frequencies.min() > 0
    low, high = gabor.limits["inverse_bandwidths"]
    assert low <= gabor.inverse_bandwidths.min()
    assert gabor.inverse_bandwidths.max() <= high


@pytest.mark.parametrize("stride_ms", [5.0, 10.0, 20.0, 30.0])
@signals
def test_each_energy_is_near_the_definition_at_the_initial_parameters(
    signal: Callable[[int], Tensor], stride_ms: float
) -> None:
    leaf = Leaf(stride_ms=stride_ms)
    assert_as_exact_as_the_definition(pooled, leaf, signal(40000), most_deviate_by)
    assert len(steps(leaf)) > 4  # it is not the full rate


def test_a_minute_is_as_exact_as_a_moment() -> None:
    leaf = Leaf(filters=8, stride_ms=10.0)
    waveform = white_noise(60 * 16000)
    assert relative_error(fast_energies(leaf, waveform), fast_energies(in_double(leaf), waveform)) < transform_rounding(
        leaf
    )
