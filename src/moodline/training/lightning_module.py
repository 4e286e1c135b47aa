"""Train one part with Lightning: loss, optimiser, batches, randomness, best weights, checkpoint; its temperature.

Lightning's callbacks for moving averages and checkpoints and torch's schedulers are not used: averages would be taken
before LEAF's filters are projected, a kill may leave a checkpoint half written, and a scheduler steps after an epoch's
checkpoint, so that a resumed stage would repeat a learning rate.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from moodline.config import AUDIO_UTTERANCE, CLASS_WEIGHTS, TEXT_UTTERANCE, Recipe
from moodline.errors import MoodlineError
from moodline.metrics import compute_unweighted_accuracy
from moodline.modeling.audio_encoder import LeafCnn
from moodline.modeling.batching import Encoding, build_length_batches
from moodline.modeling.fusion import Fusion
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.runtime import create_generator, seed_epoch
from moodline.training.dataset import UNSCORED, Batch, BatchLoader, StageData, take_share


def compute_conversation_loss(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Compute the mean over rows of each row's mean cross-entropy over its scored places (released code).

    A row is a conversation; for utterance encoders it is one utterance.

    Args:
        logits: (B, S, classes), or (B, classes)
        labels: (B, S), or (B,); UNSCORED places are left out, a row has at least one other
        class_weights: (classes,)
        label_smoothing: weight of the uniform distribution in the targets (Szegedy et al., "Rethinking the Inception
            architecture for computer vision", CVPR 2016, section 7)
    """
    labels = labels.view(len(labels), -1)  # (B,) -> (B, 1)
    flat = logits.reshape(-1, logits.shape[-1])  # (B, S, classes) -> (B S, classes)
    losses = functional.cross_entropy(
        flat.float(),
        labels.flatten(),
        weight=class_weights,
        ignore_index=UNSCORED,
        reduction="none",
        label_smoothing=label_smoothing,
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


def compute_class_shares(labels: Tensor, classes: int, class_weights: str) -> Tensor:
    """Compute each class's share (classes,) of a training set's weights: n^(1 - power) of its n labels, normalised."""
    counts = torch.bincount(labels, minlength=classes).double() ** (1 - CLASS_WEIGHTS[class_weights])
    return (counts / counts.sum()).float()


# State that a stage resumes from, beside weights and the optimiser's state.
CHECKPOINT_KEYS = ("best_loss", "best_weights", "history", "seconds")


class StageModule(lightning.LightningModule):
    """Trains a part on its stage's data.

    Args:
        recipe: gives rates, sizes, and the seed on which random choices depend, with the stage and the epoch
        scored_labels: (N,), the training set's classes, for class weights
        checkpoint: the file that is written after each epoch
        reads_features: whether the items are the features of the part's frozen encoder, see ``FeatureItems``
        workers: processes that read the training set's audio, and as many the validation set's; 0 reads in this one;
            the items of the other stages are in memory
    """

    class_weights: Tensor | None

    def __init__(
        self,
        stage: str,
        part: nn.Module,
        data: StageData,
        recipe: Recipe,
        *,
        classes: int,
        scored_labels: Tensor,
        checkpoint: Path,
        reads_features: bool = False,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.reads_features = reads_features
        self.frozen = {name for name, parameter in part.named_parameters() if not parameter.requires_grad}
        self.stage, self.part, self.data, self.recipe = stage, part, data, recipe
        self.classes, self.checkpoint = classes, checkpoint
        self.training_config = recipe.get_training_config(stage)
        workers = workers if stage == AUDIO_UTTERANCE and not reads_features else 0
        self.train_batches, self.validation_batches = (BatchLoader(items, workers) for items in data)
        power = CLASS_WEIGHTS[recipe.class_weights]
        weights = compute_rarity_weights(scored_labels, classes, power) if power else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.average: AveragedModel | None = None  # of the weights and of the batch norms' statistics
        if decay := self.training_config.ema_decay:
            self.average = AveragedModel(part, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
            self.average.requires_grad_(False)
        self.best_loss = math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self._epoch_started = 0.0
        self._weights: list[float] = []
        self._train_losses: list[Tensor] = []
        self._validation: list[tuple[float, int]] = []
        self._confusion = torch.zeros(classes, classes, dtype=torch.long)

    @property
    def is_finished(self) -> bool:
        """Return whether all epochs are done, or ``patience`` epochs brought no lower validation loss."""
        # Lightning's EarlyStopping decides only after an epoch: a stage that is killed between the checkpoint of its
        # last epoch and its record would train one epoch more when it resumes.
        losses = [row["validation_loss"] for row in self.history]
        waited = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return len(losses) >= self.training_config.epochs or waited >= self.training_config.patience

    @property
    def validated_part(self) -> nn.Module:
        """Return the module that is validated and kept: the part, or the moving average of its weights."""
        return self.part if self.average is None else self.average.module

    def _encode(self, part: Any, batch: Batch) -> Encoding:
        return part.head(*batch.inputs) if self.reads_features else part(*batch.inputs)

    def train_dataloader(self) -> BatchLoader:
        """Return this epoch's batches; Lightning calls it in each epoch."""
        epoch, processes = self.current_epoch, self.trainer.world_size
        generator = create_generator(self.recipe.seed, self.stage, "batches", epoch)
        batches = self._build_batches(self.data.train.lengths, generator)
        shares = [take_share(batch, self.global_rank, processes) for batch in batches]
        self._weights = [weight for _, weight in shares]
        return self.train_batches.select_epoch(epoch, [rows for rows, _ in shares])

    def val_dataloader(self) -> BatchLoader:
        """Return the whole validation set in every process: all compute the same loss and select the same epoch."""
        return self.validation_batches.select_epoch(
            self.current_epoch, self._build_batches(self.data.validation.lengths)
        )

    def _build_batches(self, lengths: Any, generator: np.random.Generator | None = None) -> list[list[int]]:
        measures_seconds = self.stage == AUDIO_UTTERANCE and not self.reads_features
        longest = self.recipe.audio_utterance.batch_seconds if measures_seconds else math.inf
        return build_length_batches(
            lengths, batch_size=self.training_config.batch_size, maximum_total=longest, generator=generator
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        training = self.training_config
        trained = [parameter for parameter in self.part.parameters() if parameter.requires_grad]
        group = find_lr_group(self.stage, self.part, self.recipe)
        chosen = {id(parameter) for parameter in group[0].parameters()} if group else set()
        groups: list[dict[str, Any]] = [{"params": [one for one in trained if id(one) not in chosen]}]
        if group and (own := [one for one in trained if id(one) in chosen]):
            groups.append({"params": own, "lr": training.learning_rate * group[1], "weight_decay": 0.0})
        optimiser = torch.optim.AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay)
        for one in optimiser.param_groups:
            one["initial_lr"] = one["lr"]
        return optimiser

    def on_fit_start(self) -> None:
        for row in self.history:  # a resumed stage logs its earlier epochs again
            self._log_row(row)

    def on_train_epoch_start(self) -> None:
        seed_epoch(self.recipe.seed, self.stage, self.current_epoch, self.global_rank)
        self._train_losses.clear()
        self._epoch_started = time.monotonic()
        factor = 1.0
        if self.training_config.decay == "cosine":
            factor = (1 + math.cos(math.pi * self.current_epoch / self.training_config.epochs)) / 2
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * factor

    def training_step(self, batch: Batch, index: int) -> Tensor:
        logits = self._encode(self.part, batch).logits
        smoothing = self.training_config.label_smoothing
        loss = compute_conversation_loss(logits, batch.labels, self.class_weights, smoothing) * self._weights[index]
        if self.trainer.world_size > 1:
            # Processes wait for each other's gradients of every parameter, and those of what reads a speaker's turns
            # are not in the graph where the batch has no known speakers.
            loss = loss + 0.0 * sum(one.sum() for one in self.part.parameters() if one.requires_grad)
        self._train_losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if isinstance(self.part, LeafCnn):
            self.part.front_end.project()
        if self.average is not None:
            self.average.update_parameters(self.part)

    def on_validation_epoch_start(self) -> None:
        self._validation.clear()
        self._confusion.zero_()

    def validation_step(self, batch: Batch, index: int) -> None:
        logits = self._encode(self.validated_part, batch).logits
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
            weights = self.validated_part.state_dict()
            self.best_weights = {
                name: value.detach().clone() for name, value in weights.items() if name not in self.frozen
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
        self._log_row(row)
        self.seconds += time.monotonic() - self._epoch_started
        self.trainer.should_stop = self.is_finished

    def _log_row(self, row: dict[str, float]) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics(row, step=int(row["epoch"]))
            logger.save()

    def on_train_epoch_end(self) -> None:
        self.trainer.save_checkpoint(self.checkpoint)  # all processes take part in gathering; the main one writes

    def _select_frozen(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Select this module's frozen weights, which are not part of a checkpoint."""
        names = (f"{prefix}{name}" for prefix in ("part.", "average.module.") for name in self.frozen)
        return {name: weights[name] for name in names if name in weights}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint["state_dict"]
        frozen = self._select_frozen(weights)
        checkpoint["state_dict"] = {name: value for name, value in weights.items() if name not in frozen}
        checkpoint["moodline"] = {name: getattr(self, name) for name in CHECKPOINT_KEYS}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] |= self._select_frozen(self.state_dict())  # so that loading is strict
        for name in CHECKPOINT_KEYS:
            setattr(self, name, checkpoint["moodline"][name])

    def keep_best(self) -> nn.Module:
        """Load the weights of the best epoch, and return the part in eval mode."""
        kept = self.part.state_dict()
        self.part.load_state_dict({name: kept[name] for name in self.frozen} | self.best_weights)
        self.best_weights = {}
        return self.part.eval()


def find_lr_group(stage: str, part: Any, recipe: Recipe) -> tuple[nn.Module, float] | None:
    """Return the module of a part that has a learning rate of its own, and the scale of that; None without one."""
    if isinstance(part, PretrainedAudio):
        is_module = isinstance(part.backbone, nn.Module)
        return (part.backbone, recipe.audio_utterance.pretrained_lr_scale) if is_module else None
    if stage == AUDIO_UTTERANCE:
        return part.front_end, recipe.audio_utterance.frontend_lr_scale
    if stage == TEXT_UTTERANCE:
        return part.bert, recipe.text_utterance.text_encoder_lr_scale
    if isinstance(part, Fusion) and part.speaker_crf is not None:
        return part.speaker_crf, recipe.fusion.crf_lr_scale
    return None


LOWEST, HIGHEST = 0.1, 10.0  # bounds of the search for a temperature
NOT_CALIBRATED = "not calibrated (temperature 1): "


class FittedTemperature(NamedTuple):
    """Hold a temperature, and a note unless it minimises the NLL."""

    temperature: float
    note: str = ""


def compute_nll(logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0) -> float:
    """Compute the NLL, the mean of -log softmax(z_n / T) at the label of n, in nats: logits z (N, C), labels (N,).

    Guo et al., "On calibration of modern neural networks", ICML 2017, section 2.
    """
    likelihoods = log_softmax(logits.astype(float) / temperature, axis=-1)  # (N, C)
    return -float(np.mean(likelihoods[np.arange(len(labels)), labels]))


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> FittedTemperature:
    """Fit the temperature of the lowest NLL, from ``LOWEST`` to ``HIGHEST``: (N, C), (N,) -> T.

    Temperature scaling, Guo et al. 2017, section 4.2. The NLL is convex in 1/T and has one minimum over log T. Classes
    are not weighted. T is 1 if it cannot be estimated: without labels, with labels of one class, or if all predictions
    are correct, since the NLL then decreases without bound as T decreases.
    """
    if len(set(labels.tolist())) < 2:
        lack = "labels are of one class" if len(labels) else "utterances have no labels"
        return FittedTemperature(1.0, f"{NOT_CALIBRATED}the validation set's {lack}")
    values = logits.astype(float)
    if (values[np.arange(len(labels)), labels] == values.max(axis=-1)).all():
        return FittedTemperature(
            1.0, f"{NOT_CALIBRATED}all validation predictions are correct, so the temperature cannot be estimated"
        )
    edges = np.log([LOWEST, HIGHEST])

    def compute_at(log_temperature: float) -> float:
        return compute_nll(values, labels, np.exp(log_temperature))

    found = minimize_scalar(compute_at, bounds=edges, method="bounded", options={"xatol": 1e-7})
    temperature = float(np.exp(found.x))
    if np.abs(found.x - edges).min() < 1e-5:
        left = "overconfident" if temperature > 1 else "underconfident"
        return FittedTemperature(
            temperature,
            f"at the limit of the calibration (temperature {temperature:g}) and still {left} on the validation set; "
            "labels, WA, UA and F1 do not depend on it",
        )
    return FittedTemperature(temperature)
