"""Train one stage with Lightning, from its data to its best weights, with resume and progress."""

import logging
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from moodline.device import refusing_full_memory
from moodline.errors import MoodlineError, format_option, get_first_line
from moodline.io import open_atomic_file
from moodline.runtime import seed_torch
from moodline.training.lightning_module import StageModule


class TrainingProgress(lightning.Callback):
    """Prints one line per epoch, and on a terminal a bar that moves with the batches."""

    def __init__(self, title: str, epochs: int, console: Console) -> None:
        self.title, self.epochs, self.console = title, epochs, console
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[left]}")]
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=epochs, left="")

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.started, self.done_before = time.monotonic(), len(pl_module.history)
        further = f", from epoch {self.done_before + 1} on" if self.done_before else ""
        self.console.print(Text(self.title, style="bold").append(further, style="not bold"))
        self.bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        share = (trainer.fit_loop.epoch_loop.batch_idx + 1) / max(1, trainer.num_training_batches)
        done = trainer.current_epoch + share
        description, left = f"epoch {trainer.current_epoch + 1}/{self.epochs}", self._estimate_remaining(done)
        self.bar.update(self.task, completed=done, description=description, left=f"at most {left} left")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        row = pl_module.history[-1]
        best = " *" if row["validation_loss"] == pl_module.best_loss else ""
        self.console.print(
            f"  epoch {row['epoch']:>3}/{self.epochs}  loss {row['train_loss']:.3f}  "
            f"validation loss {row['validation_loss']:.3f}  UA {row['validation_ua']:.3f}  "
            f"{self._estimate_remaining(row['epoch'])} left{best}",
            highlight=False,
        )

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        self.bar.stop()

    def _estimate_remaining(self, done: float) -> str:
        """Estimate the time for the epochs that are left, as minutes and seconds: 95 s is 1:35."""
        seconds = int((time.monotonic() - self.started) / (done - self.done_before) * (self.epochs - done))
        return f"{seconds // 60}:{seconds % 60:02d}"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and directly to the disk; Lightning's own way copies through memory."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with open_atomic_file(Path(path)) as temporary:
            try:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
            except RuntimeError as error:  # torch fails to finish the file after the system's error
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def restore_state(module: StageModule) -> None:
    """Restore a stage's weights, its history and the weights of its best epoch."""
    path = module.checkpoint
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
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

    These are processes that read and resample the training set's audio, and as many for the validation set; 0 reads in
    the training process.
    """

    accelerator: str = "auto"
    devices: str = "auto"  # their number, or their indices with commas
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    num_workers: int = 0

    @property
    def cache_bytes(self) -> int:
        """Return the waveform cache's size in each process that reads audio."""
        return CACHE_BYTES // max(1, 2 * self.num_workers)

    def create_trainer(self, **options: Any) -> lightning.Trainer:
        """Create Lightning's trainer, or refuse options that this machine or Lightning does not support."""
        try:
            return lightning.Trainer(
                accelerator=self.accelerator,
                devices=int(self.devices) if self.devices.isdigit() else self.devices,
                num_nodes=self.num_nodes,
                strategy=self.strategy,
                precision=self.precision,  # pyright: ignore[reportArgumentType]
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
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
        """Refuse unsupported options before anything is loaded, and connect to processes that run beside this one.

        Lightning starts its own processes in the first training; torchrun, SLURM and MPI start all at once, and one
        must decide for all from the beginning.
        """
        if self.num_workers < 0:
            raise MoodlineError(
                f"{format_option('num-workers')} must be 0 or greater, not {self.num_workers}. Use 0 for none.",
                code="option.num_workers",
            )
        strategy = self.create_trainer(logger=False).strategy
        if isinstance(strategy, DDPStrategy) and not isinstance(strategy.cluster_environment, LightningEnvironment):
            strategy.setup_environment()

    def find_device(self) -> torch.device:
        """Find the device that this process trains on."""
        return self.create_trainer(logger=False).strategy.root_device


def train_stage(
    module: StageModule, logs: Path, title: str, hardware: Hardware, console: Console, *, resume: bool
) -> None:
    """Train a part, or resume after its last epoch; stop early and select the epoch by validation loss.

    Afterwards the part has its best epoch's weights and is on the device that trained it.

    Args:
        logs: folder of the TensorBoard and CSV files
        resume: whether to continue from the module's checkpoint
    """
    training = module.training_config
    if resume:
        restore_state(module)
    if not module.is_finished:
        trainer = hardware.create_trainer(
            max_epochs=training.epochs,
            gradient_clip_val=training.max_grad_norm or None,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            logger=[logger(logs, name=name, version=module.checkpoint.stem) for name, logger in LOGGERS.items()],
            callbacks=[TrainingProgress(title, training.epochs, console)],
            plugins=[AtomicCheckpointIO()],
        )
        remedy = f"lower {module.stage}.training.batch_size, or choose another --device"
        try:
            with refusing_full_memory(trainer.strategy.root_device, remedy):
                trainer.fit(module, ckpt_path=module.checkpoint if resume else None, weights_only=True)
        except SystemExit as error:  # Lightning's reaction to Ctrl-C
            raise KeyboardInterrupt from error
    # Lightning moves the part to the CPU after training; the corpus is encoded on the training device.
    module.keep_best().to(hardware.find_device())


def is_main_process() -> bool:
    """Return whether this process writes files; Lightning starts and numbers a run's other processes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def is_distributed() -> bool:
    """Return whether this process is connected to a run's other processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def disconnect() -> None:
    """Disconnect this process from a run's other processes."""
    if is_distributed():
        torch.distributed.destroy_process_group()


def decide_together(decide: Callable[[], Any]) -> Any:
    """Return the main process's decision in every process.

    A process that Lightning starts in the first training is not connected before it trains, and decides by itself:
    by then the main process has written all files of its own decision.
    """
    if not is_distributed():
        return decide()
    decisions: list[Any] = [decide() if is_main_process() else None]
    torch.distributed.broadcast_object_list(decisions, src=0)
    return decisions[0]


@contextmanager
def fail_together() -> Iterator[None]:
    """End a block in all of a run's processes at once: where one fails, all raise instead of waiting for it."""
    fault: Exception | None = None
    try:
        yield
    except Exception as error:  # of a file, of the device or of the disk
        fault = error
    if is_distributed():
        sent = fault
        if fault is not None and not isinstance(fault, MoodlineError):  # another's may not pickle
            sent = MoodlineError(
                f"another process of this run failed: {get_first_line(fault)}. Read its own error.",
                code="run.failed_process",
            )
        faults: list[Exception | None] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(faults, sent)
        fault = fault or next(filter(None, faults), None)
    if fault is not None:
        raise fault


@contextmanager
def isolate_training() -> Iterator[None]:
    """Train without Lightning's advice; afterwards restore the process's warnings, loggers and random state.

    The process also leaves the run's other processes: one that exits while it is connected can abort.

    Lightning's advice concerns choices that are deliberate here; warnings of torch, such as those on non-deterministic
    operations, are shown.
    """
    with ExitStack() as stack:
        stack.callback(disconnect)
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", module="lightning")  # its own use of deprecated functions
        for logger in map(logging.getLogger, ("lightning.pytorch", "lightning.fabric")):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        enabled = torch.are_deterministic_algorithms_enabled()
        stack.callback(torch.use_deterministic_algorithms, enabled, warn_only=warn_only)
        yield


def seed_initialisation(*parts: object) -> None:
    """Seed the initial weights of the next part, and use deterministic algorithms."""
    seed_torch(*parts, "initial weights")
    torch.use_deterministic_algorithms(True, warn_only=True)
