"""LEAF against the outputs of its authors' implementation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from moodline.modeling import Leaf
from tests.direct_leaf import fast_energies, relative_error, transform_rounding
from tests.rounding import rounding

GOLDEN = Path(__file__).parents[1] / "golden" / "reference_leaf.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return {name: torch.tensor(values) for name, values in np.load(GOLDEN).items()}


def test_the_initial_filters_are_the_references(reference: dict[str, Tensor]) -> None:
    gabor = Leaf().gabor
    torch.testing.assert_close(gabor.centre_frequencies.data, reference["init"][:, 0], rtol=rounding(4), atol=0)
    torch.testing.assert_close(gabor.inverse_bandwidths.data, reference["init"][:, 1], rtol=rounding(4), atol=0)


@torch.no_grad()
@pytest.mark.parametrize("samples", [64000, 64077])
@pytest.mark.parametrize("stride_ms", [10.0, 30.0])
def test_same_padding_gives_the_references_features(
    reference: dict[str, Tensor], samples: int, stride_ms: float
) -> None:
    leaf = Leaf(stride_ms=stride_ms, padding="same")
    waveform = reference["x"][:samples]
    expected = reference[f"pool_{samples}_{leaf.stride}"][0].T
    # The reference sums over taps and windows in single precision too.
    allowed = transform_rounding(leaf) + rounding(3 * leaf.window)
    assert relative_error(fast_energies(leaf, waveform), expected) < allowed
    features, frames = leaf(waveform[None])
    expected = reference[f"out_{samples}_{leaf.stride}"][0].T
    assert frames.tolist() == [expected.shape[1]]
    assert relative_error(features[0], expected) < allowed + rounding(6 * expected.shape[1])
