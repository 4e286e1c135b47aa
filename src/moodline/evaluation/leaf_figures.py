"""Draw a trained model's LEAF front-end."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from moodline.audio import io
from moodline.config import AUDIO_UTTERANCE, AudioUtteranceConfig
from moodline.errors import MoodlineError
from moodline.evaluation.figures import BLUE, GREY, VERMILLION, open_figure, write_figure
from moodline.modeling.audio_encoder import LeafCnn, scale_to_unit_rms
from moodline.modeling.checkpoint import load_part
from moodline.modeling.description import CONFIG_FILE, load_description
from moodline.modeling.frontend import LogMel
from moodline.modeling.leaf import HALF_MAXIMUM_WIDTH, Leaf
from moodline.modeling.model import build_audio_utterance

PCEN_LABELS = {
    "exponent": "exponent \N{GREEK SMALL LETTER ALPHA}",
    "offset": "offset \N{GREEK SMALL LETTER DELTA}",
    "root": "root r",
    "smoothing": "smoothing s",
}
FEATURES_TITLE = "LEAF features beside the log-mel spectrogram"
_COLOUR_PERCENTILES = 1, 99.5  # percentiles of a panel's values at the ends of the colour map
_SPECTRUM_SIZE = 4096  # bins of a few Hz, finer than the narrowest filter
_OCTAVE_TICKS = (62.5, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
_MIN_FREQUENCY = 40  # Hz, lower end of the axis of responses


@torch.inference_mode()
def draw_features(
    figure: Figure, before: Leaf, after: Leaf, *, waveform: Tensor, frequencies: tuple[float, float]
) -> str:
    """Draw log-mel and LEAF features of a waveform (T,), at LEAF's sample rate, over one axis of time.

    ``frequencies`` are the lowest and the highest of the mel filters, in Hz.
    """
    front_ends = {"log-mel": build_log_mel(after, frequencies), "LEAF, initial": before, "LEAF, trained": after}
    # (1, T) -> (filters, F)
    panels = {title: compute(waveform[None])[0][0].cpu().numpy() for title, compute in front_ends.items()}
    frames = panels["log-mel"].shape[1]
    seconds = frames * after.stride / after.sample_rate
    for axes, (title, values) in zip(figure.subplots(3, sharex=True), panels.items(), strict=True):
        lowest, highest = np.percentile(values, _COLOUR_PERCENTILES)
        colours: dict[str, Any] = {"cmap": "cividis", "vmin": lowest, "vmax": highest, "interpolation": "nearest"}
        extent = (0, seconds, 0.5, after.filters + 0.5)
        axes.imshow(values, origin="lower", aspect="auto", extent=extent, **colours)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_ylabel("channel")
    figure.axes[-1].set_xlabel("time (s)")
    return f"{seconds:.2f} s in {frames} frames of {after.filters} channels"


def build_log_mel(leaf: Leaf, frequencies: tuple[float, float]) -> LogMel:
    """Build a log-mel front-end with LEAF's number of filters, window and stride, between two frequencies in Hz."""
    return LogMel(
        filters=leaf.filters,
        sample_rate=leaf.sample_rate,
        window_ms=1000 * (leaf.window - 1) / leaf.sample_rate,
        stride_ms=1000 * leaf.stride / leaf.sample_rate,
        minimum_frequency=frequencies[0],
        maximum_frequency=frequencies[1],
    )


def get_centre_frequencies(leaf: Leaf) -> np.ndarray:
    """Return the centre frequencies in Hz (filters,)."""
    return _get_values(leaf.gabor.centre_frequencies) * leaf.sample_rate / (2 * math.pi)


def compute_bandwidths(leaf: Leaf) -> np.ndarray:
    """Compute full widths at half maximum of the filters' responses, in Hz (filters,), without the window's effect."""
    return 2 * HALF_MAXIMUM_WIDTH / _get_values(leaf.gabor.inverse_bandwidths) * leaf.sample_rate / (2 * math.pi)


def compute_responses(leaf: Leaf) -> tuple[np.ndarray, np.ndarray]:
    """Compute frequencies in Hz (bins,) and the windowed filters' gains (filters, bins)."""
    half = leaf.window // 2
    time = np.arange(-half, half + 1)
    mu = _get_values(leaf.gabor.centre_frequencies)[:, None]
    sigma = _get_values(leaf.gabor.inverse_bandwidths)[:, None]
    filters = np.exp(-(time**2) / (2 * sigma**2) + 1j * mu * time) / (math.sqrt(2 * math.pi) * sigma)
    magnitudes = np.abs(np.fft.fft(filters, _SPECTRUM_SIZE))[:, : _SPECTRUM_SIZE // 2 + 1]
    return np.fft.rfftfreq(_SPECTRUM_SIZE, 1 / leaf.sample_rate), magnitudes


def draw_filters(figure: Figure, before: Leaf, after: Leaf) -> str:
    """Draw centre frequencies and bandwidths by channel, and their changes in training to the right."""
    grid = figure.subplots(2, 2, sharex=True)
    panels = {"centre frequency (Hz)": get_centre_frequencies, "bandwidth (Hz)": compute_bandwidths}
    for (values, changes), measure in zip(grid, panels.values(), strict=True):
        values.set_yscale("log")
        _label_octaves(values.yaxis)
        change = measure(after) - measure(before)
        changes.axhline(0, color=GREY, linewidth=1)
        changes.vlines(np.arange(1, after.filters + 1), 0, change, color=VERMILLION, linewidth=1.4)
        changes.set_ylabel("change (Hz)")
        changes.grid(axis="y")
    return _draw_by_channel(figure, grid[:, 0], panels, before, after)


def draw_responses(figure: Figure, before: Leaf, after: Leaf) -> str:
    """Draw each filter's magnitude response, initial above and trained below."""
    peaks = []
    for axes, leaf, title in zip(figure.subplots(2, sharex=True), (before, after), ("initial", "trained"), strict=True):
        frequencies, magnitudes = compute_responses(leaf)
        peaks.append(magnitudes.max(axis=1))
        shown = frequencies >= _MIN_FREQUENCY
        for channel, magnitude in enumerate(magnitudes):
            colour, dashes = ((BLUE, "-"), (VERMILLION, "--"))[channel % 2]  # neighbours differ
            axes.plot(frequencies[shown], magnitude[shown], color=colour, linestyle=dashes, linewidth=0.9)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set(ylabel="gain", xscale="log", xlim=(_MIN_FREQUENCY, leaf.sample_rate / 2), ylim=(0, None))
        _label_octaves(axes.xaxis)
        axes.grid(axis="x")
    figure.axes[-1].set_xlabel("frequency (Hz)")
    return _describe("gains at their peaks", *peaks)


def draw_pooling(figure: Figure, before: Leaf, after: Leaf) -> str:
    """Draw widths of the pooling windows by channel."""

    def compute_deviations(leaf: Leaf) -> np.ndarray:
        return _get_values(leaf.pooling.widths) * (leaf.window // 2) * 1000 / leaf.sample_rate

    panels = {"standard deviation (ms)": compute_deviations}
    return _draw_by_channel(figure, [figure.subplots()], panels, before, after)


def draw_pcen(figure: Figure, before: Leaf, after: Leaf) -> str:
    """Draw the four parameters of PCEN by channel."""
    panels = {
        label: lambda leaf, name=name: _get_values(getattr(leaf.pcen, name)) for name, label in PCEN_LABELS.items()
    }
    return _draw_by_channel(figure, figure.subplots(2, 2, sharex=True).flat, panels, before, after)


def _draw_by_channel(
    figure: Figure, grid: Iterable[Axes], panels: Mapping[str, Callable[[Leaf], np.ndarray]], before: Leaf, after: Leaf
) -> str:
    """Draw a value of each channel in each panel, with one legend and axes of channels below; describe the panels."""
    descriptions = []
    channels = np.arange(1, after.filters + 1)
    style: dict[str, Any] = {"markersize": 4, "linestyle": "none"}
    for axes, (label, measure) in zip(grid, panels.items(), strict=True):
        initial, trained = measure(before), measure(after)
        axes.plot(channels, initial, color=BLUE, marker="o", fillstyle="none", label="initial", **style)
        axes.plot(channels, trained, color=VERMILLION, marker="x", label="trained", **style)
        axes.set(xlim=(0, after.filters + 1), ylabel=label)
        axes.grid(axis="y")
        descriptions.append(_describe(label, initial, trained))
    for axes in figure.axes[-2:]:  # the last row, of at most two columns
        axes.set_xlabel("channel")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.align_ylabels()
    return "; ".join(descriptions)


def _label_octaves(axis: Axis) -> None:
    """Label a logarithmic axis of frequencies."""
    axis.set_major_locator(FixedLocator(_OCTAVE_TICKS))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _describe(name: str, before: np.ndarray, after: np.ndarray) -> str:
    first, last = (f"{values.min():.3g} to {values.max():.3g}" for values in (before, after))
    return f"{name}: {first} at first, {last} after training"


def _get_values(parameter: Tensor) -> np.ndarray:
    return parameter.detach().double().cpu().numpy()


class Picture(NamedTuple):
    """Hold a picture's name, title and size in inches, and the function that draws and describes it."""

    name: str
    title: str
    width: float
    height: float
    draw: Callable[[Figure, Leaf, Leaf], str]


PICTURES = (
    Picture("filters", "Centre frequencies and bandwidths of the filters", 7.2, 4.4, draw_filters),
    Picture("responses", "Frequency responses of the filters", 7.2, 4.0, draw_responses),
    Picture("pooling", "Widths of the pooling windows", 7.2, 2.4, draw_pooling),
    Picture("pcen", "Parameters of the energy normalisation", 7.2, 4.2, draw_pcen),
)


def plot_leaf(folder: Path, out: Path, audio: Path | None = None, file_format: str = "svg") -> list[Path]:
    """Draw a model's initial and trained LEAF, with a recording its features too; raise MoodlineError without LEAF.

    Args:
        folder: a model folder, or a run's fold with one
        out: the pictures' folder
        audio: a recording; scaled as in the model
        file_format: svg or png
    """
    encoder, config = load_encoder(folder)
    initial = build_audio_utterance(config, len(encoder.classifier.bias))
    before, after = initial.front_end, encoder.front_end
    assert isinstance(before, Leaf)
    assert isinstance(after, Leaf)
    pictures = list(PICTURES)
    if audio is not None:
        waveform = torch.from_numpy(io.read_clip(io.inspect_file(audio), config.sample_rate))
        if encoder.waveform_normalisation:
            waveform = scale_to_unit_rms(waveform[None], torch.tensor([len(waveform)]))[0]
        frequencies = config.minimum_frequency, config.maximum_frequency
        draw = partial(draw_features, waveform=waveform, frequencies=frequencies)
        pictures.append(Picture("features", FEATURES_TITLE, 7.2, 5.4, draw))
    paths = [out / f"{picture.name}.{file_format}" for picture in pictures]
    for path, picture in zip(paths, pictures, strict=True):
        with open_figure(picture.width, picture.height) as figure:
            description = picture.draw(figure, before, after)
            write_figure(figure, path, picture.name, picture.title, description)
    return paths


def load_encoder(folder: Path) -> tuple[LeafCnn, AudioUtteranceConfig]:
    """Load the audio encoder of a model folder or of a run's fold, and its part of the recipe."""
    if not (folder / CONFIG_FILE).exists() and (folder / "model" / CONFIG_FILE).exists():
        folder = folder / "model"
    description = load_description(folder)
    recipe = description.recipe
    if AUDIO_UTTERANCE not in recipe.stages:
        given = "embeddings from a file" if AUDIO_UTTERANCE in recipe.given else "words alone"
        raise MoodlineError(
            f"{folder} has no LEAF: it reads {given}. Choose a model that was trained on recordings.",
            code="model.no_audio_encoder",
        )
    audio = recipe.audio_utterance
    if audio.encoder != "leaf_cnn" or audio.frontend != "leaf":
        front_end, encoder = f"frontend {audio.frontend}", f"encoder {audio.encoder} ({audio.pretrained})"
        used = front_end if audio.encoder == "leaf_cnn" else encoder
        raise MoodlineError(
            f"{folder} has no LEAF: its audio_utterance.{used} reads the recordings. Choose a model that was "
            "trained with audio_utterance.encoder leaf_cnn and audio_utterance.frontend leaf.",
            code="model.no_leaf",
        )
    encoder = load_part(folder, AUDIO_UTTERANCE, recipe, description.label_set)
    assert isinstance(encoder, LeafCnn)
    return encoder, recipe.audio_utterance
