"""LEAF on recorded speech, against its definition."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from moodline.modeling import Leaf, LeafStream
from tests.direct_leaf import (
    after_a_transform,
    assert_as_exact_as_the_definition,
    direct_energies,
    fast_energies,
    gradients,
    in_double,
    most_deviate_by,
    relative_error,
    transform_rounding,
    white_noise,
    with_random_parameters,
)
from tests.rounding import rounding

pytestmark = pytest.mark.realdata
MINUTE = 60 * 16000


@pytest.fixture(scope="module")
def speech(shared: Path) -> Tensor:
    """A minute of it, from voices of both corpora."""
    corpora = [sorted((shared / "corpora" / name).rglob("*.flac")) for name in ("ravdess", "nemo")]
    recordings = chain.from_iterable(files[:: max(1, len(files) // 15)] for files in corpora)
    return torch.from_numpy(np.concatenate([soundfile.read(path, dtype="float32")[0] for path in recordings])[:MINUTE])


@torch.no_grad()
@pytest.mark.parametrize("samples", [402, 3000, 48000, MINUTE])
@pytest.mark.parametrize("stride_ms", [5.0, 10.0, 20.0, 30.0])
def test_energies_of_speech_are_near_the_definition(speech: Tensor, stride_ms: float, samples: int) -> None:
    leaf = Leaf(stride_ms=stride_ms)
    waveform = speech[-samples:]
    # What double precision gives is held to the definition elsewhere; written out, a minute of it takes its time.
    energies, expected = (fast_energies(each, waveform) for each in (leaf, in_double(leaf)))
    moved = fast_energies(in_double(leaf), after_a_transform(leaf, waveform))
    for error in (relative_error, most_deviate_by):
        assert error(energies, expected) < error(moved, expected) + transform_rounding(leaf)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_at_any_parameters_they_are_as_near_as_a_direct_computation_in_single_precision(
    speech: Tensor, seed: int
) -> None:
    leaf = with_random_parameters(Leaf(stride_ms=(5.0, 10.0, 20.0, 30.0)[seed]), seed)
    for waveform in (speech[:160000], white_noise(160000)):
        expected = fast_energies(in_double(leaf), waveform)
        direct, fast = direct_energies(leaf, waveform), fast_energies(leaf, waveform)
        for error in (relative_error, most_deviate_by):
            assert error(fast, expected) < 3 * error(direct, expected) + transform_rounding(leaf)


@pytest.mark.parametrize("second", [0, 31, 32, 45])
def test_the_gradients_of_speech_are_the_definitions_in_quiet_bands_too(speech: Tensor, second: int) -> None:
    leaf = Leaf(stride_ms=10.0)
    waveform = speech[second * 16000 :][:16000]
    assert_as_exact_as_the_definition(gradients, leaf, waveform)


@torch.no_grad()
def test_a_stream_of_speech_gives_the_features_of_the_whole(speech: Tensor) -> None:
    leaf = Leaf(stride_ms=10.0)
    stream, waveform = LeafStream(leaf), speech[: 20 * 16000]
    pieces = [stream.push(piece) for piece in waveform.split(4000)]
    expected = leaf(waveform[None])[0][0]
    allowed = 2 * rounding(6 * expected.shape[1])  # PCEN's smoothing goes over all frames
    assert relative_error(torch.cat([*pieces, stream.finish()], dim=1), expected) < allowed
