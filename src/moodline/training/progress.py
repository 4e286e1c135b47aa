"""What a person sees while training: the stage, the epoch, its scores and the time left."""

import time
from typing import Any

import lightning
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


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
        self.console.print(f"[bold]{self.title}[/bold]{further}", highlight=False)
        self.bar.start()
        self.task = self.bar.add_task("", total=1.0, left="")

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        done = trainer.current_epoch + (trainer.fit_loop.epoch_loop.batch_idx + 1) / max(
            1, trainer.num_training_batches
        )
        self._move(done, f"epoch {trainer.current_epoch + 1}/{self.epochs}")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        row = pl_module.history[-1]
        best = " *" if row["validation_loss"] == pl_module.best_loss else ""
        self.console.print(
            f"  epoch {row['epoch']:>3}/{self.epochs}  loss {row['train_loss']:.3f}  "
            f"validation loss {row['validation_loss']:.3f}  UA {row['validation_ua']:.3f}  "
            f"{clock(self._left(trainer.current_epoch + 1))} left{best}",
            highlight=False,
        )

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        self.bar.stop()

    def _left(self, done: float) -> float:
        return (time.monotonic() - self.started) / (done - self.done_before) * (self.epochs - done)

    def _move(self, done: float, description: str) -> None:
        if self.task is not None:
            left = f"at most {clock(self._left(done))} left"
            self.bar.update(self.task, completed=done / self.epochs, description=description, left=left)


def clock(seconds: float) -> str:
    """Minutes and seconds: 95 s is 1:35."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
