"""What LEAF makes of a recording, beside the log-mel spectrogram."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from moodline.audio.leaf import Leaf
from moodline.audio.log_mel import LogMel

_HIDDEN = 1, 99.5  # percentiles of a panel's values: what lies outside takes the map's last colour


def draw_features(figure: Figure, waveform: Tensor, before: Leaf, after: Leaf, frequencies: tuple[float, float]) -> str:
    """Waveform (T,), at LEAF's sample rate -> three panels over one axis of time.

    ``frequencies`` are the lowest and the highest of the mel filters, in Hz.
    """
    panels = {
        "log-mel": log_mel(waveform, after, frequencies),
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


@torch.no_grad()
def log_mel(waveform: Tensor, leaf: Leaf, frequencies: tuple[float, float]) -> np.ndarray:
    """What log-mel of LEAF's number of filters, window and frames makes of it: (T,) -> (filters, F)."""
    minimum, maximum = frequencies
    box = LogMel(
        filters=leaf.filters,
        sample_rate=leaf.sample_rate,
        window_ms=1000 * (leaf.window - 1) / leaf.sample_rate,
        stride_ms=1000 * leaf.stride / leaf.sample_rate,
        minimum_frequency=minimum,
        maximum_frequency=maximum,
    )
    return box(waveform[None])[0][0].numpy()
