"""Train one stage with Lightning, from its data to its best weights, with resume and progress."""

import logging
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text
from torch import Tensor, nn

from moodline.config import AUDIO_UTTERANCE, CLASS_WEIGHTS, TEXT_UTTERANCE, Recipe
from moodline.errors import MoodlineError, get_first_line
from moodline.io import open_atomic_file
from moodline.runtime import seed_torch
from moodline.training.dataset import StageData
from moodline.training.lightning_module import StageModule, compute_rarity_weights

Decision = TypeVar("Decision")


class EpochLog(lightning.Callback):
    """Logs one row per epoch, with the epoch as its step; a resumed stage logs its earlier epochs again."""

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
    """Prints one line per epoch, and on a terminal a bar that moves with the batches."""

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
    """Format minutes and seconds: 95 s is 1:35."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint directly to its path; Lightning's own way copies through memory and a temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            with Path(path).open("wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch fails to finish the file after the system's error
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


class StateCallback(lightning.Callback):
    """Writes Lightning's checkpoint of a stage at the end of each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path)  # all processes take part in gathering; only the main one writes
            return
        with open_atomic_file(self.path) as temporary:
            trainer.save_checkpoint(temporary)


def restore_state(module: StageModule, path: Path) -> None:
    """Restore a stage's history and the weights of its best epoch.

    Raises:
        MoodlineError: the file cannot be read, or is no checkpoint of a stage
    """
    try:
        module.on_load_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise MoodlineError(
            f"cannot resume the stage from {path}: {get_first_line(error)}. "
            "Remove that file to train the stage from its start.",
            code="run.unreadable_checkpoint",
        ) from error
    if is_distributed():
        torch.distributed.barrier()  # a stage with no epoch left removes the file


# Memory for decoded waveforms while the audio encoder trains: about four hours at 16 kHz.
CACHE_BYTES = 2**30
# Lightning's loggers of a stage's curves, by folder name.
LOGGERS = {"tensorboard": TensorBoardLogger, "csv": CSVLogger}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Describe the hardware to train on with Lightning's options; no weight depends on ``num_workers``.

    Args:
        accelerator: auto, cpu, gpu, ...
        devices: their number, their indices with commas, or auto
        num_nodes: number of machines
        strategy: auto, ddp, ...
        precision: 32-true, bf16-mixed, 16-mixed, ...
        num_workers: processes that read and resample the training set's audio, and as many for the validation set;
            0 reads in the training process
    """

    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    num_workers: int = 0

    @property
    def cache_bytes(self) -> int:
        """Return the waveform cache's size in each process that reads audio."""
        return CACHE_BYTES // max(1, 2 * self.num_workers)

    def create_trainer(self, **options: Any) -> lightning.Trainer:
        """Create Lightning's trainer on this hardware.

        Raises:
            MoodlineError: this machine or Lightning does not support one of the options
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
            shown = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in chosen.items())
            raise MoodlineError(
                f"cannot train with {shown}: {get_first_line(error)}", code="device.unsupported"
            ) from error

    @classmethod
    def on(cls, device: torch.device, **others: Any) -> Self:
        """Describe one device; ``others`` are the fields that do not name it."""
        devices = f"{device.index}," if device.type == "cuda" else "1"  # with the comma an index, else a number
        return cls(accelerator=device.type, devices=devices, **others)

    def check(self) -> None:
        """Refuse unsupported options before anything is loaded."""
        if self.num_workers < 0:
            raise MoodlineError(
                f"--num-workers must be 0 or greater, not {self.num_workers}. Use 0 for none.",
                code="option.num_workers",
            )
        self.find_device()

    def find_device(self) -> torch.device:
        """Find the device that this process trains on."""
        bare = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return self.create_trainer(**bare, enable_model_summary=False).strategy.root_device


@dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """Hold a part with its best epoch's weights, on the device that trained it, and the history of its training."""

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
    resume: bool,
    title: str,
    hardware: Hardware,
    console: Console,
) -> TrainedStage:
    """Train a part, or resume after its last epoch; stop early and select the epoch by validation loss.

    Args:
        scored_labels: (N,), the training set's classes, for class weights
        logs: folder of the TensorBoard and CSV files
        state: checkpoint that is written after each epoch
        resume: whether to continue from ``state``
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
        lr_group=find_lr_group(stage, part, recipe),
        workers=hardware.num_workers if stage == AUDIO_UTTERANCE else 0,  # the others' items are in memory
    )
    if resume:
        restore_state(module, state)
    if not module.is_finished:
        trainer = hardware.create_trainer(
            max_epochs=training.epochs,
            gradient_clip_val=training.max_grad_norm or None,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=[logger(logs, name=name, version=stage) for name, logger in LOGGERS.items()],
            callbacks=[EpochLog(), TrainingProgress(title, training.epochs, console), StateCallback(state)],
            plugins=[AtomicCheckpointIO()],
        )
        try:
            trainer.fit(module, ckpt_path=state if resume else None, weights_only=True)
        except SystemExit as error:  # Lightning's reaction to Ctrl-C
            raise KeyboardInterrupt from error
    # Lightning moves the part to the CPU after training; the corpus is encoded on the training device.
    part = module.keep_best().to(hardware.find_device())
    return TrainedStage(part=part, history=module.history, seconds=module.seconds)


def is_main_process() -> bool:
    """Return whether this process writes files; Lightning starts and numbers a run's other processes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def is_distributed() -> bool:
    """Return whether this process is connected to a run's other processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def decide_together(decide: Callable[[], Decision]) -> Decision:
    """Return the main process's decision in every process.

    Lightning starts the other processes in the first training; until then each process decides by itself, from the
    files that the main process has written before.
    """
    if not is_distributed():
        return decide()
    decisions: list[Any] = [decide() if is_main_process() else None]
    torch.distributed.broadcast_object_list(decisions, src=0)
    return decisions[0]


def find_lr_group(stage: str, part: Any, recipe: Recipe) -> tuple[nn.Module, float] | None:
    """Return an encoder's front-end or pretrained module and its learning-rate scale; None for other stages."""
    if stage == AUDIO_UTTERANCE:
        return part.front_end, recipe.audio_utterance.frontend_lr_scale
    if stage == TEXT_UTTERANCE:
        return part.bert, recipe.text_utterance.text_encoder_lr_scale
    return None


@contextmanager
def isolate_training() -> Iterator[None]:
    """Train without Lightning's advice, and restore the process's warnings, loggers and random state afterwards.

    Lightning's advice concerns choices that are deliberate here; warnings of torch, such as those on non-deterministic
    operations, are shown.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", module="lightning")  # its own use of deprecated functions
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def seed_initialisation(*parts: object) -> None:
    """Seed the initial weights of the next part, and use deterministic algorithms."""
    seed_torch(*parts, "initial weights")
    torch.use_deterministic_algorithms(True, warn_only=True)
