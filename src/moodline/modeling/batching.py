"""Encodings of the parts, the padding convention, and batches of sequences of similar length."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Encoding(NamedTuple):
    """A part's output: what the next part reads, and the part's own opinion of the emotion.

    For a part that reads utterances the leading dimensions are (B,), for one that reads conversations (B, S).
    """

    embeddings: Tensor  # (..., D)
    logits: Tensor  # (..., classes)


def build_length_mask(lengths: Tensor, size: int) -> Tensor:
    """True where a padded sequence holds data: lengths (B,) -> (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def pad_sequences(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences of (T_i, ...) -> padded (B, max T, ...) and lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


def compute_masked_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the data of padded sequences: values (B, T, ...) -> (B, ...)."""
    mask = build_length_mask(lengths, values.shape[1])
    mask = mask.view(*mask.shape, *[1] * (values.dim() - 2))  # (B, T, 1...)
    total = values.masked_fill(~mask, 0.0).sum(dim=1)
    return total / lengths.view(-1, *[1] * (total.dim() - 1))


def run_recurrent(layer: nn.RNNBase, values: Tensor, lengths: Tensor) -> Tensor:
    """A recurrent layer over the data of padded sequences alone: (B, T, D), lengths at least 1 -> (B, T, outputs)."""
    packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=values.shape[1])[0]


def repeat_full_length(values: Tensor) -> Tensor:
    """The lengths (B,) of a batch (B, T, ...) without padding."""
    return torch.full((values.shape[0],), values.shape[1], device=values.device)


def build_length_batches(
    lengths: Sequence[float],
    *,
    batch_size: int,
    maximum_total: float = float("inf"),
    generator: np.random.Generator | None = None,
) -> list[list[int]]:
    """Batches of indices: at most ``batch_size`` each, and at most ``maximum_total`` of length, padding included.

    A sequence longer than ``maximum_total`` stands alone. With a generator the order of the batches, and
    which of the nearly equally long sequences meet, is drawn from it; without one it is fixed.
    """
    keys = np.asarray(lengths, dtype=float)
    if generator is not None:
        keys = keys * generator.uniform(0.9, 1.1, size=len(keys))
    batches: list[list[int]] = []
    longest = 0.0
    for index in np.argsort(keys, kind="stable").tolist():
        grown = max(longest, lengths[index])
        full = bool(batches) and (len(batches[-1]) == batch_size or (len(batches[-1]) + 1) * grown > maximum_total)
        if full or not batches:
            batches.append([])
            grown = lengths[index]
        batches[-1].append(index)
        longest = grown
    if generator is not None:
        generator.shuffle(batches)
    return batches
