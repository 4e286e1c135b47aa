"""LEAF in a project of one's own: a classifier of any labelled waveforms, in a plain PyTorch loop.

    python examples/leaf_any_task.py

The sounds here are made up (a rising chirp, a falling one, a trembling tone, noise), so that it runs as it stands. To
use it for a task of yours, put your waveforms, their lengths and their classes in the place of ``sounds``.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from moodline.modeling import Leaf

SAMPLE_RATE = 16000
CLASSES = ("rising", "falling", "trembling", "noise")
LONGEST, SHORTEST = 8000, 4000  # samples
EPOCHS, BATCH = 6, 16


def sounds(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Waveforms (count, T), zero beyond their lengths (count,), and classes (count,)."""
    generator = torch.Generator().manual_seed(seed)

    def between(lowest: float, highest: float) -> Tensor:
        return lowest + (highest - lowest) * torch.rand(count, 1, generator=generator)

    classes = torch.arange(count) % len(CLASSES)
    lengths = between(SHORTEST, LONGEST)[:, 0].long()
    seconds = torch.arange(LONGEST) / SAMPLE_RATE
    way = seconds / (lengths[:, None] / SAMPLE_RATE)  # from 0 at a sound's beginning to 1 at its end
    start, octaves, tremor = between(200, 900), between(0.7, 2), 2 ** (0.15 * torch.sin(2 * torch.pi * 9 * seconds))
    frequency = torch.stack(  # (classes, count, T), in Hz
        [
            start * 2 ** (octaves * way),
            start * 2 ** (octaves * (1 - way)),
            start * 2**octaves * tremor,
            torch.zeros(count, LONGEST),
        ]
    )[classes, torch.arange(count)]
    noise = torch.randn(count, LONGEST, generator=generator)
    tone = torch.sin(2 * torch.pi * frequency.cumsum(dim=1) / SAMPLE_RATE)
    waveforms = between(0.05, 0.3) * torch.where(classes[:, None] == CLASSES.index("noise"), noise, tone + 0.05 * noise)
    return waveforms * (way < 1), lengths, classes


def batches(count: int) -> Iterator[Tensor]:
    """The places of a batch's sounds, for so many epochs."""
    for _ in range(EPOCHS):
        yield from torch.randperm(count).split(BATCH)


def mean_over_frames(values: Tensor, frames: Tensor) -> Tensor:
    """Values (B, C, F), of which a sound's own are the first ``frames`` (B,) -> (B, C)."""
    own = torch.arange(values.shape[-1]) < frames[:, None]
    return (values * own[:, None]).sum(dim=-1) / frames[:, None]


def train(waveforms: Tensor, lengths: Tensor, classes: Tensor) -> tuple[Leaf, nn.Module]:
    """A front-end and a classifier, trained together."""
    torch.manual_seed(0)
    # Ten lines of your own:
    leaf = Leaf(sample_rate=SAMPLE_RATE, stride_ms=10)
    classifier = nn.Sequential(nn.Conv1d(leaf.filters, 64, 9, padding=4), nn.ReLU(), nn.Conv1d(64, len(CLASSES), 1))
    optimiser = torch.optim.Adam([*leaf.parameters(), *classifier.parameters()], lr=3e-3)
    for batch in batches(len(waveforms)):
        features, frames = leaf(waveforms[batch], lengths[batch])  # (B, filters, F), and how many are a sound's own
        loss = nn.functional.cross_entropy(mean_over_frames(classifier(features), frames), classes[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        leaf.project()  # LEAF's parameters back into their ranges
    # That is all.
    return leaf, classifier


@torch.no_grad()
def accuracy(leaf: Leaf, classifier: nn.Module, waveforms: Tensor, lengths: Tensor, classes: Tensor) -> float:
    features, frames = leaf(waveforms, lengths)
    predicted = mean_over_frames(classifier(features), frames).argmax(dim=1)
    return (predicted == classes).double().mean().item()


def main() -> float:
    """The share of new sounds that is recognised, after training on others."""
    leaf, classifier = train(*sounds(160, seed=1))
    return accuracy(leaf, classifier, *sounds(200, seed=2))


if __name__ == "__main__":
    print(f"held-out accuracy {main():.3f}")
