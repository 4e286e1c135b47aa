"""The report's figures, as SVG to stand inside a page: text stays text, and no two figures share an id."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe & Ito's colours, told apart by colour-blind readers; markers and dashes differ as well.
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
_MARKERS = {"ua": ("UA", BLUE, "o"), "wa": ("WA", VERMILLION, "s")}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#222222",
    "xtick.color": "#222222",
    "ytick.color": "#222222",
    "grid.color": "#e2e2e2",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}


def stage_figure(scores: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """UA and WA of every stage with their intervals; ``scores`` are StageScores as in results.json."""
    with _figure("stages", 4.6, 0.8 + 0.42 * len(scores)) as figure:
        axes = figure.subplots()
        _estimates(axes, [stage["pooled"] for stage in scores], [names[stage["stage"]] for stage in scores])
        axes.set_xlabel("score")
        return _svg(figure)


def gain_figure(differences: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Differences between stages with their intervals; ``differences`` as in results.json."""
    labels = [f"{names[gain['stage']]}\n\N{MINUS SIGN} {names[gain['minus']]}" for gain in differences]
    with _figure("gains", 4.6, 0.8 + 0.5 * len(differences)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=1)
        _estimates(axes, differences, labels)
        axes.set_xlabel("difference")
        return _svg(figure)


def _estimates(axes: Axes, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
    """One line per row, from the top: each measure a point on its interval."""
    for offset, (measure, (name, colour, marker)) in zip((-0.13, 0.13), _MARKERS.items(), strict=True):
        for position, row in enumerate(rows):
            estimate = row[measure]
            if estimate["interval"] is not None:
                axes.plot(estimate["interval"], [position + offset] * 2, color=colour, solid_capstyle="butt")
        axes.plot(
            [row[measure]["value"] for row in rows],
            [position + offset for position in range(len(rows))],
            color=colour,
            marker=marker,
            markersize=5,
            markerfacecolor=colour if marker == "o" else "white",
            linestyle="none",
            label=name,
        )
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0.2)


def learning_figure(stage: str, folds: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """One stage's losses and validation UA by epoch, a line per fold; a dot marks each fold's best epoch."""
    with _figure(f"learning-{stage}", 3.3, 3.1) as figure:
        loss, accuracy = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        for epochs in folds:
            best = best_epoch(epochs)
            _curve(loss, epochs, "train_loss", color=VERMILLION, linestyle="--")
            _curve(loss, epochs, "validation_loss", color=BLUE)
            _curve(accuracy, epochs, "validation_ua", color=GREEN)
            for axes, measure, colour in ((loss, "validation_loss", BLUE), (accuracy, "validation_ua", GREEN)):
                axes.plot(best["epoch"], best[measure], marker="o", markersize=5.5, color=colour, linestyle="none")
        training, validation = loss.get_lines()[:2]
        loss.legend(
            [training, validation], ["training", "validation"], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2
        )
        loss.set_ylabel("loss")
        accuracy.set_ylabel("validation UA")
        accuracy.set_xlabel("epoch")
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        for axes in (loss, accuracy):
            axes.grid(axis="y")
            axes.set_axisbelow(True)
        figure.align_ylabels()
        return _svg(figure)


def best_epoch(epochs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The epoch whose weights were kept: the lowest validation loss, the earliest of equals."""
    return min(epochs, key=lambda epoch: epoch["validation_loss"])


def _curve(axes: Axes, epochs: Sequence[Mapping[str, float]], measure: str, **style: Any) -> None:
    axes.plot(
        [epoch["epoch"] for epoch in epochs], [epoch[measure] for epoch in epochs], marker=".", markersize=3, **style
    )


@contextmanager
def _figure(name: str, width: float, height: float) -> Iterator[Figure]:
    """A figure of that size in inches, drawn in the report's style; its name keeps its ids apart from others'."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    """The drawing alone: no XML declaration, no metadata, and of matplotlib's ids those that something refers to."""
    written = io.StringIO()
    figure.savefig(
        written, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', drawing))
    return re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", drawing).strip()
