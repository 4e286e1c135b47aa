"""Train one part with Lightning: loss, optimiser, batches, randomness, best weights."""

import math
import time
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from moodline.config import TrainingConfig
from moodline.errors import MoodlineError
from moodline.metrics import compute_unweighted_accuracy
from moodline.modeling.audio_encoder import LeafCnn
from moodline.modeling.batching import build_length_batches
from moodline.runtime import create_generator, seed_epoch
from moodline.training.dataset import UNSCORED, Batch, BatchLoader, StageData, compute_share_weight, take_share


def compute_conversation_loss(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Compute the mean over rows of each row's mean cross-entropy over its scored places (released code).

    A row is a conversation; for utterance encoders it is one utterance.

    Args:
        logits: (B, S, classes), or (B, classes)
        labels: (B, S), or (B,); UNSCORED places are left out, a row has at least one other
        class_weights: (classes,)
    """
    labels = labels.view(len(labels), -1)  # (B,) -> (B, 1)
    flat = logits.reshape(-1, logits.shape[-1])  # (B, S, classes) -> (B S, classes)
    losses = functional.cross_entropy(
        flat.float(), labels.flatten(), weight=class_weights, ignore_index=UNSCORED, reduction="none"
    )
    scored = labels != UNSCORED
    return (losses.view_as(scored).sum(dim=1) / scored.sum(dim=1)).mean()


def compute_rarity_weights(labels: Tensor, classes: int, power: float) -> Tensor:
    """Compute weights (classes,) by rarity, 1 on average over the labels; 0 for a class without labels.

    Args:
        power: 1 gives every class the same total weight; 0.5 the geometric mean of that and no weighting
    """
    counts = torch.bincount(labels, minlength=classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -power, 0.0)
    return weights * counts.sum() / (weights * counts).sum()


# State that a stage resumes from, beside weights and the optimiser's state.
CHECKPOINT_KEYS = ("best_loss", "best_weights", "history", "seconds")


class StageModule(lightning.LightningModule):
    """Trains a part on its stage's data.

    Args:
        stage: the part's name
        part: the part
        data: its training and validation sets
        training: rates and sizes
        seed: random choices depend on it, the stage and the epoch
        classes: number of emotions
        class_weights: (classes,), or None
        maximum_total: of a batch's padded length, in the data's unit
        lr_group: a module within the part, and its learning rate as a multiple of the stage's
        workers: processes that read the training set's batches, and as many the validation set's; 0 reads in this one
    """

    class_weights: Tensor | None

    def __init__(
        self,
        stage: str,
        part: nn.Module,
        data: StageData,
        training: TrainingConfig,
        *,
        seed: int,
        classes: int,
        class_weights: Tensor | None,
        maximum_total: float = float("inf"),
        lr_group: tuple[nn.Module, float] | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.stage, self.part, self.data, self.training_config = stage, part, data, training
        self.seed, self.classes, self.maximum_total, self.lr_group = seed, classes, maximum_total, lr_group
        self.train_batches, self.validation_batches = (
            BatchLoader(items, workers) for items in (data.train, data.validation)
        )
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.average = create_average(part, training.ema_decay) if training.ema_decay else None
        self.best_loss = math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self._epoch_started = 0.0
        self._shares: list[float] = []
        self._train_losses: list[Tensor] = []
        self._validation: list[tuple[float, int]] = []
        self._confusion = torch.zeros(classes, classes, dtype=torch.long)

    @property
    def is_finished(self) -> bool:
        """Return whether all epochs are done, or ``patience`` epochs brought no lower validation loss."""
        losses = [row["validation_loss"] for row in self.history]
        waited = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return len(losses) >= self.training_config.epochs or waited >= self.training_config.patience

    @property
    def validated_part(self) -> nn.Module:
        """Return the module that is validated and kept: the part, or the moving average of its weights."""
        return self.part if self.average is None else self.average.module

    def train_dataloader(self) -> BatchLoader:
        """Return this epoch's batches; Lightning calls it in each epoch."""
        epoch = self.current_epoch
        batches = build_length_batches(
            self.data.train_lengths,
            batch_size=self.training_config.batch_size,
            maximum_total=self.maximum_total,
            generator=create_generator(self.seed, self.stage, "batches", epoch),
        )
        processes = self.trainer.world_size
        self._shares = [compute_share_weight(batch, self.global_rank, processes) for batch in batches]
        return self.train_batches.select_epoch(epoch, take_share(batches, self.global_rank, processes))

    def val_dataloader(self) -> BatchLoader:
        """Return the whole validation set in every process: all compute the same loss and select the same epoch."""
        batches = build_length_batches(
            self.data.validation_lengths,
            batch_size=self.training_config.batch_size,
            maximum_total=self.maximum_total,
        )
        return self.validation_batches.select_epoch(self.current_epoch, batches)

    def configure_optimizers(self) -> Any:
        training = self.training_config
        chosen = {id(parameter) for parameter in self.lr_group[0].parameters()} if self.lr_group else set()
        trained = [parameter for parameter in self.part.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": [one for one in trained if id(one) not in chosen]}]
        if self.lr_group and (own := [one for one in trained if id(one) in chosen]):
            groups.append({"params": own, "lr": training.learning_rate * self.lr_group[1], "weight_decay": 0.0})
        optimiser = torch.optim.AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay)
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
        return optimiser

    def on_train_epoch_start(self) -> None:
        seed_epoch(self.seed, self.stage, self.current_epoch, self.global_rank)
        self._train_losses.clear()
        self._epoch_started = time.monotonic()
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * compute_rate_factor(self.training_config, self.current_epoch)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = compute_conversation_loss(self.part(*batch.inputs).logits, batch.labels, self.class_weights)
        loss = loss * self._shares[index]
        self._train_losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if isinstance(self.part, LeafCnn):
            self.part.project()
        if self.average is not None:
            self.average.update_parameters(self.part)

    def on_validation_epoch_start(self) -> None:
        self._validation.clear()
        self._confusion.zero_()

    def validation_step(self, batch: Batch, index: int) -> None:
        logits = self.validated_part(*batch.inputs).logits
        loss = compute_conversation_loss(logits, batch.labels, self.class_weights)
        self._validation.append((float(loss), len(batch.labels)))
        scored = batch.labels.flatten() != UNSCORED
        predicted = logits.reshape(-1, self.classes).argmax(dim=-1)  # (B, S, classes) -> (B S,)
        pairs = self.classes * batch.labels.flatten()[scored] + predicted[scored]
        self._confusion += torch.bincount(pairs, minlength=self.classes**2).view_as(self._confusion).cpu()

    def on_validation_epoch_end(self) -> None:
        rows = sum(count for _, count in self._validation)
        loss = sum(value * count for value, count in self._validation) / rows
        if not math.isfinite(loss):
            raise MoodlineError(
                f"training diverged: the validation loss of stage {self.stage} is {loss} in epoch "
                f"{self.current_epoch + 1}. Lower {self.stage}.training.learning_rate.",
                code="run.diverged",
            )
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_weights = {
                name: value.detach().clone() for name, value in self.validated_part.state_dict().items()
            }
        # Each process holds its share of the batches' means: the mean over processes is the loss of the whole batches.
        train_loss = self.trainer.strategy.reduce(torch.stack(self._train_losses).mean(), reduce_op="mean")
        row = {
            "epoch": self.current_epoch + 1,
            "train_loss": float(train_loss),
            "validation_loss": loss,
            "validation_ua": float(compute_unweighted_accuracy(self._confusion.numpy())),
        }
        self.history.append(row)
        self.seconds += time.monotonic() - self._epoch_started
        self.trainer.should_stop = self.is_finished

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["moodline"] = {name: getattr(self, name) for name in CHECKPOINT_KEYS}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in CHECKPOINT_KEYS:
            setattr(self, name, checkpoint["moodline"][name])

    def keep_best(self) -> nn.Module:
        """Load the weights of the best epoch, and return the part in eval mode."""
        self.part.load_state_dict(self.best_weights)
        return self.part.eval()


def create_average(part: nn.Module, share: float) -> AveragedModel:
    """Copy a part to hold the moving average of its weights and of its batch norms' statistics."""
    average = AveragedModel(part, multi_avg_fn=get_ema_multi_avg_fn(share), use_buffers=True)
    return average.requires_grad_(False)


def compute_rate_factor(training: TrainingConfig, epoch: int) -> float:
    """Compute the factor of the learning rate in an epoch, counted from 0."""
    if training.decay == "constant":
        return 1.0
    return (1 + math.cos(math.pi * epoch / training.epochs)) / 2
