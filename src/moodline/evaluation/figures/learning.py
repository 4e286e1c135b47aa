"""What a stage's training looked like."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from moodline.evaluation.figures.drawing import BLUE, GREEN, VERMILLION, figure_of, svg

Epochs = Sequence[Mapping[str, float]]


def learning_figure(stage: str, name: str, folds: Sequence[Epochs]) -> str:
    """One stage's losses and validation UA by epoch, a line per fold; a dot marks each fold's best epoch.

    ``stage`` is the stage's key and ``name`` how a reader is told of it.
    """
    with figure_of(3.3, 3.1) as figure:
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
        figure.align_ylabels()
        return svg(figure, f"learning-{stage}", f"Learning curves: {name}", _told(folds))


def best_epoch(epochs: Epochs) -> Mapping[str, float]:
    """The epoch whose weights were kept: the lowest validation loss, the earliest of equals."""
    return min(epochs, key=lambda epoch: epoch["validation_loss"])


def _curve(axes: Axes, epochs: Epochs, measure: str, **style: Any) -> None:
    # A single epoch makes no line, so it is a point.
    axes.plot(
        [epoch["epoch"] for epoch in epochs],
        [epoch[measure] for epoch in epochs],
        marker="." if len(epochs) == 1 else "",
        **style,
    )


def _told(folds: Sequence[Epochs]) -> str:
    return "; ".join(
        f"validation loss {epochs[0]['validation_loss']:.3f} at first, {best['validation_loss']:.3f} at its lowest, "
        f"in epoch {best['epoch']} of {len(epochs)}, where UA is {best['validation_ua']:.3f}"
        for epochs, best in ((epochs, best_epoch(epochs)) for epochs in folds)
    )
