"""The Gaussian pooling windows of LEAF (Zeghidour et al., ICLR 2021, section 3.2)."""

import torch
from torch import Tensor, nn


class GaussianPooling(nn.Module):
    """Learned windows exp(-(t / (h p))^2 / 2) for t = -h ... h, h = window // 2, with one width p per channel.

    They are not normalised.
    """

    def __init__(self, *, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.widths = nn.Parameter(torch.full((channels,), 0.4))
        self.width_range = (2 / window, 0.5)

    @torch.no_grad()
    def project(self) -> None:
        """Bring the widths back into their range; to be called after each optimiser step."""
        self.widths.clamp_(*self.width_range)

    def weights(self) -> Tensor:
        """The windows (channels, window), in double precision: what is rounded here would be off in every frame."""
        widths = self.widths.clamp(*self.width_range).double()[:, None]
        half = self.window // 2
        time = torch.arange(-half, half + 1, device=widths.device)
        return torch.exp(-0.5 * (time / (half * widths)) ** 2)
