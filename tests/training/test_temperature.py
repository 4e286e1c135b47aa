import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.special import softmax

from moodline.training.lightning_module import HIGHEST, LOWEST, compute_nll, fit_temperature


def drawn(seed: int, rows: int, temperature: float, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax; then the logits as a model of that temperature gives them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2.0, size=(rows, classes))
    labels = np.array([generator.choice(classes, p=row) for row in softmax(logits, axis=1)])
    return temperature * logits, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_of_made_logits_is_found(temperature: float) -> None:
    logits, labels = drawn(0, 40_000, temperature)
    found = fit_temperature(logits, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.note == ""


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(20, 60), st.floats(0.5, 3))
def test_no_temperature_of_a_grid_is_better_and_the_slope_is_zero(seed: int, rows: int, scale: float) -> None:
    logits, labels = drawn(seed, rows, scale)
    found = fit_temperature(logits, labels)
    if found.note:
        return
    best = compute_nll(logits, labels, found.temperature)
    grid = np.geomspace(LOWEST, HIGHEST, 300)
    assert best <= min(compute_nll(logits, labels, one) for one in grid) + 1e-12

    def slope(inverse: float) -> float:
        """Of the NLL in 1/T: the mean of what the softmax expects of z, less z at the label."""
        expected = (softmax(inverse * logits, axis=1) * logits).sum(axis=1)
        return float(np.mean(expected - logits[np.arange(rows), labels]))

    assert found.temperature == pytest.approx(1 / brentq(slope, 1 / HIGHEST, 1 / LOWEST), rel=1e-4)


def test_the_likelihood_is_torch_s_cross_entropy() -> None:
    logits, labels = drawn(3, 50, 1.0)
    theirs = torch.nn.functional.cross_entropy(torch.from_numpy(logits / 1.7), torch.from_numpy(labels))
    assert compute_nll(logits, labels, 1.7) == pytest.approx(float(theirs))


@pytest.mark.parametrize(
    ("logits", "labels", "why"),
    [
        ([], [], "no labels"),
        ([[1, 2], [2, 1]], [0, 0], "one class"),
        ([[1, 2], [2, 1], [0, 3]], [1, 0, 1], "all validation predictions are correct"),
    ],
)
def test_labels_that_cannot_tell_leave_the_logits_as_they_are(logits: list, labels: list, why: str) -> None:
    found = fit_temperature(np.array(logits, dtype=float).reshape(-1, 2), np.array(labels, dtype=int))
    assert found.temperature == 1
    assert why in found.note


@pytest.mark.parametrize(("sign", "edge", "left"), [(-1, HIGHEST, "overconfident"), (1, LOWEST, "underconfident")])
def test_a_best_one_out_of_range_is_told(sign: int, edge: float, left: str) -> None:
    """Wrong nearly always and sure of it, or right nearly always and hardly sure of anything."""
    labels = np.arange(100) % 2
    logits = sign * 1e-3 * np.eye(2)[labels]
    logits[0] *= -1
    found = fit_temperature(logits, labels)
    assert found.temperature == pytest.approx(edge, rel=1e-3)
    assert f"at the limit of the calibration (temperature {edge:g}) and still {left} on" in found.note


@given(
    arrays(np.float32, (5, 4), elements=st.floats(-30, 30, width=32)),
    st.floats(LOWEST, HIGHEST),
)
def test_the_most_probable_class_stays_the_most_probable(logits: np.ndarray, temperature: float) -> None:
    """What the predictor does with logits; those that differ by less than the 12th digit may tie."""
    values = torch.from_numpy(logits)
    probabilities = (values.double() / temperature).softmax(dim=-1)
    best = values.argmax(dim=-1, keepdim=True)
    assert (probabilities.gather(1, best) == probabilities.max(dim=-1, keepdim=True).values).all()
    clear = values.double().topk(2, dim=-1).values.diff().abs().flatten() > 1e-12
    assert (probabilities.argmax(dim=-1, keepdim=True)[clear] == best[clear]).all()
