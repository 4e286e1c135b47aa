"""The curves as pictures: a score against what is made worse, with bands of 95 % intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from moodline.config import STAGE_NAMES
from moodline.evaluation.figures.drawing import BLUE, GREY, VERMILLION, figure_of, svg
from moodline.reproduction.robustness.points import DRAWN, ENCODER, INTERPOLATED, NAMES, PARTS

Row = Mapping[str, Any]
MEASURES = {"ua": "UA", "wa": "WA"}
MARGIN = 0.02  # of the scale, beyond what it shows
CLEAN_PLACE = 26.0  # dB, on the axis of ratios: left of all of them, with a gap


class Style(NamedTuple):
    colour: str
    marker: str
    line: str
    fill: str


# Of one modality alone, and fused: told apart by colour, marker and dashes.
STYLES = (Style(BLUE, "o", "-", BLUE), Style(VERMILLION, "s", "--", "white"))


def curve_figure(curve: str, metric: str, rows: Sequence[Row], real: Sequence[Row], chance: float) -> str:
    """One curve's score of one measure.

    Args:
        rows: of the curve, see ``rows.SCHEMA``; of all measures
        real: of the point where all words are recognised, shown beside; none for speech
        chance: the UA of a guess, which its figure marks
    """
    told = []
    with figure_of(4.0, 3.0) as figure:
        axes = figure.subplots()
        for style, part in zip(STYLES, PARTS[ENCODER[curve]], strict=True):
            own = sorted((row for row in rows if (row["part"], row["metric"]) == (part, metric)), key=place_of)
            if own:
                line(axes, own, style, STAGE_NAMES[part])
                told.append(f"{STAGE_NAMES[part]}: " + ", ".join(f"{row['value']:.3f} at {said(row)}" for row in own))
            beside(axes, [row for row in real if (row["part"], row["metric"]) == (part, metric)], style)
        axes.set_ylabel(MEASURES[metric])
        axes.set_ylim(*limits_of([*rows, *real], chance))
        if metric == "ua":
            axes.axhline(chance, color=GREY, linewidth=0.8, linestyle="-.", label="chance")
        if curve in (INTERPOLATED, DRAWN):
            axes.set_xlabel("word error rate (%)")
            axes.set_xlim(left=-2)
        else:
            axes_of_ratios(axes, rows)
        axes.grid(axis="y")
        _, names = axes.get_legend_handles_labels()
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), borderaxespad=0.2, columnspacing=1.2
        )
        return svg(figure, f"{curve}-{metric}", f"{MEASURES[metric]}: {NAMES[curve]}", "; ".join(told))


def line(axes: Axes, rows: Sequence[Row], style: Style, label: str) -> None:
    """A line with its band; what has no babble stands beside, on its interval."""
    joined = [row for row in rows if math.isfinite(row["x"])]
    places = [place_of(row) for row in joined]
    axes.plot(
        places,
        [row["value"] for row in joined],
        color=style.colour,
        marker=style.marker,
        markersize=4.5,
        markerfacecolor=style.fill,
        linestyle=style.line,
        label=label,
    )
    if joined and joined[0]["low"] is not None:
        low, high = ([row[bound] for row in joined] for bound in ("low", "high"))
        axes.fill_between(places, low, high, color=style.colour, alpha=0.16, linewidth=0)
        for bound in (low, high):
            axes.plot(places, bound, color=style.colour, linestyle=style.line, linewidth=0.5)
    beside(axes, [row for row in rows if not math.isfinite(row["x"])], style, "" if joined else label)


def beside(axes: Axes, rows: Sequence[Row], style: Style, label: str = "") -> None:
    """A point that no line goes through."""
    for row in rows:
        bounds = [[row["value"] - row["low"]], [row["high"] - row["value"]]] if row["low"] is not None else None
        axes.errorbar(
            place_of(row),
            row["value"],
            yerr=bounds,
            color=style.colour,
            marker="D",
            markersize=6.5,
            markerfacecolor=style.fill,
            capsize=2.5,
            label=label or None,
        )


def axes_of_ratios(axes: Axes, rows: Sequence[Row]) -> None:
    ratios = sorted({row["x"] for row in rows if math.isfinite(row["x"])}, reverse=True)
    axes.set_xticks(
        [CLEAN_PLACE, *ratios], ["none", *(f"{ratio:g}".replace("-", "\N{MINUS SIGN}") for ratio in ratios)]
    )
    axes.set_xlim(CLEAN_PLACE + 2, min([*ratios, CLEAN_PLACE]) - 2)
    axes.set_xlabel("babble: signal-to-noise ratio (dB)")
    axes.axvline((CLEAN_PLACE + max(ratios, default=CLEAN_PLACE)) / 2, color=GREY, linewidth=0.6, linestyle=":")


def limits_of(rows: Sequence[Row], chance: float) -> tuple[float, float]:
    """One scale for a curve's figures of all measures, on which chance and every interval have their place."""
    known = [row[name] for row in rows for name in ("value", "low", "high") if row[name] is not None]
    return min(chance, *known) - MARGIN, max(chance, *known) + MARGIN


def place_of(row: Row) -> float:
    """Where a row stands on its axis: the measured WER in %, or the ratio in dB."""
    if row["wer"] is not None:
        return 100 * row["wer"]
    return row["x"] if math.isfinite(row["x"]) else CLEAN_PLACE


def said(row: Row) -> str:
    """Where a row stands, for people."""
    if row["wer"] is not None:
        return f"WER {row['wer']:.3f}"
    return f"{row['x']:g} dB" if math.isfinite(row["x"]) else "no babble"
