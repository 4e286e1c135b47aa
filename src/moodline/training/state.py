"""What a stage goes on from when it was killed: one file, written whole after every epoch, removed with the last."""

import pickle
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from moodline.errors import MoodlineError, first_line
from moodline.files import atomic_file
from moodline.training.stage_module import StageModule


class PlainCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint where it belongs; Lightning's own way leads through memory and a temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            with Path(path).open("wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch's own, about what it could not finish after the system's
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


class StateKeeper(lightning.Callback):
    """Writes Lightning's checkpoint of a stage at the end of each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path)  # takes part in what processes gather; only the main one writes
            return
        with atomic_file(self.path) as temporary:
            trainer.save_checkpoint(temporary)


def restore(module: StageModule, path: Path) -> None:
    """Tell a stage how far it came, and give it the weights of its best epoch.

    Raises:
        MoodlineError: the file is none of ours
    """
    try:
        module.on_load_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        reason = first_line(error)
        raise MoodlineError(
            f"a stage goes on from the state it kept, and {path} cannot be read: {reason}; "
            "remove that file to train the stage from its start"
        ) from error
