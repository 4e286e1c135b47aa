"""Speech that was not recorded, from speech that was."""

import torch
from torch import Tensor


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """The waveform (T,) played at another speed, pitch and all, by linear interpolation -> (T / speed,)."""
    places = torch.arange(0, len(waveform) - 1, speed, dtype=torch.float64)
    before = places.long().clamp(max=len(waveform) - 2)  # rounding may put the last place on the last sample
    share = (places - before).to(waveform.dtype)
    return torch.lerp(waveform[before], waveform[before + 1], share)
