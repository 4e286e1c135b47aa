"""What training made of LEAF: its parameters by channel, before and after."""

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from moodline.audio.gabor import HALF_WIDTH
from moodline.audio.leaf import Leaf
from moodline.evaluation.figures.drawing import BLUE, GREY, VERMILLION

PCEN = {
    "exponent": "exponent \N{GREEK SMALL LETTER ALPHA}",
    "offset": "offset \N{GREEK SMALL LETTER DELTA}",
    "root": "root r",
    "smoothing": "smoothing s",
}
_SPECTRUM_SIZE = 4096  # bins of some Hz: fine beside the narrowest filter
_OCTAVES = (62.5, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
_LOWEST = 40  # Hz, where the axis of responses begins


def centre_frequencies(leaf: Leaf) -> np.ndarray:
    """In Hz (filters,)."""
    return _values(leaf.gabor.centre_frequencies) * leaf.sample_rate / (2 * math.pi)


def bandwidths(leaf: Leaf) -> np.ndarray:
    """Full widths at half maximum of the filters' responses, in Hz (filters,); the window's cut left aside."""
    return 2 * HALF_WIDTH / _values(leaf.gabor.inverse_bandwidths) * leaf.sample_rate / (2 * math.pi)


def pooling_deviations(leaf: Leaf) -> np.ndarray:
    """Standard deviations of the pooling windows, in ms (filters,)."""
    return _values(leaf.pooling.widths) * (leaf.window // 2) * 1000 / leaf.sample_rate


def responses(leaf: Leaf) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz (bins,), and the gains there of the filters as the window cuts them (filters, bins)."""
    half = leaf.window // 2
    time = np.arange(-half, half + 1)
    mu = _values(leaf.gabor.centre_frequencies)[:, None]
    sigma = _values(leaf.gabor.inverse_bandwidths)[:, None]
    filters = np.exp(-(time**2) / (2 * sigma**2) + 1j * mu * time) / (math.sqrt(2 * math.pi) * sigma)
    magnitudes = np.abs(np.fft.fft(filters, _SPECTRUM_SIZE))[:, : _SPECTRUM_SIZE // 2 + 1]
    return np.fft.rfftfreq(_SPECTRUM_SIZE, 1 / leaf.sample_rate), magnitudes


def draw_filters(figure: Figure, before: Leaf, after: Leaf) -> str:
    """Centre frequencies and bandwidths by channel, and to the right how far training moved them."""
    told = []
    measures = {"centre frequency": centre_frequencies, "bandwidth": bandwidths}
    for (values, changes), (name, measure) in zip(figure.subplots(2, 2, sharex=True), measures.items(), strict=True):
        initial, trained = measure(before), measure(after)
        _by_channel(values, initial, trained, f"{name} (Hz)")
        values.set_yscale("log")
        _in_octaves(values.yaxis)
        changes.axhline(0, color=GREY, linewidth=1)
        changes.vlines(_channels(initial), 0, trained - initial, color=VERMILLION, linewidth=1.4)
        changes.set_ylabel("change (Hz)")
        changes.grid(axis="y")
        told.append(_told(name, initial, trained, "Hz"))
    _finish(figure, columns=2)
    return "; ".join(told)


def draw_responses(figure: Figure, before: Leaf, after: Leaf) -> str:
    """Every filter's magnitude response, the initial ones above and the trained ones below."""
    for axes, leaf, title in zip(figure.subplots(2, sharex=True), (before, after), ("initial", "trained"), strict=True):
        frequencies, magnitudes = responses(leaf)
        shown = frequencies >= _LOWEST
        for channel, magnitude in enumerate(magnitudes):
            colour, dashes = ((BLUE, "-"), (VERMILLION, "--"))[channel % 2]  # neighbours are told apart
            axes.plot(frequencies[shown], magnitude[shown], color=colour, linestyle=dashes, linewidth=0.9)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_ylabel("gain")
        axes.set_xscale("log")
        _in_octaves(axes.xaxis)
        axes.set_xlim(_LOWEST, leaf.sample_rate / 2)
        axes.set_ylim(bottom=0)
        axes.grid(axis="x")
    figure.axes[-1].set_xlabel("frequency (Hz)")
    return _told("gains at their peaks", responses(before)[1].max(axis=1), responses(after)[1].max(axis=1))


def draw_pooling(figure: Figure, before: Leaf, after: Leaf) -> str:
    """Widths of the pooling windows by channel."""
    axes = figure.subplots()
    _by_channel(axes, pooling_deviations(before), pooling_deviations(after), "standard deviation (ms)")
    _finish(figure, columns=1)
    return _told("standard deviations", pooling_deviations(before), pooling_deviations(after), "ms")


def draw_pcen(figure: Figure, before: Leaf, after: Leaf) -> str:
    """The four parameters of the energy normalisation by channel."""
    told = []
    for axes, (name, label) in zip(figure.subplots(2, 2, sharex=True).flat, PCEN.items(), strict=True):
        values = _values(getattr(before.pcen, name)), _values(getattr(after.pcen, name))
        _by_channel(axes, *values, label)
        told.append(_told(name, *values))
    _finish(figure, columns=2)
    return "; ".join(told)


def _by_channel(axes: Axes, before: np.ndarray, after: np.ndarray, label: str) -> None:
    style: dict[str, Any] = {"markersize": 4, "linestyle": "none"}
    axes.plot(_channels(before), before, color=BLUE, marker="o", fillstyle="none", label="initial", **style)
    axes.plot(_channels(after), after, color=VERMILLION, marker="x", label="trained", **style)
    axes.set_xlim(0, len(before) + 1)
    axes.set_ylabel(label)
    axes.grid(axis="y")


def _channels(values: np.ndarray) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _in_octaves(axis: Axis) -> None:
    """The labels of a logarithmic axis of frequencies."""
    axis.set_major_locator(FixedLocator(_OCTAVES))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _finish(figure: Figure, columns: int) -> None:
    """What the panels of one grid share: the axis of channels below, and one legend above."""
    for axes in figure.axes[-columns:]:
        axes.set_xlabel("channel")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.align_ylabels()


def _told(what: str, before: np.ndarray, after: np.ndarray, unit: str = "") -> str:
    first, last = (f"{values.min():.3g} to {values.max():.3g} {unit}".rstrip() for values in (before, after))
    return f"{what}: {first} at first, {last} after training"


def _values(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().double().cpu().numpy()
