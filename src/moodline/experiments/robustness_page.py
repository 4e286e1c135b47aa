"""Show robustness curves as figures on a page and as tables on a terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from rich.table import Column, Table

from moodline.config import STAGE_NAMES, TEXT_UTTERANCE
from moodline.console import create_console
from moodline.errors import format_count
from moodline.evaluation.figures import BLUE, GREY, VERMILLION, open_figure, render_svg
from moodline.evaluation.report import build_environment, format_difference
from moodline.evaluation.results import Estimate
from moodline.experiments.corruptions import CURVES, INTERPOLATED
from moodline.experiments.robustness import PARTS_BY_ENCODER, RobustnessCurves
from moodline.io import write_text

CurveRow = Mapping[str, Any]
"""A row of the curves' table, with the columns of ``robustness.CURVES_SCHEMA``."""
MEASURE_NAMES = {"ua": "UA", "wa": "WA"}
AXIS_MARGIN = 0.02  # of the score, above and below the values
CLEAN_POSITION = 26.0  # dB, on the axis of ratios: left of all ratios, with a gap
# Of one modality alone, and fused: distinct in colour, marker and dashes.
STYLES: Sequence[Mapping[str, Any]] = (
    {"color": BLUE, "marker": "o", "linestyle": "-", "markerfacecolor": BLUE},
    {"color": VERMILLION, "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
)
TERMINAL_COLUMNS = {"place": "at", "part": "part", "wa": "WA", "ua": "UA", "change": "change of UA"}


def draw_curve(curve: str, metric: str, rows: Sequence[CurveRow], real: Sequence[CurveRow], chance: float) -> str:
    """Draw one measure of one curve.

    Args:
        rows: the curve's rows of all measures
        real: the rows of the point with all words recognised, drawn separately; empty for curves of speech
        chance: UA of random guessing, marked in the figure of UA
    """
    descriptions = []
    with open_figure(4.0, 3.0) as figure:
        axes = figure.subplots()
        for style, part in zip(STYLES, PARTS_BY_ENCODER[CURVES[curve].encoder], strict=True):
            own = sorted((row for row in rows if (row["part"], row["metric"]) == (part, metric)), key=locate)
            if own:
                draw_line(axes, own, style, STAGE_NAMES[part])
                values = ", ".join(f"{row['value']:.3f} at {locate(row)[1]}" for row in own)
                descriptions.append(f"{STAGE_NAMES[part]}: {values}")
            draw_points(axes, [row for row in real if (row["part"], row["metric"]) == (part, metric)], style)
        axes.set_ylabel(MEASURE_NAMES[metric])
        drawn = [row for row in (*rows, *real) if row["metric"] in MEASURE_NAMES]
        axes.set_ylim(*compute_limits(drawn, chance))
        if metric == "ua":
            axes.axhline(chance, color=GREY, linewidth=0.8, linestyle="-.", label="chance")
        if CURVES[curve].encoder == TEXT_UTTERANCE:
            axes.set_xlabel("word error rate (%)")
            axes.set_xlim(left=-2)
        else:
            format_ratio_axis(axes, rows)
        axes.grid(axis="y")
        _, names = axes.get_legend_handles_labels()
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), borderaxespad=0.2, columnspacing=1.2
        )
        title = f"{MEASURE_NAMES[metric]}: {CURVES[curve].title}"
        return render_svg(figure, f"{curve}-{metric}", title, "; ".join(descriptions))


def draw_line(axes: Axes, rows: Sequence[CurveRow], style: Mapping[str, Any], label: str) -> None:
    """Draw a line with the band of its intervals, and the point without babble beside it."""
    joined = [row for row in rows if math.isfinite(row["x"])]
    positions = [locate(row)[0] for row in joined]
    axes.plot(positions, [row["value"] for row in joined], markersize=4.5, label=label, **style)
    if joined and joined[0]["low"] is not None:
        low, high = ([row[bound] for row in joined] for bound in ("low", "high"))
        axes.fill_between(positions, low, high, color=style["color"], alpha=0.16, linewidth=0)
        for bound in (low, high):
            axes.plot(positions, bound, color=style["color"], linestyle=style["linestyle"], linewidth=0.5)
    draw_points(axes, [row for row in rows if not math.isfinite(row["x"])], style, None if joined else label)


def draw_points(axes: Axes, rows: Sequence[CurveRow], style: Mapping[str, Any], label: str | None = None) -> None:
    """Draw single points with their intervals."""
    for row in rows:
        bounds = [[row["value"] - row["low"]], [row["high"] - row["value"]]] if row["low"] is not None else None
        marker = {**style, "linestyle": "-", "marker": "D", "markersize": 6.5, "capsize": 2.5}
        axes.errorbar(locate(row)[0], row["value"], yerr=bounds, label=label, **marker)


def format_ratio_axis(axes: Axes, rows: Sequence[CurveRow]) -> None:
    ratios = sorted({row["x"] for row in rows if math.isfinite(row["x"])}, reverse=True)
    labels = [f"{ratio:g}".replace("-", "\N{MINUS SIGN}") for ratio in ratios]
    axes.set_xticks([CLEAN_POSITION, *ratios], ["none", *labels])
    axes.set_xlim(CLEAN_POSITION + 2, min([*ratios, CLEAN_POSITION]) - 2)
    axes.set_xlabel("babble: signal-to-noise ratio (dB)")
    axes.axvline((CLEAN_POSITION + max(ratios, default=CLEAN_POSITION)) / 2, color=GREY, linewidth=0.6, linestyle=":")


def compute_limits(rows: Sequence[CurveRow], chance: float) -> tuple[float, float]:
    """Compute the common scale of a curve's figures, which includes chance and every interval."""
    known = [row[name] for row in rows for name in ("value", "low", "high") if row[name] is not None]
    return min(chance, *known) - AXIS_MARGIN, max(chance, *known) + AXIS_MARGIN


def locate(row: CurveRow) -> tuple[float, str]:
    """Locate a row on its axis: by the measured WER in %, or by the ratio in dB; in numbers and in words."""
    if row["wer"] is not None:
        return 100 * row["wer"], f"WER {row['wer']:.3f}"
    return (row["x"], f"{row['x']:g} dB") if math.isfinite(row["x"]) else (CLEAN_POSITION, "no babble")


def write_page(curves: RobustnessCurves, out: Path) -> None:
    rows, chance = curves.table.to_pylist(), 1 / len(curves.run.label_set.classes)
    sections = []
    for key, curve in CURVES.items():
        is_of_words = curve.encoder == TEXT_UTTERANCE
        real = [row for row in rows if is_of_words and (row["curve"], row["x"]) == (INTERPOLATED, 1)]
        if own := [row for row in rows if row["curve"] == key]:
            figures = [Markup(draw_curve(key, metric, own, real, chance)) for metric in MEASURE_NAMES]
            sections.append({"key": key, "title": curve.title, "figures": figures, "lines": build_lines(own)})
    template = build_environment("moodline.experiments").get_template("robustness.html.jinja")
    recognition = next((row["recognition"] for row in rows if row["recognition"]), None)
    content = {"run": curves.run, "corpus": curves.corpus, "notes": curves.notes, "curves": sections}
    write_text(out, template.render(content, first=rows[0], recognition=recognition))


def build_lines(rows: Sequence[CurveRow]) -> list[dict[str, str]]:
    """Build the line of each part at each point of a curve."""
    by_point: dict[tuple[float, str], dict[str, CurveRow]] = {}
    for row in rows:
        by_point.setdefault((row["x"], row["part"]), {})[row["metric"]] = row
    return [
        {
            "x": f"{x:g}" if found["ua"]["wer"] is not None else "",
            "place": locate(found["ua"])[1],
            "part": STAGE_NAMES[part],
            "wa": str(build_estimate(found["wa"], "value")),
            "ua": str(build_estimate(found["ua"], "value")),
            "difference": format_difference(asdict(build_estimate(found["ua"], "difference"))),
            "change": format_difference({"value": found["ua"]["difference"], "interval": None}),
        }
        for (x, part), found in by_point.items()
    ]


def build_estimate(row: CurveRow, column: str) -> Estimate:
    """Build the estimate of a row's score in the column "value", or of its column "difference"."""
    prefix = "" if column == "value" else f"{column}_"
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    return Estimate(row[column], None if low is None else (low, high))


def print_curves(curves: RobustnessCurves) -> None:
    """Print a table for each curve: WA and UA with their intervals, and the change of UA by the corruption."""
    console, rows = create_console(), curves.table.to_pylist()
    utterances, conversations, folds = (
        format_count(rows[0][f"{noun}s"], noun) for noun in ("utterance", "conversation", "fold")
    )
    console.print(f"Protocol {rows[0]['protocol']}, {folds}: n = {utterances}, {conversations}", soft_wrap=True)
    classes = ", ".join(curves.run.label_set.classes)
    console.print(f"Classes: {classes}. In brackets: 95 % intervals over conversations.", soft_wrap=True)
    for note in curves.notes:
        console.print(f"Note: {note}.", soft_wrap=True)
    for name, curve in CURVES.items():
        if own := [row for row in rows if row["curve"] == name]:
            columns = [Column(title, no_wrap=True) for title in TERMINAL_COLUMNS.values()]
            table = Table(*columns, box=None, pad_edge=False, padding=(0, 1, 0, 0), highlight=False)
            for line in build_lines(own):
                table.add_row(*(line[key] for key in TERMINAL_COLUMNS))
            console.print(f"\n{curve.title}")
            console.print(table)
