"""LEAF while it is trained: its energies stay exact, its parameters within their ranges, and little is kept."""

import math

import pytest
import torch
from torch import Tensor

from moodline.modeling import Leaf
from moodline.modeling import pooling_decimation as plan_module
from tests.direct_leaf import fast_energies, in_double, relative_error, speech_like, transform_rounding, white_noise


@pytest.mark.parametrize("stride_ms", [30.0, 10.0])
def test_energies_stay_exact_while_the_parameters_move(stride_ms: float) -> None:
    torch.manual_seed(0)
    leaf = Leaf(filters=12, stride_ms=stride_ms)
    optimiser = torch.optim.Adam(
        [
            {"params": [leaf.gabor.centre_frequencies, leaf.pooling.widths], "lr": 0.01},
            {"params": [leaf.gabor.inverse_bandwidths], "lr": 1.5},
            {"params": leaf.pcen.parameters(), "lr": 0.01},
        ]
    )
    waveform = speech_like(16000) + white_noise(16000) * 0.01
    bound, steps = transform_rounding(leaf), set()
    for _ in range(12):
        optimiser.zero_grad()
        features, _ = leaf(waveform[None])
        (features * torch.randn(12, 1)).sum().backward()
        optimiser.step()
        leaf.project()
        steps.add(tuple(bank.step for bank in leaf._get_plan(9600) for _ in bank.filters))
        with torch.no_grad():
            assert relative_error(fast_energies(leaf, waveform), fast_energies(in_double(leaf), waveform)) < bound
    assert len(steps) > 2  # the plan followed


def test_projection_brings_parameters_into_range_where_they_still_learn() -> None:
    leaf = Leaf(filters=4)
    with torch.no_grad():
        leaf.gabor.centre_frequencies.copy_(torch.tensor([-1.0, 1.0, 2.0, 4.0]))
        leaf.gabor.inverse_bandwidths.copy_(torch.tensor([0.1, 20.0, 60.0, 500.0]))
        leaf.pooling.widths.copy_(torch.tensor([0.0, 0.2, 0.4, 0.9]))
    leaf.project()
    z = math.sqrt(2 * math.log(2)) / math.pi
    torch.testing.assert_close(leaf.gabor.centre_frequencies.data, torch.tensor([0.0, 1.0, 2.0, math.pi]))
    torch.testing.assert_close(leaf.gabor.inverse_bandwidths.data, torch.tensor([4 * z, 20.0, 60.0, 401 * z]))
    torch.testing.assert_close(leaf.pooling.widths.data, torch.tensor([2 / 401, 0.2, 0.4, 0.5]))
    assert all_learn(leaf)


@pytest.mark.parametrize("filters", [1, 80])
def test_parameters_begin_where_they_learn(filters: int) -> None:
    """Mel filters may be wider than LEAF's filters can be, or narrower."""
    assert all_learn(Leaf(filters=filters))


def all_learn(leaf: Leaf) -> bool:
    features, _ = leaf(white_noise(4000)[None])
    features.sum().backward()
    of_parameters = [parameter.grad for parameter in (leaf.gabor.inverse_bandwidths, leaf.pooling.widths)]
    return all(gradient is not None and gradient.abs().min() > 0 for gradient in of_parameters)


def test_what_is_kept_for_the_backward_pass_is_about_the_signal_not_its_filtered_versions() -> None:
    leaf = Leaf()
    waveforms = white_noise(160000).expand(2, -1)

    def kept() -> tuple[Tensor, dict[int, int]]:
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            return leaf(waveforms.clone())[0], storages

    # Both graphs live, so that they have only what all passes share in common: the parameters and the plan.
    _first, shared = kept()
    _second, storages = kept()
    own = sum(size for storage, size in storages.items() if storage not in shared)
    filtered = 2 * leaf.filters * waveforms.numel() * waveforms.element_size()
    assert waveforms.numel() * waveforms.element_size() <= own < filtered / 10


def test_what_inference_has_planned_serves_training() -> None:
    """Validation may be the first to meet parameters in a range; its plan is kept for the training step after it."""
    plan_module._plan_cells.cache_clear()
    leaf, waveforms = Leaf(), torch.randn(1, 2000)
    with torch.inference_mode():
        leaf(waveforms)
    leaf(waveforms)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in leaf.parameters())


def test_parameters_that_are_no_numbers_give_features_that_are_none() -> None:
    """So that the loss shows that training diverged."""
    leaf = Leaf()
    with torch.no_grad():
        leaf.pooling.widths[3] = torch.nan
    features, _ = leaf(torch.randn(1, 2000))
    assert features[0, 3].isnan().all()
    assert features[0, :3].isfinite().all()
