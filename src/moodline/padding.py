"""The one padding convention: sequences begin at 0, are padded with zeros at the end, and come with their lengths."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True where a padded sequence holds data: lengths (B,) -> (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences of (T_i, ...) -> padded (B, max T, ...) and lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


def masked_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the data of padded sequences: values (B, T, ...) -> (B, ...)."""
    mask = length_mask(lengths, values.shape[1])
    mask = mask.view(*mask.shape, *[1] * (values.dim() - 2))  # (B, T, 1...)
    total = values.masked_fill(~mask, 0.0).sum(dim=1)
    return total / lengths.view(-1, *[1] * (total.dim() - 1))


def run_recurrent(layer: nn.RNNBase, values: Tensor, lengths: Tensor) -> Tensor:
    """A recurrent layer over the data of padded sequences alone: (B, T, D), lengths at least 1 -> (B, T, outputs)."""
    packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=values.shape[1])[0]


def same_length_for_all(values: Tensor) -> Tensor:
    """The lengths (B,) of a batch (B, T, ...) without padding."""
    return torch.full((values.shape[0],), values.shape[1], device=values.device)
