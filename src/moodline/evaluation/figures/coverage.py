"""WA and UA against the share of utterances that is answered."""

from collections.abc import Mapping
from typing import Any

from moodline.evaluation.figures.drawing import INK, figure_of, svg
from moodline.evaluation.figures.estimates import MARKERS


def coverage_figure(coverage: Mapping[str, Any]) -> str:
    """Lines on their 95 % bands, and the threshold that each share takes; ``coverage`` as in results.json."""
    points = coverage["points"]
    shares = [point["coverage"] for point in points]
    with figure_of(4.0, 3.4) as figure:
        axes, thresholds = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        for measure, (name, colour, marker) in MARKERS.items():
            banded = [point for point in points if point[measure]["interval"]]
            axes.fill_between(
                [point["coverage"] for point in banded],
                [point[measure]["interval"][0] for point in banded],
                [point[measure]["interval"][1] for point in banded],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
            axes.plot(
                shares,
                [point[measure]["value"] for point in points],
                color=colour,
                marker=marker,
                markersize=4,
                markerfacecolor=colour if marker == "o" else "white",
                label=name,
            )
        axes.set_ylabel("score of the answered")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0.2)
        thresholds.plot(shares, [point["threshold"] for point in points], color=INK, marker=".", markersize=4)
        thresholds.set_ylim(0, 1.05)
        thresholds.set_ylabel("threshold")
        thresholds.set_xlabel("share answered")
        thresholds.set_xlim(1.03, 0)  # the further right, the more is answered "uncertain"
        for each in (axes, thresholds):
            each.grid()
        figure.align_ylabels()
        return svg(figure, "coverage", "Scores by the share of utterances that is answered", _told(points))


def _told(points: list[Mapping[str, Any]]) -> str:
    return "; ".join(
        f"threshold {point['threshold']:.3f}: {100 * point['coverage']:.0f} % answered, UA {point['ua']['value']:.3f}, "
        f"WA {point['wa']['value']:.3f}"
        for point in points
    )
