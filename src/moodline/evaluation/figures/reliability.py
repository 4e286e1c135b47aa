"""The reliability diagram."""

from collections.abc import Mapping
from typing import Any

from moodline.evaluation.figures.drawing import BLUE, GREY, INK, VERMILLION, figure_of, svg


def reliability_figure(calibration: Mapping[str, Any]) -> str:
    """How often each bin's utterances are right, against how probable they were held to be; below, how many they are.

    ``calibration`` is a stage's, as in results.json.
    """
    filled = [one for one in calibration["bins"] if one["utterances"]]
    centres = [(one["low"] + one["high"]) / 2 for one in calibration["bins"]]
    width = 1 / len(centres)
    with figure_of(4.0, 4.2) as figure:
        shares, counts = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        shares.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="equal")
        shares.bar(
            [(one["low"] + one["high"]) / 2 for one in filled],
            [one["accuracy"] for one in filled],
            width=width,
            color="#cfe3ef",
            edgecolor=BLUE,
            linewidth=0.8,
            label="share right",
        )
        for one in filled:
            shares.plot([one["confidence"]] * 2, [one["accuracy"], one["confidence"]], color=VERMILLION, linewidth=1.2)
        shares.plot(
            [one["confidence"] for one in filled],
            [one["accuracy"] for one in filled],
            color=VERMILLION,
            marker="D",
            markersize=4.5,
            linestyle="none",
            label="at mean probability",
        )
        shares.set_xlim(0, 1)
        shares.set_ylim(0, 1.02)
        shares.set_ylabel("share right")
        shares.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, columnspacing=1.0, borderaxespad=0.2)
        counts.bar(centres, [one["utterances"] for one in calibration["bins"]], width=width, color=GREY, edgecolor=INK)
        counts.set_ylabel("utterances")
        counts.set_xlabel("probability of the predicted class")
        for axes in (shares, counts):
            axes.grid(axis="y")
        figure.align_ylabels()
        return svg(figure, "reliability", "Reliability diagram", _told(filled))


def _told(filled: list[Mapping[str, Any]]) -> str:
    return "; ".join(
        f"mean probability {one['confidence']:.2f}: {one['accuracy']:.2f} right of {one['utterances']} utterances"
        for one in filled
    )
