"""Encodings of the parts, the padding convention, and batches of sequences of similar length."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Encoding(NamedTuple):
    """Hold a part's output; leading dimensions are (B,) for a part that reads utterances, (B, S) for conversations."""

    embeddings: Tensor  # (..., D), read by the next part
    logits: Tensor  # (..., classes)


class Features(NamedTuple):
    """Hold what a pretrained encoder computes of utterances, which the trained layers above it read."""

    values: Tensor  # (B, R, W): a row per layer, per token, or one
    lengths: Tensor  # (B,), the number of rows


def build_length_mask(lengths: Tensor, size: int) -> Tensor:
    """Build a mask that is True where a padded sequence has data: lengths (B,) -> (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def repeat_full_length(values: Tensor) -> Tensor:
    """Return the lengths (B,) of a batch (B, T, ...) without padding."""
    return torch.full((values.shape[0],), values.shape[1], device=values.device)


def pad_sequences(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad sequences (T_i, ...) with zeros to (B, max T, ...); return their lengths (B,) too."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


def compute_masked_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Compute the mean over the data of padded sequences: values (B, T, ...) -> (B, ...)."""
    mask = build_length_mask(lengths, values.shape[1])
    mask = mask.view(*mask.shape, *[1] * (values.dim() - 2))  # (B, T, 1...)
    total = values.masked_fill(~mask, 0.0).sum(dim=1)
    return total / lengths.view(-1, *[1] * (total.dim() - 1))


def build_bigru(inputs: int, hidden: int, layers: int, dropout: float) -> nn.GRU:
    """Build a bidirectional GRU with dropout between its layers."""
    between = dropout if layers > 1 else 0.0
    return nn.GRU(inputs, hidden, num_layers=layers, dropout=between, bidirectional=True, batch_first=True)


def run_recurrent(layer: nn.RNNBase, values: Tensor, lengths: Tensor) -> Tensor:
    """Run a recurrent layer over the data only: values (B, T, D), lengths at least 1 -> (B, T, outputs)."""
    packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=values.shape[1])[0]


def build_length_batches(
    lengths: Sequence[float],
    *,
    batch_size: int,
    maximum_total: float = float("inf"),
    generator: np.random.Generator | None = None,
) -> list[list[int]]:
    """Group indices into batches of similar length, at most ``batch_size`` each.

    Args:
        maximum_total: of a batch's padded lengths together; a longer sequence gets a batch of its own
        generator: draws the order of the batches, and which sequences of nearly equal length share one
    """
    keys = np.asarray(lengths, dtype=float)
    if generator is not None:
        keys = keys * generator.uniform(0.9, 1.1, size=len(keys))
    batches: list[list[int]] = []
    longest = 0.0
    for index in np.argsort(keys, kind="stable").tolist():
        longest = max(longest, lengths[index])
        last = batches[-1] if batches else None
        if last is None or len(last) == batch_size or (len(last) + 1) * longest > maximum_total:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    if generator is not None:
        generator.shuffle(batches)
    return batches
