"""Training one stage with Lightning, from its data to its best weights."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor, nn

from moodline.config import AUDIO_UTTERANCE, CLASS_WEIGHTS, TEXT_UTTERANCE, Recipe, TrainingConfig
from moodline.errors import MoodlineError, first_line
from moodline.training.data import StageData
from moodline.training.losses import rarity_weights
from moodline.training.progress import EpochLog, TrainingProgress
from moodline.training.randomness import seed_torch
from moodline.training.stage_module import StageModule
from moodline.training.state import PlainCheckpoints, StateKeeper, restore

# What keeps a stage's curves, by the name of its folder.
LOGGERS = {"tensorboard": TensorBoardLogger, "csv": CSVLogger}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What Lightning runs on, in its own words.

    Args:
        accelerator: auto, cpu, gpu, ...
        devices: how many, or auto
        num_nodes: machines
        strategy: auto, ddp, ...
        precision: 32-true, bf16-mixed, 16-mixed, ...
    """

    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"

    def trainer(self, **options: Any) -> lightning.Trainer:
        """Lightning's trainer on this hardware.

        Raises:
            MoodlineError: this machine, or Lightning, has no such thing
        """
        try:
            return lightning.Trainer(
                accelerator=self.accelerator,
                devices=self.devices if self.devices == "auto" else int(self.devices),
                num_nodes=self.num_nodes,
                strategy=self.strategy,
                precision=self.precision,  # pyright: ignore[reportArgumentType]
                **options,
            )
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            told = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in vars(self).items())
            raise MoodlineError(f"no training with {told}: {first_line(error)}") from error

    def check(self) -> None:
        """Refuse what ``trainer`` would, before anything is loaded."""
        quieten_lightning()
        self.trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)


@dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """A part with its best epoch's weights, and what its training was like."""

    part: nn.Module
    history: list[dict[str, float]]
    seconds: float


def train_stage(
    stage: str,
    part: nn.Module,
    data: StageData,
    recipe: Recipe,
    *,
    classes: int,
    scored_labels: Tensor,
    logs: Path,
    state: Path,
    go_on: bool,
    title: str,
    hardware: Hardware,
    console: Console,
) -> TrainedStage:
    """Train a part, or go on from its last epoch; stop early and select by validation loss.

    Args:
        scored_labels: (N,), the training set's classes, for class weights
        logs: folder for TensorBoard's and CSV's files
        state: the file that keeps what a stage needs to go on, from epoch to epoch
        go_on: from the state that is there
    """
    training = recipe.training_of(stage)
    power = CLASS_WEIGHTS[recipe.class_weights]
    weights = rarity_weights(scored_labels, classes, power) if power else None
    module = StageModule(
        stage,
        part,
        data,
        training,
        seed=recipe.seed,
        classes=classes,
        class_weights=weights,
        maximum_total=recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else float("inf"),
        own_rate=own_rate(stage, part, recipe),
    )
    quieten_lightning()
    if go_on:
        restore(module, state)
    if not module.ended:
        fit(module, training, logs, state, go_on, title, hardware, console)
    return TrainedStage(part=module.keep_best(), history=module.history, seconds=module.seconds)


def fit(
    module: StageModule,
    training: TrainingConfig,
    logs: Path,
    state: Path,
    go_on: bool,
    title: str,
    hardware: Hardware,
    console: Console,
) -> None:
    """Run the epochs that are left."""
    loggers = [logger(logs, name=name, version=module.stage) for name, logger in LOGGERS.items()]
    trainer = hardware.trainer(
        max_epochs=training.epochs,
        gradient_clip_val=training.gradient_norm or None,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=loggers,
        callbacks=[EpochLog(), TrainingProgress(title, training.epochs, console), StateKeeper(state)],
        plugins=[PlainCheckpoints()],
    )
    try:
        trainer.fit(module, ckpt_path=state if go_on else None, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from error


def is_main_process() -> bool:
    """Whether this process writes; Lightning starts the others of a run and numbers them."""
    return getattr(rank_zero_only, "rank", 0) == 0


def own_rate(stage: str, part: Any, recipe: Recipe) -> tuple[nn.Module, float] | None:
    """The pretrained or signal-near module of an encoder, which learns at its own rate."""
    if stage == AUDIO_UTTERANCE:
        return part.front_end, recipe.audio_utterance.front_end_rate
    if stage == TEXT_UTTERANCE:
        return part.bert, recipe.text_utterance.bert_rate
    return None


def quieten_lightning() -> None:
    """Lightning's notices are about choices that are made here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    for module in ("lightning", "torch"):
        warnings.filterwarnings("ignore", module=module)


def initialise(*parts: object) -> None:
    """Fix the initial weights of what is built next."""
    seed_torch(*parts, "initial weights")
    torch.use_deterministic_algorithms(True, warn_only=True)
