"""Training one stage with Lightning, from its data to its best weights, with resume and progress."""

import logging
import pickle
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text
from torch import Tensor, nn

from moodline.config import AUDIO_UTTERANCE, CLASS_WEIGHTS, TEXT_UTTERANCE, Recipe, TrainingConfig
from moodline.errors import MoodlineError, get_first_line
from moodline.io import open_atomic_file
from moodline.runtime import seed_torch
from moodline.training.dataset import StageData
from moodline.training.lightning_module import StageModule, compute_rarity_weights


class EpochLog(lightning.Callback):
    """Logs a row an epoch, with the epoch as its step; a stage that goes on logs its first epochs anew."""

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        for row in pl_module.history:
            self._log(trainer, row)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._log(trainer, pl_module.history[-1])

    def _log(self, trainer: lightning.Trainer, row: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(row, step=int(row["epoch"]))
            logger.save()


class TrainingProgress(lightning.Callback):
    """A line an epoch; on a terminal also a bar that moves with the batches."""

    def __init__(self, title: str, epochs: int, console: Console) -> None:
        self.title, self.epochs, self.console = title, epochs, console
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[left]}")]
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task: TaskID | None = None
        self.started = 0.0
        self.done_before = 0

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.started = time.monotonic()
        self.done_before = len(pl_module.history)
        further = f", from epoch {self.done_before + 1} on" if self.done_before else ""
        self.console.print(Text(self.title, style="bold").append(further, style="not bold"))
        self.bar.start()
        self.task = self.bar.add_task("", total=1.0, left="")

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        done = trainer.current_epoch + (trainer.fit_loop.epoch_loop.batch_idx + 1) / max(
            1, trainer.num_training_batches
        )
        self._update_bar(done, f"epoch {trainer.current_epoch + 1}/{self.epochs}")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        row = pl_module.history[-1]
        best = " *" if row["validation_loss"] == pl_module.best_loss else ""
        self.console.print(
            f"  epoch {row['epoch']:>3}/{self.epochs}  loss {row['train_loss']:.3f}  "
            f"validation loss {row['validation_loss']:.3f}  UA {row['validation_ua']:.3f}  "
            f"{format_clock(self._estimate_remaining(trainer.current_epoch + 1))} left{best}",
            highlight=False,
        )

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        self.bar.stop()

    def _estimate_remaining(self, done: float) -> float:
        return (time.monotonic() - self.started) / (done - self.done_before) * (self.epochs - done)

    def _update_bar(self, done: float, description: str) -> None:
        if self.task is not None:
            left = f"at most {format_clock(self._estimate_remaining(done))} left"
            self.bar.update(self.task, completed=done / self.epochs, description=description, left=left)


def format_clock(seconds: float) -> str:
    """Minutes and seconds: 95 s is 1:35."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint where it belongs; Lightning's own way leads through memory and a temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            with Path(path).open("wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch's own, about what it could not finish after the system's
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


class StateCallback(lightning.Callback):
    """Writes Lightning's checkpoint of a stage at the end of each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path)  # takes part in what processes gather; only the main one writes
            return
        with open_atomic_file(self.path) as temporary:
            trainer.save_checkpoint(temporary)


def restore_state(module: StageModule, path: Path) -> None:
    """Tell a stage how far it came, and give it the weights of its best epoch.

    Raises:
        MoodlineError: the file is none of ours
    """
    try:
        module.on_load_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        reason = get_first_line(error)
        raise MoodlineError(
            f"a stage goes on from the state it kept, and {path} cannot be read: {reason}; "
            "remove that file to train the stage from its start"
        ) from error


# Decoded waveforms that are kept in memory while the audio encoder trains: some four hours of 16 kHz.
CACHE_BYTES = 2**30
# What keeps a stage's curves, by the name of its folder.
LOGGERS = {"tensorboard": TensorBoardLogger, "csv": CSVLogger}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine that training runs on, in Lightning's words; no weight depends on ``num_workers``.

    Args:
        accelerator: auto, cpu, gpu, ...
        devices: how many, their indices with commas, or auto
        num_nodes: machines
        strategy: auto, ddp, ...
        precision: 32-true, bf16-mixed, 16-mixed, ...
        num_workers: processes that read and resample the training set's audio, and as many the validation set's;
            0 reads in the process that trains
    """

    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    num_workers: int = 0

    @property
    def cache_bytes(self) -> int:
        """Of waveforms, in each process that reads them."""
        return CACHE_BYTES // max(1, 2 * self.num_workers)

    def trainer(self, **options: Any) -> lightning.Trainer:
        """Lightning's trainer on this hardware.

        Raises:
            MoodlineError: this machine, or Lightning, has no such thing
        """
        try:
            return lightning.Trainer(
                accelerator=self.accelerator,
                devices=int(self.devices) if self.devices.isdigit() else self.devices,
                num_nodes=self.num_nodes,
                strategy=self.strategy,
                precision=self.precision,  # pyright: ignore[reportArgumentType]
                **options,
            )
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            chosen = {name: value for name, value in vars(self).items() if name != "num_workers"}
            told = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in chosen.items())
            raise MoodlineError(f"no training with {told}: {get_first_line(error)}") from error

    @classmethod
    def on(cls, device: torch.device, **others: Any) -> Self:
        """Describe one device; ``others`` are the fields that do not name it."""
        devices = f"{device.index}," if device.type == "cuda" else "1"  # with the comma an index, else a number
        return cls(accelerator=device.type, devices=devices, **others)

    def check(self) -> None:
        """Refuse what ``trainer`` would, before anything is loaded."""
        if self.num_workers < 0:
            raise MoodlineError(f"--num-workers must be 0 or greater, not {self.num_workers}: give 0 to have none")
        silence_lightning()
        self.find_device()

    def find_device(self) -> torch.device:
        """Find the device that this process trains on."""
        bare = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return self.trainer(**bare, enable_model_summary=False).strategy.root_device


@dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """A part with its best epoch's weights, on the device that trained it, and what its training was like."""

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
    training = recipe.get_training_config(stage)
    power = CLASS_WEIGHTS[recipe.class_weights]
    weights = compute_rarity_weights(scored_labels, classes, power) if power else None
    module = StageModule(
        stage,
        part,
        data,
        training,
        seed=recipe.seed,
        classes=classes,
        class_weights=weights,
        maximum_total=recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else float("inf"),
        own_rate=find_lr_group(stage, part, recipe),
        workers=hardware.num_workers if stage == AUDIO_UTTERANCE else 0,  # the others' items are in memory
    )
    silence_lightning()
    if go_on:
        restore_state(module, state)
    if not module.is_finished:
        fit_stage(module, training, logs, state, go_on, title, hardware, console)
    # Lightning has moved the part to the CPU; it goes on to encode the corpus.
    part = module.keep_best().to(hardware.find_device())
    return TrainedStage(part=part, history=module.history, seconds=module.seconds)


def fit_stage(
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
        callbacks=[EpochLog(), TrainingProgress(title, training.epochs, console), StateCallback(state)],
        plugins=[AtomicCheckpointIO()],
    )
    try:
        trainer.fit(module, ckpt_path=state if go_on else None, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from error


def is_main_process() -> bool:
    """Whether this process writes; Lightning starts the others of a run and numbers them."""
    return getattr(rank_zero_only, "rank", 0) == 0


def find_lr_group(stage: str, part: Any, recipe: Recipe) -> tuple[nn.Module, float] | None:
    """The pretrained or signal-near module of an encoder, which learns at its own rate."""
    if stage == AUDIO_UTTERANCE:
        return part.front_end, recipe.audio_utterance.front_end_rate
    if stage == TEXT_UTTERANCE:
        return part.bert, recipe.text_utterance.bert_rate
    return None


def silence_lightning() -> None:
    """Lightning's notices are about choices that are made here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    for module in ("lightning", "torch"):
        warnings.filterwarnings("ignore", module=module)


def seed_initialisation(*parts: object) -> None:
    """Fix the initial weights of what is built next."""
    seed_torch(*parts, "initial weights")
    torch.use_deterministic_algorithms(True, warn_only=True)
