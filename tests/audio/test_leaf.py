import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from moodline.audio import energies as energy_module
from moodline.audio import plan as plan_module
from moodline.audio.leaf import Leaf

GOLDEN = Path(__file__).parents[1] / "golden" / "reference_leaf.npz"
Padding = Literal["symmetric", "same"]


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[np.float32]]:
    return dict(np.load(GOLDEN))


def white_noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(scale=0.1, size=samples).astype(np.float32)


def speech_like(samples: int, sample_rate: int = 16000) -> np.ndarray:
    """Pulses at a wandering pitch through three formants, in syllables with near-silence between them."""
    time = np.arange(samples) / sample_rate
    pitch = 120 * 2 ** (0.3 * np.sin(2 * np.pi * 1.3 * time))
    source = np.diff(np.floor(np.cumsum(pitch) / sample_rate), prepend=0.0) + 0.003 * white_noise(samples)
    for frequency, bandwidth in ((600, 80), (1400, 120), (2600, 160)):
        radius = np.exp(-np.pi * bandwidth / sample_rate)
        angle = 2 * np.pi * frequency / sample_rate
        source = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source)
    speech = source * (np.clip(np.sin(2 * np.pi * 2.1 * time + 0.5), 0, 1) ** 2 + 1e-3)
    return (0.5 * speech / np.abs(speech).max()).astype(np.float32)


def samples_before(leaf: Leaf, length: int) -> int:
    """Zeros before the signal: half a window, or TensorFlow's SAME padding."""
    if leaf.padding == "symmetric":
        return leaf.window // 2
    return max((-(-length // leaf.stride) - 1) * leaf.stride + leaf.window - length, 0) // 2


def direct_energies(leaf: Leaf, waveform: np.ndarray) -> np.ndarray:
    """The definition in float64: each filter as a sum over its taps, each frame as a sum over its window."""
    half = leaf.window // 2
    time = np.arange(-half, half + 1)
    left = samples_before(leaf, len(waveform))
    frames = -(-len(waveform) // leaf.stride)
    parameters = (leaf.gabor.centre_frequencies, leaf.gabor.inverse_bandwidths, leaf.pooling.widths)
    pooled = []
    for mu, sigma, width in zip(*(p.detach().double().numpy() for p in parameters), strict=True):
        taps = np.exp(-(time**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma) * np.exp(1j * mu * time)
        energy = np.abs(np.convolve(waveform.astype(np.float64), taps[::-1])[half:-half]) ** 2
        energy = np.pad(energy, (left, leaf.window + leaf.stride))
        window = np.exp(-0.5 * (time / (half * width)) ** 2)
        pooled.append([energy[f * leaf.stride : f * leaf.stride + leaf.window] @ window for f in range(frames)])
    return np.array(pooled)


def energies(leaf: Leaf, waveform: np.ndarray) -> np.ndarray:
    batch = torch.tensor(waveform, dtype=leaf.pooling.widths.dtype)[None]
    with torch.no_grad():
        return leaf.energies(batch, [len(waveform)])[0].numpy()


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def with_random_parameters(leaf: Leaf) -> Leaf:
    """Parameters from the whole of their ranges, the ends included."""
    generator = torch.Generator().manual_seed(0)
    for parameter, (low, high) in (
        (leaf.gabor.centre_frequencies, (0.0, np.pi)),
        (leaf.gabor.inverse_bandwidths, leaf.gabor.bandwidth_range),
        (leaf.pooling.widths, leaf.pooling.width_range),
    ):
        share = torch.rand(leaf.filters, generator=generator)
        share[:2] = torch.tensor([0.0, 1.0])
        parameter.data = low * (high / low) ** share if low else low + (high - low) * share
    leaf.project()
    return leaf


def test_the_initial_filters_are_the_references(reference: dict[str, NDArray[np.float32]]) -> None:
    gabor = Leaf().gabor
    np.testing.assert_allclose(gabor.centre_frequencies.detach(), reference["init"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(gabor.inverse_bandwidths.detach(), reference["init"][:, 1], rtol=1e-6)


@pytest.mark.parametrize("band", [(60.0, 7800.0), (500.0, 500.0), (-1.0, 3000.0)])
def test_filters_that_the_sample_rate_cannot_hold_are_refused(band: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=f"{band[0]} to {band[1]} Hz"):
        Leaf(sample_rate=8000, minimum_frequency=band[0], maximum_frequency=band[1])


@pytest.mark.parametrize("samples", [64000, 64077])
@pytest.mark.parametrize("stride_ms", [10.0, 30.0])
def test_same_padding_gives_the_references_features(
    reference: dict[str, NDArray[np.float32]], samples: int, stride_ms: float
) -> None:
    leaf = Leaf(stride_ms=stride_ms, padding="same")
    waveform = reference["x"][:samples]
    expected = reference[f"pool_{samples}_{leaf.stride}"][0].T
    assert relative_error(energies(leaf, waveform), expected) < 1e-6
    with torch.no_grad():
        features, frames = leaf(torch.tensor(waveform)[None])
    expected = reference[f"out_{samples}_{leaf.stride}"][0].T
    assert frames.tolist() == [expected.shape[1]]
    assert relative_error(features[0].numpy(), expected) < 1e-6


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("stride_ms", [30.0, 26.0, 10.0, 3.0])
@pytest.mark.parametrize("samples", [1, 150, 401, 480, 481, 5003])
def test_energies_are_the_definitions(padding: Padding, stride_ms: float, samples: int) -> None:
    leaf = Leaf(filters=10, stride_ms=stride_ms, padding=padding)
    for waveform in (white_noise(samples), speech_like(5003)[-samples:]):
        expected = direct_energies(leaf, waveform)
        assert relative_error(energies(leaf.float(), waveform), expected) < 1e-6
        assert relative_error(energies(leaf.double(), waveform), expected) < 1e-13


@pytest.mark.parametrize("signal", [white_noise, speech_like])
def test_energies_are_the_definitions_at_any_parameters(signal: Callable[[int], np.ndarray]) -> None:
    leaf = with_random_parameters(Leaf())
    waveform = signal(12000)
    expected = direct_energies(leaf, waveform)
    assert relative_error(energies(leaf.float(), waveform), expected) < 1e-6
    # The ends of the ranges are rounded to single precision in the parameters, not in the module.
    assert relative_error(energies(leaf.double(), waveform), expected) < 1e-10


def test_other_rates_keep_the_window_odd_and_the_definition() -> None:
    leaf = Leaf(filters=5, sample_rate=22050, stride_ms=20.0).double()
    assert (leaf.window, leaf.stride) == (553, 441)
    waveform = white_noise(3000)
    assert relative_error(energies(leaf, waveform), direct_energies(leaf, waveform)) < 1e-13


@pytest.mark.parametrize("frame", [0, 3, 9])
def test_symmetric_frames_are_centred_on_multiples_of_the_stride(frame: int) -> None:
    leaf = Leaf(filters=6).double()
    impulse = np.zeros(10 * leaf.stride)
    impulse[frame * leaf.stride] = 1.0
    pooled = energies(leaf, impulse)
    assert (pooled.argmax(axis=1) == frame).all()
    if 0 < frame < 9:
        np.testing.assert_allclose(pooled[:, frame - 1], pooled[:, frame + 1], rtol=1e-9, atol=1e-18)


def test_symmetric_frames_do_not_move_with_the_end_of_the_signal() -> None:
    leaf = Leaf(filters=6).double()
    waveform = white_noise(9000)
    whole = energies(leaf, waveform)
    for samples in (4000, 4001, 4479):
        # These frames' windows, and the filters around them, end before the cut.
        frames = (samples - leaf.window) // leaf.stride + 1
        np.testing.assert_allclose(energies(leaf, waveform[:samples])[:, :frames], whole[:, :frames], rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6000), min_size=1, max_size=4),
    excess=st.integers(0, 3000),
    padding=st.sampled_from(["symmetric", "same"]),
    stride_ms=st.sampled_from([10.0, 30.0]),
)
def test_a_batch_gives_what_each_signal_gives_alone(
    lengths: list[int], excess: int, padding: Padding, stride_ms: float
) -> None:
    leaf = Leaf(filters=6, stride_ms=stride_ms, padding=padding)
    batch = torch.full((len(lengths), max(lengths) + excess), torch.nan)  # beyond its length nobody looks at a signal
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = torch.tensor(speech_like(6000)[:length])
    with torch.no_grad():
        features, frames = leaf(batch, torch.tensor(lengths))
        assert features.shape[-1] == max(frames.tolist())
        for row, count, length, waveform in zip(features, frames.tolist(), lengths, batch, strict=True):
            alone, _ = leaf(waveform[None, :length])
            assert count == alone.shape[-1] == -(-length // leaf.stride)
            torch.testing.assert_close(row[:, :count], alone[0], rtol=1e-5, atol=1e-6)
            assert (row[:, count:] == 0).all()


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
    parameters = (leaf.gabor.centre_frequencies, leaf.gabor.inverse_bandwidths, leaf.pooling.widths)

    def pooled(*_: Tensor) -> Tensor:
        return leaf.energies(waveforms, [200, 61])

    assert torch.autograd.gradcheck(pooled, (waveforms, *parameters), fast_mode=True)
    assert torch.autograd.gradcheck(pooled, parameters)


@pytest.mark.parametrize("random_parameters", [False, True])
@pytest.mark.parametrize("stride_ms", [30.0, 10.0])
def test_gradients_in_single_precision_are_those_at_the_full_rate(stride_ms: float, random_parameters: bool) -> None:
    leaf = Leaf(stride_ms=stride_ms)
    if random_parameters:
        with_random_parameters(leaf)
    full_rate = copy.deepcopy(leaf).double()
    waveforms = torch.tensor(np.stack([white_noise(24000), speech_like(24000)]))
    lengths = [24000, 15001]
    full_rate.project()  # the ends of the ranges, rounded to single precision, are outside of them
    scale = 1 / full_rate.energies(waveforms.double(), lengths).detach().mean(dim=-1, keepdim=True).clamp(min=1e-5)
    frames = int(leaf.frames(torch.tensor(24000)))
    cotangent = torch.randn(2, leaf.filters, frames, generator=torch.Generator().manual_seed(0)) * scale

    def gradients(leaf: Leaf, waveforms: Tensor) -> list[Tensor]:
        parameters = (leaf.gabor.centre_frequencies, leaf.gabor.inverse_bandwidths, leaf.pooling.widths)
        waveforms.requires_grad_()
        energies = leaf.energies(waveforms, lengths)
        of_waveforms, *others = torch.autograd.grad(energies, (waveforms, *parameters), cotangent.to(energies))
        return [of_waveforms[0], *others]  # speech has bands too quiet beside others for single precision

    for actual, expected in zip(gradients(leaf, waveforms), gradients(full_rate, waveforms.double()), strict=True):
        assert relative_error(actual.double().numpy(), expected.numpy()) < 1e-5


@pytest.mark.parametrize("signal", [white_noise, speech_like])
@pytest.mark.parametrize("stride_ms", [5.0, 10.0, 20.0, 30.0])
def test_each_energy_is_near_the_definition_at_the_initial_parameters(
    stride_ms: float, signal: Callable[[int], np.ndarray]
) -> None:
    leaf = Leaf(stride_ms=stride_ms)
    waveform = signal(40000)
    expected = energies(copy.deepcopy(leaf).double(), waveform)
    deviation = np.abs(energies(leaf, waveform) - expected) / (expected + 1e-5)
    assert np.quantile(deviation, 0.99) < 2e-5
    assert len(np.unique([bank.step for bank in leaf._plan(9600)])) > 4  # it is not the full rate


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
    features, _ = leaf(torch.tensor(white_noise(4000))[None])
    features.sum().backward()
    for parameter in (leaf.gabor.inverse_bandwidths, leaf.pooling.widths):
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0


def test_silence_gives_finite_features_and_gradients() -> None:
    leaf = Leaf(filters=4)
    features, _ = leaf(torch.zeros(2, 2000))
    features.sum().backward()
    assert features.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in leaf.parameters())


def test_mixed_precision_does_not_reach_the_front_end() -> None:
    leaf = Leaf(filters=6)
    waveforms = torch.tensor(speech_like(8000))[None]
    expected, _ = leaf(waveforms)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = leaf(waveforms)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected, rtol=0, atol=0)


def test_what_is_kept_for_the_backward_pass_is_about_the_signal_not_its_filtered_versions() -> None:
    leaf = Leaf()
    waveforms = torch.tensor(white_noise(160000)).expand(2, -1)

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


def test_the_shortest_signal_of_so_many_frames() -> None:
    for leaf in (Leaf(), Leaf(stride_ms=10.0)):
        shortest = leaf.shortest(36)
        assert leaf.frames(torch.tensor([0, 1, shortest - 1, shortest])).tolist() == [0, 1, 35, 36]


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
    steps = set()
    for _ in range(12):
        optimiser.zero_grad()
        features, _ = leaf(torch.tensor(waveform)[None])
        (features * torch.randn(12, 1)).sum().backward()
        optimiser.step()
        leaf.project()
        steps.add(tuple(bank.step for bank in leaf._plan(9600) for _ in bank.filters))
        expected = energies(copy.deepcopy(leaf).double(), waveform)
        assert relative_error(energies(leaf, waveform), expected) < 1e-6
    assert len(steps) > 2  # the plan followed


def test_input_that_is_no_batch_of_waveforms_is_refused() -> None:
    leaf = Leaf(filters=4)
    for waveforms, lengths, rule in (
        (torch.zeros(100), None, r"a batch \(B, T\), received the shape \(100,\)"),
        (torch.zeros(1, 100, dtype=torch.int16), None, "floating-point numbers, received torch.int16"),
        (torch.zeros(2, 100), torch.tensor([100]), r"2 whole numbers, .* the shape \(1,\)"),
        (torch.zeros(1, 100), torch.tensor([50.0]), "1 whole numbers, .* torch.float32"),
        (torch.zeros(2, 100), torch.tensor([7, 101]), "from 0 to the waveforms' 100 samples, received 7 to 101"),
        (torch.zeros(1, 100), torch.tensor([-1]), "received -1 to -1"),
    ):
        with pytest.raises(ValueError, match=rule):
            leaf(waveforms, lengths)


@pytest.mark.parametrize("shape", [(0, 1000), (0, 0), (2, 0)])
def test_nothing_gives_no_frames(shape: tuple[int, int]) -> None:
    leaf = Leaf(filters=4)
    features, frames = leaf(torch.zeros(shape))
    assert features.shape == (shape[0], 4, 0)
    assert frames.tolist() == [0] * shape[0]


def test_what_is_no_number_spreads_over_its_block_alone() -> None:
    leaf = Leaf(filters=4)
    waveform = white_noise(100_000)
    expected = energies(leaf, waveform)
    waveform[50_000] = np.nan
    spoilt = np.isnan(energies(leaf, waveform)).any(axis=0)
    frame = 50_000 // leaf.stride
    assert spoilt[frame]
    assert np.flatnonzero(spoilt).min() > frame - 20
    assert np.flatnonzero(spoilt).max() < frame + 20
    np.testing.assert_allclose(energies(leaf, waveform)[:, ~spoilt], expected[:, ~spoilt], rtol=1e-4, atol=1e-8)


def test_what_inference_has_planned_serves_training() -> None:
    """Validation may be the first to meet parameters in a range; its plan is kept for the training step after it."""
    plan_module._plan.cache_clear()
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
