"""Per-channel energy normalisation with learned parameters: sPCEN (LEAF, section 3.3; Wang et al., ICASSP 2017)."""

import math

import torch
from torch import Tensor, nn

ENERGY_FLOOR = 1e-5
LEAST_OFFSET = 1e-3


class Pcen(nn.Module):
    """Divides each channel by a smoothed version of itself, then compresses its range.

    (y / (1e-12 + M)^alpha + delta)^(1/r) - delta^(1/r), with M_t = s y_t + (1 - s) M_(t-1) and M_(-1) = y_0.
    A frame depends on the frames before it alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((channels,), 0.96))  # alpha
        self.offset = nn.Parameter(torch.full((channels,), 2.0))  # delta
        self.root = nn.Parameter(torch.full((channels,), 2.0))  # r
        self.smoothing = nn.Parameter(torch.full((channels,), 0.04))  # s

    @torch.no_grad()
    def project(self) -> None:
        """Bring the parameters back into their ranges; to be called after each optimiser step.

        LEAF leaves delta free; a negative one has no real root, and the root's slope at zero is infinite.
        """
        self.exponent.clamp_(max=1.0)
        self.offset.clamp_(min=LEAST_OFFSET)
        self.root.clamp_(min=1.0)
        self.smoothing.clamp_(0.0, 1.0)

    def forward(self, energies: Tensor) -> Tensor:
        """Energies (B, channels, F), not negative -> (B, channels, F)."""
        return self.onward(energies, None)[0]

    def onward(self, energies: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The same for what follows on earlier frames, whose last smoothed energies are the state (B, channels).

        Returns:
            The normalised energies, and the state after them.
        """
        energies = energies.clamp(min=ENERGY_FLOOR)
        if not energies.shape[-1]:
            return energies, state
        exponent = self.exponent.clamp(max=1.0)[:, None]
        offset = self.offset[:, None]
        root = 1 / self.root.clamp(min=1.0)[:, None]
        # The smoother begins with the first value: a state put before the values is one.
        before = energies[..., :0] if state is None else state[..., None]
        smoothed = smooth(torch.cat([before, energies], dim=-1), self.smoothing.clamp(0.0, 1.0))
        smoothed = smoothed[..., before.shape[-1] :]
        gained = energies * (smoothed + 1e-12).pow(-exponent)
        return (gained + offset).pow(root) - offset.pow(root), smoothed[..., -1]


def smooth(values: Tensor, s: Tensor) -> Tensor:
    """First-order smoothing M_t = s x_t + (1 - s) M_(t-1) with M_(-1) = x_0: values (B, C, F), s (C,) -> (B, C, F).

    Exact and without a loop over frames. The frames are cut into about sqrt(F) blocks of as many frames: a triangular
    matrix smooths within each block, another one carries the blocks' last values from block to block.
    """
    steps = values.shape[-1]
    if steps == 0:
        return values
    size = math.isqrt(steps - 1) + 1
    count = -(-steps // size)
    s = s.double()
    decay = 1 - s  # in single precision a small s would not survive this
    inside = (s[:, None, None] * _lower_powers(decay, size)).to(values)
    across = _lower_powers(decay.pow(size), count).to(values)
    decays = (decay[:, None] ** torch.arange(1, size + 1, device=s.device)).to(values)  # (C, size)
    padded = nn.functional.pad(values, (0, count * size - steps))
    blocks = padded.unflatten(-1, (count, size))  # (B, C, F) -> (B, C, count, size)
    within = torch.einsum("bckj,cij->bcki", blocks, inside)
    ends = torch.cat([values[..., :1], within[..., :-1, -1]], dim=-1)  # the initial state, then the blocks' own ends
    states = torch.einsum("bcj,cij->bci", ends, across)  # before each block
    smoothed = within + states[..., None] * decays[:, None, :]
    return smoothed.flatten(-2)[..., :steps]  # (B, C, count, size) -> (B, C, F)


def _lower_powers(base: Tensor, size: int) -> Tensor:
    """base^(i - j) where i >= j, zero above the diagonal: (C,) -> (C, size, size)."""
    steps = torch.arange(size, device=base.device)
    exponents = (steps[:, None] - steps).clamp(min=0)
    return (base[:, None, None] ** exponents).tril()
