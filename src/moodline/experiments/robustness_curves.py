"""Show robustness curves as figures on a page and as tables on a terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from moodline.config import STAGE_NAMES
from moodline.console import create_console
from moodline.errors import format_count
from moodline.evaluation.figures import BLUE, GREY, VERMILLION, open_figure, render_svg
from moodline.evaluation.report import build_environment, format_difference
from moodline.evaluation.results import Estimate
from moodline.experiments.robustness import RobustnessCurves
from moodline.experiments.robustness_plan import CURVE_NAMES, DRAWN, ENCODER_BY_CURVE, INTERPOLATED, PARTS_BY_ENCODER
from moodline.io import write_text

CurveRow = Mapping[str, Any]
MEASURE_NAMES = {"ua": "UA", "wa": "WA"}
AXIS_MARGIN = 0.02  # of the score, above and below the values
CLEAN_POSITION = 26.0  # dB, on the axis of ratios: left of all ratios, with a gap


class LineStyle(NamedTuple):
    colour: str
    marker: str
    line: str
    fill: str


# Of one modality alone, and fused: distinct in colour, marker and dashes.
STYLES = (LineStyle(BLUE, "o", "-", BLUE), LineStyle(VERMILLION, "s", "--", "white"))


def draw_curve(curve: str, metric: str, rows: Sequence[CurveRow], real: Sequence[CurveRow], chance: float) -> str:
    """Draw one measure of one curve.

    Args:
        rows: the curve's rows of all measures, with the columns of ``robustness.CURVES_SCHEMA``
        real: the rows of the point with all words recognised, drawn separately; empty for curves of speech
        chance: UA of random guessing, marked in the figure of UA
    """
    descriptions = []
    with open_figure(4.0, 3.0) as figure:
        axes = figure.subplots()
        for style, part in zip(STYLES, PARTS_BY_ENCODER[ENCODER_BY_CURVE[curve]], strict=True):
            own = sorted((row for row in rows if (row["part"], row["metric"]) == (part, metric)), key=compute_position)
            if own:
                draw_line(axes, own, style, STAGE_NAMES[part])
                descriptions.append(
                    f"{STAGE_NAMES[part]}: "
                    + ", ".join(f"{row['value']:.3f} at {describe_position(row)}" for row in own)
                )
            draw_point(axes, [row for row in real if (row["part"], row["metric"]) == (part, metric)], style)
        axes.set_ylabel(MEASURE_NAMES[metric])
        axes.set_ylim(*compute_limits([*rows, *real], chance))
        if metric == "ua":
            axes.axhline(chance, color=GREY, linewidth=0.8, linestyle="-.", label="chance")
        if curve in (INTERPOLATED, DRAWN):
            axes.set_xlabel("word error rate (%)")
            axes.set_xlim(left=-2)
        else:
            format_ratio_axis(axes, rows)
        axes.grid(axis="y")
        _, names = axes.get_legend_handles_labels()
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), borderaxespad=0.2, columnspacing=1.2
        )
        return render_svg(
            figure, f"{curve}-{metric}", f"{MEASURE_NAMES[metric]}: {CURVE_NAMES[curve]}", "; ".join(descriptions)
        )


def draw_line(axes: Axes, rows: Sequence[CurveRow], style: LineStyle, label: str) -> None:
    """Draw a line with the band of its intervals, and the point without babble beside it."""
    joined = [row for row in rows if math.isfinite(row["x"])]
    positions = [compute_position(row) for row in joined]
    axes.plot(
        positions,
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
        axes.fill_between(positions, low, high, color=style.colour, alpha=0.16, linewidth=0)
        for bound in (low, high):
            axes.plot(positions, bound, color=style.colour, linestyle=style.line, linewidth=0.5)
    draw_point(axes, [row for row in rows if not math.isfinite(row["x"])], style, "" if joined else label)


def draw_point(axes: Axes, rows: Sequence[CurveRow], style: LineStyle, label: str = "") -> None:
    """Draw single points with their intervals."""
    for row in rows:
        bounds = [[row["value"] - row["low"]], [row["high"] - row["value"]]] if row["low"] is not None else None
        axes.errorbar(
            compute_position(row),
            row["value"],
            yerr=bounds,
            color=style.colour,
            marker="D",
            markersize=6.5,
            markerfacecolor=style.fill,
            capsize=2.5,
            label=label or None,
        )


def format_ratio_axis(axes: Axes, rows: Sequence[CurveRow]) -> None:
    ratios = sorted({row["x"] for row in rows if math.isfinite(row["x"])}, reverse=True)
    axes.set_xticks(
        [CLEAN_POSITION, *ratios], ["none", *(f"{ratio:g}".replace("-", "\N{MINUS SIGN}") for ratio in ratios)]
    )
    axes.set_xlim(CLEAN_POSITION + 2, min([*ratios, CLEAN_POSITION]) - 2)
    axes.set_xlabel("babble: signal-to-noise ratio (dB)")
    axes.axvline((CLEAN_POSITION + max(ratios, default=CLEAN_POSITION)) / 2, color=GREY, linewidth=0.6, linestyle=":")


def compute_limits(rows: Sequence[CurveRow], chance: float) -> tuple[float, float]:
    """Compute the common scale of a curve's figures, which includes chance and every interval."""
    known = [row[name] for row in rows for name in ("value", "low", "high") if row[name] is not None]
    return min(chance, *known) - AXIS_MARGIN, max(chance, *known) + AXIS_MARGIN


def compute_position(row: CurveRow) -> float:
    """Compute a row's position on its axis: the measured WER in %, or the ratio in dB."""
    if row["wer"] is not None:
        return 100 * row["wer"]
    return row["x"] if math.isfinite(row["x"]) else CLEAN_POSITION


def describe_position(row: CurveRow) -> str:
    """Describe a row's position on its axis in words."""
    if row["wer"] is not None:
        return f"WER {row['wer']:.3f}"
    return f"{row['x']:g} dB" if math.isfinite(row["x"]) else "no babble"


def write_page(curves: RobustnessCurves, out: Path) -> None:
    """Write the page to ``out``."""
    rows = curves.table.to_pylist()
    present = [curve for curve in CURVE_NAMES if any(row["curve"] == curve for row in rows)]
    page = (
        build_environment("moodline.experiments")
        .get_template("robustness.html.jinja")
        .render(
            run=curves.run,
            corpus=curves.corpus,
            notes=curves.notes,
            first=rows[0],
            recognition=next((row["recognition"] for row in rows if row["recognition"]), None),
            curves=[build_curve_section(curve, rows, 1 / len(curves.run.label_set.classes)) for curve in present],
            classes=curves.run.label_set.classes,
        )
    )
    write_text(out, page)


def build_curve_section(curve: str, rows: Sequence[CurveRow], chance: float) -> dict[str, Any]:
    """Build a curve's figures and the lines of its table; ``chance`` is the UA of random guessing."""
    own = [row for row in rows if row["curve"] == curve]
    is_of_words = curve in (INTERPOLATED, DRAWN)
    real = [row for row in rows if is_of_words and (row["curve"], row["x"]) == (INTERPOLATED, 1)]
    return {
        "key": curve,
        "title": CURVE_NAMES[curve],
        "figures": [Markup(draw_curve(curve, metric, own, real, chance)) for metric in MEASURE_NAMES],
        "lines": build_lines(own),
    }


def build_lines(rows: Sequence[CurveRow]) -> list[dict[str, str]]:
    """Build the line of each part at each point of a curve."""
    by_point: dict[tuple[float, str], dict[str, CurveRow]] = {}
    for row in rows:
        by_point.setdefault((row["x"], row["part"]), {})[row["metric"]] = row
    return [
        {
            "x": f"{x:g}" if found["ua"]["wer"] is not None else "",
            "place": describe_position(found["ua"]),
            "part": STAGE_NAMES[part],
            "wa": str(build_estimate(found["wa"])),
            "ua": str(build_estimate(found["ua"])),
            "difference": format_difference(asdict(build_estimate(found["ua"], "difference"))),
            "change": format_difference({"value": found["ua"]["difference"], "interval": None}),
        }
        for (x, part), found in by_point.items()
    ]


def build_estimate(row: CurveRow, column: str = "value") -> Estimate:
    """Build the estimate of a row's score, or of its column "difference"."""
    prefix = "" if column == "value" else f"{column}_"
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    return Estimate(row[column], None if low is None else (low, high))


TERMINAL_COLUMNS = {"place": "at", "part": "part", "wa": "WA", "ua": "UA", "change": "change of UA"}


def print_curves(curves: RobustnessCurves, console: Console | None = None) -> None:
    """Print a table for each curve: WA and UA with their intervals, and the change of UA by the corruption."""
    console = console or create_console()
    rows = curves.table.to_pylist()
    first = rows[0]
    size = f"{format_count(first['utterances'], 'utterance')}, {format_count(first['conversations'], 'conversation')}"
    lines = (
        f"Protocol {first['protocol']}, {format_count(first['folds'], 'fold')}: n = {size}",
        f"Classes: {', '.join(curves.run.label_set.classes)}. In brackets: 95 % intervals over conversations.",
        *(f"Note: {note}." for note in curves.notes),
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for curve, name in CURVE_NAMES.items():
        if own := [row for row in rows if row["curve"] == curve]:
            console.print(f"\n{name}", markup=False, highlight=False)
            console.print(build_terminal_table(build_lines(own)))


def build_terminal_table(lines: list[dict[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), highlight=False)
    for title in TERMINAL_COLUMNS.values():
        table.add_column(title, no_wrap=True)
    for line in lines:
        table.add_row(*(line[key] for key in TERMINAL_COLUMNS))
    return table
