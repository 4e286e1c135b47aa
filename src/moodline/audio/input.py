"""What the front-ends take, and refuse."""

import torch
from torch import Tensor

from moodline.padding import same_length_for_all


def require_sizes(filters: int, window: int, stride: int) -> None:
    """Refuse no filters, and a window or a stride, in samples, that is too short.

    Raises:
        ValueError: names the first of them.
    """
    for name, value, least in (("filters", filters, 1), ("window", window, 3), ("stride", stride, 1)):
        if value < least:
            raise ValueError(f"{name} is {least} or more (windows and strides in samples), received {value}")


def checked_lengths(waveforms: Tensor, lengths: Tensor | None) -> Tensor:
    """The lengths of a batch of waveforms (B, T); the whole of each where none are given.

    Raises:
        ValueError: where the waveforms or the lengths have another shape, type or range.
    """
    if waveforms.dim() != 2:
        raise ValueError(f"waveforms are a batch (B, T), received the shape {tuple(waveforms.shape)}")
    if not waveforms.is_floating_point():
        raise ValueError(f"waveforms are floating-point numbers, received {waveforms.dtype}")
    if lengths is None:
        return same_length_for_all(waveforms)
    if lengths.shape != waveforms.shape[:1] or lengths.is_floating_point() or lengths.dtype == torch.bool:
        received = f"{lengths.dtype} of the shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths are {len(waveforms)} whole numbers, one a waveform, received {received}")
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= waveforms.shape[1]:
        received = f"{int(lengths.min())} to {int(lengths.max())}"
        raise ValueError(f"lengths are from 0 to the waveforms' {waveforms.shape[1]} samples, received {received}")
    return lengths
