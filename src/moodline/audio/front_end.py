"""What LEAF and what stands in its place have in common: frames, and features of padded batches."""

import torch
from torch import Tensor, nn

from moodline.audio.input import checked_lengths, require_sizes
from moodline.padding import length_mask


class FrontEnd(nn.Module):
    """Waveforms to features, a frame for every stride of samples.

    Args:
        filters: C, the number of channels.
        sample_rate: in Hz.
        window_ms, stride_ms: length of a frame, and from one to the next.

    Raises:
        ValueError: where there is no filter, a window of less than three samples or a stride of less than one.
    """

    def __init__(self, *, filters: int, sample_rate: int, window_ms: float, stride_ms: float) -> None:
        super().__init__()
        self.filters = filters
        self.sample_rate = sample_rate
        self.window = 2 * round(window_ms * sample_rate / 2000) + 1
        self.stride = round(stride_ms * sample_rate / 1000)
        require_sizes(filters, self.window, self.stride)

    def project(self) -> None:
        """Bring all parameters back into their ranges; to be called after each optimiser step."""
        raise NotImplementedError

    def features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, filters, F), F that of the longest waveform; beyond a signal's frames, anything."""
        raise NotImplementedError

    def frames(self, lengths: Tensor) -> Tensor:
        """How many frames signals of so many samples give."""
        return -(-lengths // self.stride)

    def shortest(self, frames: int) -> int:
        """The least number of samples that gives so many frames."""
        return (frames - 1) * self.stride + 1

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Waveforms (B, T) at the sample rate, lengths (B,) in samples -> features (B, filters, F), frames (B,).

        What lies beyond a waveform's length is not looked at; features beyond its frames are zero.

        Raises:
            ValueError: where the waveforms or the lengths have another shape, type or range.
        """
        lengths = checked_lengths(waveforms, lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self.features(waveforms, lengths)
        frames = self.frames(lengths)
        return features * length_mask(frames, features.shape[-1])[:, None], frames
