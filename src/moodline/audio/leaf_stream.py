"""LEAF features of a signal that arrives in pieces."""

import torch
from torch import Tensor

from moodline.audio.leaf import Leaf


class LeafStream:
    """Takes a signal in pieces of any size and gives the frames of the whole, as soon as their windows are complete.

    What is kept of the past is some windows of samples and the smoother's state. Gradients are not kept.

    Args:
        leaf: with symmetric padding, because TensorFlow's needs to know the length beforehand.
    """

    def __init__(self, leaf: Leaf) -> None:
        if leaf.padding != "symmetric":
            raise ValueError(f'a stream needs a Leaf with padding "symmetric", received "{leaf.padding}"')
        self.leaf = leaf
        self._reach = 2 * (leaf.window // 2)  # of a frame, to either side: its window, and the filters around it
        self._samples = leaf.pooling.widths.new_empty(0)
        self._first = 0  # what of the samples' frames was not given yet begins here
        self._state: Tensor | None = None

    def push(self, samples: Tensor) -> Tensor:
        """The next samples (T,) -> the frames that they complete (filters, F).

        Raises:
            ValueError: where the samples are not floating-point numbers in one dimension.
        """
        if samples.dim() != 1 or not samples.is_floating_point():
            received = f"{samples.dtype} of the shape {tuple(samples.shape)}"
            raise ValueError(f"samples are floating-point numbers (T,), received {received}")
        self._samples = torch.cat([self._samples, samples.detach().to(self._samples)])
        return self._frames(max(self._first, (len(self._samples) - self._reach - 1) // self.leaf.stride + 1))

    def finish(self) -> Tensor:
        """The last frames (filters, F), whose windows reach out of the signal. A new signal may follow."""
        frames = self._frames(-(-len(self._samples) // self.leaf.stride))
        self._samples, self._first, self._state = self._samples[:0], 0, None
        return frames

    @torch.no_grad()
    def _frames(self, stop: int) -> Tensor:
        """The frames up to that one, and only so many samples kept as the next ones need."""
        energies = self._samples.new_empty(1, self.leaf.filters, 0)
        if stop > self._first:
            energies = self.leaf.energies(self._samples[None], [len(self._samples)])[..., self._first : stop]
        features, self._state = self.leaf.pcen.onward(energies, self._state)
        spare = max(0, stop - -(-self._reach // self.leaf.stride))  # frames, of whose strides nothing is needed
        self._samples = self._samples[spare * self.leaf.stride :].clone()
        self._first = stop - spare
        return features[0]
