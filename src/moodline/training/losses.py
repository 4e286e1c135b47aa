"""The objective, the same for all five parts."""

import torch
from torch import Tensor
from torch.nn import functional

UNSCORED = -100  # stands for a turn without a class, and for padding


def conversation_loss(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean over rows of each row's mean cross-entropy over its scored places (released code).

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


def rarity_weights(labels: Tensor, classes: int, power: float) -> Tensor:
    """Weights (classes,) by a class's rarity, 1 on average over the labels; a class never seen has 0.

    Args:
        power: 1 gives every class the same say, whatever its frequency; 0.5 goes half of the way
    """
    counts = torch.bincount(labels, minlength=classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -power, 0.0)
    return weights * counts.sum() / (weights * counts).sum()
