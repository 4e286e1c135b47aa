"""What LEAF makes of a recording, beside the log-mel spectrogram."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from moodline.audio.leaf import Leaf

_SPECTRUM_SIZE = 512  # at least; of LEAF's mel filters too
_FLOOR = 1e-5  # of mel energies, as LEAF has one
_HIDDEN = 1, 99.5  # percentiles of a panel's values: what lies outside takes the map's last colour


def draw_features(figure: Figure, waveform: Tensor, before: Leaf, after: Leaf, frequencies: tuple[float, float]) -> str:
    """Waveform (T,), at LEAF's sample rate -> three panels over one axis of time.

    ``frequencies`` are the lowest and the highest of the mel filters, in Hz.
    """
    panels = {
        "log-mel": log_mel(waveform.numpy(), after, frequencies),
        "LEAF, initial": features(waveform, before),
        "LEAF, trained": features(waveform, after),
    }
    seconds = panels["log-mel"].shape[1] * after.stride / after.sample_rate
    for axes, (title, values) in zip(figure.subplots(3, sharex=True), panels.items(), strict=True):
        lowest, highest = np.percentile(values, _HIDDEN)
        axes.imshow(
            values,
            origin="lower",
            aspect="auto",
            cmap="cividis",
            vmin=lowest,
            vmax=highest,
            extent=(0, seconds, 0.5, after.filters + 0.5),
            interpolation="nearest",
        )
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_ylabel("channel")
    figure.axes[-1].set_xlabel("time (s)")
    return f"{seconds:.2f} s in {panels['log-mel'].shape[1]} frames of {after.filters} channels"


@torch.no_grad()
def features(waveform: Tensor, leaf: Leaf) -> np.ndarray:
    """Waveform (T,) -> (filters, F)."""
    return leaf(waveform[None])[0][0].cpu().numpy()


def log_mel(waveform: np.ndarray, leaf: Leaf, frequencies: tuple[float, float]) -> np.ndarray:
    """Logarithms of mel energies with LEAF's number of filters, window (Hann's) and frames: (T,) -> (filters, F)."""
    half, stride = leaf.window // 2, leaf.stride
    padded = np.pad(waveform, (half, half + stride))
    frames = np.lib.stride_tricks.sliding_window_view(padded, leaf.window)[: len(waveform) : stride]  # (F, window)
    size = max(_SPECTRUM_SIZE, leaf.window)
    power = np.abs(np.fft.rfft(frames * np.hanning(leaf.window), size)) ** 2  # (F, bins)
    bins = _mel(np.fft.rfftfreq(size, 1 / leaf.sample_rate))
    lowest, highest = _mel(np.array(frequencies))
    edges = np.linspace(lowest, highest, leaf.filters + 2)
    triangles = [np.interp(bins, edges[place : place + 3], (0, 1, 0)) for place in range(leaf.filters)]
    return np.log(np.maximum(np.stack(triangles) @ power.T, _FLOOR))


def _mel(frequency: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(frequency / 700.0)
