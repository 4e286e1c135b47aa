"""A stage that is interrupted ends with the weights and the epochs of one that is not."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from moodline.config import FUSION, Recipe
from moodline.experiments.paper_tables import change_config
from moodline.training.dataset import BatchLoader, Item, Items, StageData
from moodline.training.lightning_module import StageModule
from moodline.training.trainer import Hardware, seed_initialisation, train_stage

CLASSES, SIZE, EPOCHS = 3, 4, 3
RECIPE = change_config(Recipe(), {"fusion.training.epochs": EPOCHS, "fusion.training.batch_size": 4})


class Interruption(Exception):
    """Takes the place of a signal that ends the process."""


class Part(nn.Module):
    """Reads one sequence, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.classify = nn.Dropout(0.5), nn.Linear(SIZE, CLASSES)

    def forward(self, values: torch.Tensor, lengths: torch.Tensor) -> "Part":
        self.logits = self.classify(self.dropout(values))
        return self


def data() -> StageData:
    generator = torch.Generator().manual_seed(0)
    items = [
        Item((torch.randn(5, SIZE, generator=generator),), torch.randint(CLASSES, (5,), generator=generator))
        for _ in range(14)
    ]
    return StageData(Items(items[:10]), Items(items[10:]))


def train(folder: Path, *, resume: bool = False) -> StageModule:
    seed_initialisation(RECIPE.seed, FUSION)
    labels, state = torch.arange(CLASSES), folder / "state.pt"
    module = StageModule(FUSION, Part(), data(), RECIPE, classes=CLASSES, scored_labels=labels, checkpoint=state)
    train_stage(module, folder / "logs", "", Hardware(accelerator="cpu"), Console(quiet=True), resume=resume)
    return module


def hash_of(weights: Mapping[str, torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()


def interrupt_in_epoch(patch: pytest.MonkeyPatch, epoch: int) -> None:
    """At its second batch."""
    step: Callable = StageModule.training_step

    def interrupted(module: StageModule, batch: object, index: int) -> torch.Tensor:
        if (module.current_epoch, index) == (epoch, 1):
            raise Interruption
        return step(module, batch, index)

    patch.setattr(StageModule, "training_step", interrupted)


def interrupt_after_epoch(patch: pytest.MonkeyPatch, epoch: int) -> None:
    write: Callable = StageModule.on_train_epoch_end

    def interrupted(module: StageModule) -> None:
        write(module)
        if module.current_epoch == epoch:
            raise Interruption

    patch.setattr(StageModule, "on_train_epoch_end", interrupted)


@pytest.mark.parametrize("interrupt", [interrupt_in_epoch, interrupt_after_epoch])
def test_an_interrupted_stage_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[pytest.MonkeyPatch, int], None]
) -> None:
    """Interrupted in its second epoch, or after it: the epochs that follow resume from a state."""
    unbroken = train(tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        interrupt(patch, 1)
        with pytest.raises(Interruption):
            train(tmp_path / "resumed")
    resumed = train(tmp_path / "resumed", resume=True)
    assert resumed.history == unbroken.history
    assert hash_of(resumed.part.state_dict()) == hash_of(unbroken.part.state_dict())


def test_no_iterator_of_a_loader_draws_from_the_global_generator() -> None:
    found = BatchLoader(data().train).select_epoch(0, [[0, 1], [2]])
    before = torch.get_rng_state()
    for _ in found:
        pass
    assert torch.get_rng_state().equal(before)
