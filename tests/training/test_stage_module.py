"""What is validated and kept when weights are averaged, and what a checkpoint gives back."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from moodline.config import Recipe
from moodline.experiments.paper_tables import change_config
from moodline.modeling.context import UNKNOWN_SPEAKER
from moodline.modeling.fusion import Concatenation
from moodline.training.dataset import Batch, Items, StageData
from moodline.training.lightning_module import StageModule, compute_conversation_loss
from moodline.training.trainer import restore_state
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike


def module(part: nn.Module, ema_decay: float) -> StageModule:
    data, recipe = StageData(Items([]), Items([])), change_config(Recipe(), {"fusion.training.ema_decay": ema_decay})
    return StageModule("fusion", part, data, recipe, classes=4, scored_labels=torch.arange(4), checkpoint=Path())


def test_the_average_is_the_recurrence_written_out() -> None:
    """a_1 = w_1, a_n = s a_(n-1) + (1 - s) w_n, for weights and for statistics alike."""
    share, part = 0.9, nn.BatchNorm1d(2)
    average = module(part, share).average
    assert average is not None
    expected: dict[str, torch.Tensor] = {}
    for step in range(5):
        with torch.no_grad():
            part.weight.copy_(torch.tensor([1.0, -2.0]) * step**2)
            part.running_mean = torch.tensor([0.5, 3.0]) * step
        average.update_parameters(part)
        for name, value in (("weight", part.weight), ("running_mean", part.running_mean)):
            assert value is not None
            before = expected.get(name, value.detach())
            expected[name] = share * before + (1 - share) * value.detach()
    found = average.module.state_dict()
    for name, value in expected.items():
        assert_rounded_alike(found[name], value, 3 * 5)  # of each step: two products and a sum
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_the_average_is_kept_where_there_is_one() -> None:
    part = nn.Linear(2, 2)
    assert module(part, 0.0).validated_part is part
    averaged = module(part, 0.5)
    assert averaged.average is not None
    averaged.average.update_parameters(part)
    with torch.no_grad():
        part.weight += 1
    averaged.average.update_parameters(part)
    averaged.best_weights = averaged.validated_part.state_dict()
    expected = part.weight.detach() - 0.5  # half of the old weights, half of the new ones
    assert_rounded_alike(averaged.keep_best().state_dict()["weight"], expected, 3 * 2)


def build_half_frozen(ema_decay: float = 0.5) -> StageModule:
    part = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    part[0].requires_grad_(False)
    return module(part, ema_decay)


def save_checkpoint(saved: StageModule, path: Path, change: Callable[[dict[str, Any]], Any] = lambda _: None) -> None:
    checkpoint: dict[str, Any] = {"state_dict": saved.state_dict()}
    saved.on_save_checkpoint(checkpoint)
    change(checkpoint["state_dict"])
    torch.save(checkpoint, path)


def test_a_checkpoint_has_what_is_trained_and_gives_it_back(tmp_path: Path) -> None:
    saved, resumed = build_half_frozen(), build_half_frozen()
    resumed.checkpoint = tmp_path / "state.pt"
    save_checkpoint(saved, resumed.checkpoint)
    names = torch.load(resumed.checkpoint)["state_dict"]
    assert not any(name.startswith(("part.0.", "average.module.0.")) for name in names)
    frozen = resumed.part.state_dict()["0.weight"].clone()
    restore_state(resumed)
    assert resumed.part.state_dict()["0.weight"].equal(frozen)
    assert resumed.part.state_dict()["1.weight"].equal(saved.part.state_dict()["1.weight"])


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("part.1.weight"),
        lambda weights: weights.pop("average.module.1.bias"),
        lambda weights: weights.update({"part.2.weight": torch.ones(2, 2)}),
        lambda weights: weights.update({"part.1.weight": torch.ones(2, 3)}),
    ],
    ids=["a weight lacks", "an average lacks", "a further weight", "another shape"],
)
def test_a_checkpoint_of_another_part_is_refused(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    resumed = build_half_frozen()
    resumed.checkpoint = tmp_path / "state.pt"
    save_checkpoint(build_half_frozen(), resumed.checkpoint, change)
    with refuses("run.unreadable_checkpoint", resumed.checkpoint):
        restore_state(resumed)


def test_every_parameter_has_a_gradient_in_each_of_several_processes() -> None:
    """A process that waits for a gradient which the others do not compute never ends."""
    turns = 3
    part = Concatenation(2, classes=4, hidden=5, output_dropout=0.0, speaker_crf=True)
    trained = module(part, 0.0)
    trained._weights = [1.0]
    trained.trainer = cast(Any, SimpleNamespace(world_size=2))
    unknown = torch.full((1, turns), UNKNOWN_SPEAKER)
    values = torch.ones(1, turns, 2)
    batch = Batch((values, values, torch.tensor([turns]), unknown), torch.zeros(1, turns, dtype=torch.long))
    loss = trained.training_step(batch, 0)
    loss.backward()
    assert all(parameter.grad is not None for parameter in part.parameters())
    assert not part.speaker_crf.transitions.grad.any()
    alone = compute_conversation_loss(part(*batch.inputs).logits, batch.labels, trained.class_weights)
    assert torch.equal(loss, alone)
