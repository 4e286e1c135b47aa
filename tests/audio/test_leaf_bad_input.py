"""What LEAF, and log-mel in its place, refuse, and what it makes of signals that give no numbers."""

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
        ({"filters": 0}, "filters is 1 or more .*, received 0"),
        ({"stride_ms": -10.0}, "stride is 1 or more .*, received -160"),
        ({"stride_ms": 0.01}, "stride is 1 or more .*, received 0"),
        ({"window_ms": 0.05}, "window is 3 or more .*, received 1"),
        ({"window_ms": -25.0}, "window is 3 or more .*, received -399"),
        ({"padding": "valid"}, 'padding is "symmetric" or "same", received "valid"'),
        ({"maximum_frequency": 8001.0}, "half the sample rate of 16000 Hz, received 60.0 to 8001.0 Hz"),
        ({"sample_rate": 8000}, "half the sample rate of 8000 Hz, received 60.0 to 7800.0 Hz"),
        ({"minimum_frequency": 500.0, "maximum_frequency": 500.0}, "ascending .*, received 500.0 to 500.0 Hz"),
        ({"minimum_frequency": -1.0}, "received -1.0 to 7800.0 Hz"),
        ({"maximum_frequency": 60.001}, "lie no closer .*, received 40 between 60.0 and 60.001 Hz"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Leaf(**arguments)
    if ("padding" not in arguments and "maximum_frequency" not in arguments) or rule.startswith("half"):
        with pytest.raises(ValueError, match=rule):
            LogMel(**arguments)


@pytest.mark.parametrize(
    ("waveforms", "lengths", "rule"),
    [
        (torch.zeros(100), None, r"a batch \(B, T\), received the shape \(100,\)"),
        (torch.zeros(1, 1, 100), None, r"a batch \(B, T\), received the shape \(1, 1, 100\)"),
        (torch.zeros(1, 100, dtype=torch.int16), None, "floating-point numbers, received torch.int16"),
        (torch.zeros(1, 100, dtype=torch.complex64), None, "floating-point numbers, received torch.complex64"),
        (torch.zeros(2, 100), torch.tensor([100]), r"2 whole numbers, .* the shape \(1,\)"),
        (torch.zeros(1, 100), torch.tensor([50.0]), "1 whole numbers, .* torch.float32"),
        (torch.zeros(2, 100), torch.tensor([True, False]), "2 whole numbers, .* torch.bool"),
        (torch.zeros(2, 100), torch.tensor([7, 101]), "from 0 to the waveforms' 100 samples, received 7 to 101"),
        (torch.zeros(1, 100), torch.tensor([-1]), "received -1 to -1"),
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
