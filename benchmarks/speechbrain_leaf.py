"""Build SpeechBrain's Leaf without torchaudio, with a replacement of the one function that it imports."""

import importlib.machinery
import math
import sys
import types

import torch
from torch import Tensor, nn


def melscale_fbanks(n_freqs: int, f_min: float, f_max: float, n_mels: int, sample_rate: int) -> Tensor:
    """Compute triangular filters on the mel scale 2595 log10(1 + f / 700), peaks of one -> (n_freqs, n_mels)."""

    def mel(frequency: float) -> float:
        return 2595.0 * math.log10(1.0 + frequency / 700.0)

    edges = 700.0 * (10.0 ** (torch.linspace(mel(f_min), mel(f_max), n_mels + 2) / 2595.0) - 1.0)
    frequencies = torch.linspace(0, sample_rate // 2, n_freqs)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0)


def build(stride_ms: float) -> nn.Module:
    """Build a module from waveforms (B, T) to features (B, F, 40)."""
    torchaudio = types.ModuleType("torchaudio")
    torchaudio.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    torchaudio.functional = types.SimpleNamespace(melscale_fbanks=melscale_fbanks)
    sys.modules["torchaudio"] = torchaudio
    from speechbrain.lobes.features import Leaf

    return Leaf(out_channels=40, window_len=25.0, window_stride=stride_ms, in_channels=1)
