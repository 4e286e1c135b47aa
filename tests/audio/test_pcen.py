import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from moodline.modeling.leaf import Pcen, smooth
from tests.rounding import rounding


def recursion(values: np.ndarray, s: float) -> np.ndarray:
    """M_t = s x_t + (1 - s) M_(t-1), M_(-1) = x_0, by SciPy's recursive filter in float64."""
    values = values.astype(np.float64)
    return lfilter([s], [1.0, -(1.0 - s)], values, zi=[(1.0 - s) * values[0]])[0]


@settings(max_examples=60, deadline=None)
@given(s=st.floats(0.0, 1.0), steps=st.integers(1, 500), seed=st.integers(0, 2**32 - 1))
def test_the_smoother_is_the_recursion(s: float, steps: int, seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(sigma=3.0, size=(2, steps))
    smoothed = smooth(torch.tensor(values)[:, None], torch.tensor([s], dtype=torch.float64))
    for row, expected in zip(smoothed[:, 0].numpy(), values, strict=True):
        np.testing.assert_allclose(row, recursion(expected, s), rtol=rounding(6 * len(expected), torch.float64))


@pytest.mark.parametrize("s", [0.0, 1e-4, 0.04, 0.5, 1.0])
def test_the_smoother_is_exact_in_single_precision(s: float) -> None:
    values = np.random.default_rng(0).lognormal(size=3400).astype(np.float32)
    smoothed = smooth(torch.tensor(values)[None, None], torch.tensor([s]))[0, 0]
    np.testing.assert_allclose(smoothed.numpy(), recursion(values, s), rtol=rounding(3 * len(values)))


def test_each_channel_has_its_own_smoother() -> None:
    values = np.random.default_rng(0).uniform(size=(1, 3, 50))
    factors = [0.1, 0.5, 0.9]
    smoothed = smooth(torch.tensor(values), torch.tensor(factors, dtype=torch.float64))
    expected = [recursion(row, s) for row, s in zip(values[0], factors, strict=True)]
    np.testing.assert_allclose(smoothed[0].numpy(), expected, rtol=rounding(6 * 50, torch.float64))


def test_nothing_smooths_to_nothing() -> None:
    assert smooth(torch.zeros(2, 3, 0), torch.zeros(3)).shape == (2, 3, 0)


@settings(max_examples=40, deadline=None)
@example(alpha=1.0, delta=1.0, r=1.0, s=float(np.float32(0.99999)), seed=0)
@given(
    alpha=st.floats(0.0, 1.0),
    delta=st.floats(0.5, 10.0),
    r=st.floats(1.0, 10.0),
    s=st.floats(0.01, 1.0).map(lambda s: float(np.float32(s))),  # a rate that both precisions hold: 1 - s is exact
    seed=st.integers(0, 2**32 - 1),
)
def test_pcen_is_its_equation(alpha: float, delta: float, r: float, s: float, seed: int) -> None:
    energies = np.random.default_rng(seed).lognormal(mean=-8.0, sigma=4.0, size=70)  # some of it below the floor
    pcen = Pcen(1).double()
    for parameter, value in zip(pcen.parameters(), (alpha, delta, r, s), strict=True):
        parameter.data.fill_(value)
    expected, smoothed = [], max(energies[0], 1e-5)
    for energy in np.maximum(energies, 1e-5):
        smoothed = s * energy + (1 - s) * smoothed
        expected.append((energy / (1e-12 + smoothed) ** alpha + delta) ** (1 / r) - delta ** (1 / r))
    with torch.no_grad():
        actual = pcen(torch.tensor(energies)[None, None])[0, 0]
        single = pcen.float()(torch.tensor(energies, dtype=torch.float32)[None, None])[0, 0]
    # The difference of two roots is as exact as the roots are.
    operations = 6 * len(energies)
    for found, dtype in ((actual, torch.float64), (single, torch.float32)):
        deviation = np.linalg.norm(found.numpy() - expected)
        assert deviation < rounding(operations, dtype) * np.linalg.norm(np.abs(expected) + delta ** (1 / r))


def test_a_frame_does_not_depend_on_those_after_it() -> None:
    energies = torch.rand(1, 4, 60, dtype=torch.float64)
    pcen = Pcen(4).double()
    for frames in (1, 7, 8, 9, 59):
        allowed = rounding(6 * 60, torch.float64)
        torch.testing.assert_close(pcen(energies[..., :frames]), pcen(energies)[..., :frames], rtol=0, atol=allowed)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    pcen = Pcen(2).double()
    energies = (torch.rand(1, 2, 7, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda energies, *_: pcen(energies), (energies, *pcen.parameters()))


@pytest.mark.parametrize("s", [0.0, 1.0])
def test_gradients_at_the_ends_of_the_smoothers_range_are_finite(s: float) -> None:
    factor = torch.full((2,), s, requires_grad=True)
    smooth(torch.rand(1, 2, 30), factor).square().sum().backward()
    assert factor.grad is not None
    assert factor.grad.isfinite().all()
    assert factor.grad.abs().min() > 0


def test_projection_brings_parameters_into_range_where_they_still_learn() -> None:
    pcen = Pcen(3)
    with torch.no_grad():
        pcen.exponent.fill_(1.5)
        pcen.offset.fill_(-1.0)
        pcen.root.fill_(0.5)
        pcen.smoothing.copy_(torch.tensor([-0.5, 0.5, 1.5]))
    pcen.project()
    assert (pcen.exponent == 1).all()
    assert (pcen.offset > 0).all()
    assert (pcen.root == 1).all()
    assert pcen.smoothing.tolist() == [0.0, 0.5, 1.0]
    pcen.root.data.fill_(2.0)  # at r = 1 the offset cancels
    pcen(torch.rand(1, 3, 40)).sum().backward()
    for parameter in pcen.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().min() > 0
