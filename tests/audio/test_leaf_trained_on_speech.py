"""LEAF along a training run on recorded speech: energies and gradients stay those of the definition."""

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor, nn

from moodline.modeling import Leaf
from tests.direct_leaf import Energies, assert_as_exact_as_the_definition, most_deviate_by, pooled, relative_error

pytestmark = pytest.mark.realdata
SAMPLES = 16000
EMOTIONS = ("04", "05")  # sad and angry, in the third field of RAVDESS's file names
STEPS, STEPS_PER_CHECK = 48, 12


@pytest.fixture(scope="module")
def recordings(shared: Path) -> tuple[Tensor, Tensor]:
    """A second of speech each (24, T), after the silence before it, and the emotions (24,)."""
    files = sorted((shared / "corpora" / "ravdess").glob("*.flac"))
    chosen = [[file for file in files if file.name.split("-")[2] == emotion][:12] for emotion in EMOTIONS]
    waveforms = [
        torch.from_numpy(soundfile.read(file, start=SAMPLES, frames=SAMPLES, dtype="float32")[0])
        for of_emotion in chosen
        for file in of_emotion
    ]
    return torch.stack(waveforms), torch.tensor([0] * 12 + [1] * 12)


def train(leaf: Leaf, waveforms: Tensor, emotions: Tensor, check: Callable[[], None]) -> list[float]:
    """The losses of a front-end and a classifier that learn at rates at which all of LEAF's parameters move far."""
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Conv1d(leaf.filters, 16, 9, stride=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1))
    head = nn.Linear(16, 2)
    rates = [
        (leaf.gabor.centre_frequencies, 0.01),
        (leaf.gabor.inverse_bandwidths, 1.0),
        (leaf.pooling.widths, 0.005),
        (leaf.pcen.parameters(), 0.01),
        ([*classifier.parameters(), *head.parameters()], 0.003),
    ]
    optimiser = torch.optim.Adam([{"params": parameters, "lr": rate} for parameters, rate in rates])
    losses = []
    for step in range(STEPS):
        batch = torch.arange(step % 6, len(emotions), 6)
        features, _ = leaf(waveforms[batch])
        loss = nn.functional.cross_entropy(head(classifier(features)[..., 0]), emotions[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        leaf.project()
        losses.append(loss.item())
        if (step + 1) % STEPS_PER_CHECK == 0:
            check()
    return losses


def assert_energies_are_the_definitions(leaf: Leaf, waveform: Tensor) -> None:
    with torch.no_grad():
        for error in (relative_error, most_deviate_by):
            assert_as_exact_as_the_definition(pooled, leaf, waveform, error)


def feature_gradients(energies: Energies, leaf: Leaf, waveform: Tensor) -> list[Tensor]:
    """Of all parameters, PCEN's too, for random changes of features."""
    features = leaf.pcen(energies(leaf, waveform)[None])
    of_features = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    return list(torch.autograd.grad(features, list(leaf.parameters()), of_features.to(features)))


def test_energies_and_gradients_stay_the_definitions_along_a_training_run(recordings: tuple[Tensor, Tensor]) -> None:
    leaf, steps = Leaf(stride_ms=10.0), []
    initial = {name: parameter.detach().clone() for name, parameter in leaf.named_parameters()}
    waveforms, emotions = recordings

    def check() -> None:
        assert_energies_are_the_definitions(leaf, waveforms[0])
        assert_as_exact_as_the_definition(feature_gradients, leaf, waveforms[-1])
        steps.append([bank.step for bank in leaf._get_plan(9600) for _ in bank.filters])

    check()
    losses = train(leaf, waveforms, emotions, check)
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])  # it learned
    for name, parameter in leaf.named_parameters():
        assert relative_error(parameter.detach(), initial[name]) > 0.03, name
    assert len(set(map(tuple, steps))) == len(steps)  # and with them the plan
