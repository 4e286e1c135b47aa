"""Errors of LEAF and log-mel, and signals with values that are not numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from moodline.modeling import Leaf
from moodline.modeling.frontend import LogMel
from tests.direct_leaf import count_transform_stages, fast_energies, white_noise
from tests.rounding import assert_rounded_alike


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"filters": 0}, "filters .* 1, received 0"),
        ({"stride_ms": -10.0}, "stride .* 1, received -160"),
        ({"stride_ms": 0.01}, "stride .* 1, received 0"),
        ({"window_ms": 0.05}, "window .* 3, received 1"),
        ({"window_ms": -25.0}, "window .* 3, received -399"),
        ({"padding": "valid"}, 'padding .* "symmetric" .* "same", received "valid"'),
        ({"maximum_frequency": 8001.0}, "16000 Hz, received 60.0 to 8001.0 Hz"),
        ({"sample_rate": 8000}, "8000 Hz, received 60.0 to 7800.0 Hz"),
        ({"minimum_frequency": 500.0, "maximum_frequency": 500.0}, "16000 Hz, received 500.0 to 500.0 Hz"),
        ({"minimum_frequency": -1.0}, "16000 Hz, received -1.0 to 7800.0 Hz"),
        ({"maximum_frequency": 60.001}, "received 40 from 60.0 to 60.001 Hz"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Leaf(**arguments)
    if "padding" not in arguments and "received 40" not in rule:
        with pytest.raises(ValueError, match=rule):
            LogMel(**arguments)


@pytest.mark.parametrize(
    ("waveforms", "lengths", "rule"),
    [
        (torch.zeros(100), None, r"\(B, T\), received \(100,\)"),
        (torch.zeros(1, 1, 100), None, r"\(B, T\), received \(1, 1, 100\)"),
        (torch.zeros(1, 100, dtype=torch.int16), None, "received torch.int16"),
        (torch.zeros(1, 100, dtype=torch.complex64), None, "received torch.complex64"),
        (torch.zeros(2, 100), torch.tensor([100]), r"lengths .* 2 .*\(1,\)"),
        (torch.zeros(1, 100), torch.tensor([50.0]), "lengths .* 1 .* torch.float32"),
        (torch.zeros(2, 100), torch.tensor([True, False]), "lengths .* 2 .* torch.bool"),
        (torch.zeros(2, 100), torch.tensor([7, 101]), "lengths .* 100 samples, received 7 to 101"),
        (torch.zeros(1, 100), torch.tensor([-1]), "lengths .* received -1 to -1"),
    ],
)
def test_input_that_is_no_batch_of_waveforms_is_refused(waveforms: Tensor, lengths: Tensor | None, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Leaf(filters=4)(waveforms, lengths)


@torch.no_grad()
@pytest.mark.parametrize("no_number", [torch.nan, torch.inf])
def test_what_is_no_number_spreads_over_its_block_alone(no_number: float) -> None:
    leaf = Leaf(filters=4)
    waveform = white_noise(100_000)
    spoilt = waveform.clone()
    spoilt[50_000] = no_number
    expected = fast_energies(leaf, waveform)
    operations = 4 * count_transform_stages(leaf) + leaf.window
    energies = leaf.compute_energies(torch.stack([spoilt, waveform]), [100_000, 100_000])
    assert_rounded_alike(energies[1], expected, operations)
    at = energies[0].isnan().any(dim=0)
    assert at[50_000 // leaf.stride]
    frames = at.nonzero() - 50_000 // leaf.stride
    assert -20 < frames.min() <= frames.max() < 20
    assert_rounded_alike(energies[0, :, ~at], expected[:, ~at], operations)


def test_silence_gives_finite_features_and_gradients() -> None:
    leaf = Leaf(filters=4)
    features, _ = leaf(torch.zeros(2, 2000))
    features.sum().backward()
    assert features.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in leaf.parameters())
