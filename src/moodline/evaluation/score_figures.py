"""Draw scores: estimates with intervals, coverage, reliability."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from moodline.evaluation.examples import GroupScores
from moodline.evaluation.figures import BLUE, GREY, INK, VERMILLION, open_figure, render_svg, shorten_name

MARKERS = {"ua": ("UA", BLUE, "o"), "wa": ("WA", VERMILLION, "s")}


def draw_stages(scores: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Draw UA and WA of every stage with their intervals; ``scores`` are StageScores as in results.json."""
    rows = [stage["pooled"] for stage in scores]
    return draw_scores("stages", "Scores of each stage", rows, [names[stage["stage"]] for stage in scores])


def draw_scores(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    *,
    ticks: Sequence[str] | None = None,
    row_height: float = 0.42,
    bounds: tuple[float, float] | None = None,
) -> str:
    """Draw UA and WA with their intervals, one row each.

    Args:
        rows: each with both measures as in results.json
        labels: the rows' names
        ticks: shorter names for the axis
        row_height: in inches
        bounds: of the axis of scores; None fits it to the rows
    """
    with open_figure(4.0, 0.8 + row_height * len(rows)) as figure:
        axes = figure.subplots()
        _draw_estimates(axes, rows, ticks or labels)
        if bounds is not None:
            axes.set_xlim(*bounds)
        axes.set_xlabel("score")
        return render_svg(figure, name, title, _describe_estimates(rows, labels))


def draw_gains(differences: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Draw differences between stages with their intervals; ``differences`` as in results.json."""
    pairs = [(names[gain["stage"]], names[gain["minus"]]) for gain in differences]
    return draw_differences("gains", "Differences between stages", differences, pairs)


def draw_differences(name: str, title: str, rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]]) -> str:
    """Draw differences of UA and WA with their intervals; each pair names minuend and subtrahend."""
    with open_figure(4.0, 0.8 + 0.5 * len(rows)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=1)
        _draw_estimates(axes, rows, [f"{above}\n\N{MINUS SIGN} {below}" for above, below in pairs])
        axes.set_xlabel("difference")
        return render_svg(
            figure, name, title, _describe_estimates(rows, [f"{above} minus {below}" for above, below in pairs])
        )


def draw_parts(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw one stage's UA and WA in each part of the corpus; ``parts`` as in results.json."""
    ticks = [shorten_name(part) for part in parts]
    return draw_scores("parts", "Scores by part of the corpus", list(parts.values()), list(parts), ticks=ticks)


def draw_groups(kind: str, groups: Sequence[GroupScores]) -> str:
    """Draw UA and WA of each speaker or session."""
    rows = [{m: {"value": getattr(group, m), "interval": None} for m in MARKERS} for group in groups]
    return draw_scores(
        f"spread-{kind}",
        f"Scores by {kind}",
        rows,
        [group.name for group in groups],
        ticks=[shorten_name(group.name) for group in groups],
        row_height=0.26,
        bounds=(-0.03, 1.03),
    )


def draw_folds(scores: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Draw each stage's UA in every fold, with mean and standard deviation."""
    labels = [names[stage["stage"]] for stage in scores]
    with open_figure(4.0, 0.8 + 0.36 * len(scores)) as figure:
        axes = figure.subplots()
        for position, stage in enumerate(scores):
            values = [fold["ua"]["value"] for fold in stage["folds"].values()]
            spread = stage["over_folds"]["ua"]
            axes.errorbar(
                spread["mean"],
                position + 0.16,
                xerr=spread["deviation"],
                color=INK,
                marker="|",
                markersize=9,
                capsize=3,
            )
            axes.plot(
                values, [position - 0.12] * len(values), color=BLUE, marker="o", fillstyle="none", linestyle="none"
            )
        _label_rows(axes, labels)
        axes.set_xlabel("UA")
        description = "; ".join(
            f"{label}: mean {stage['over_folds']['ua']['mean']:.3f}, standard deviation "
            f"{stage['over_folds']['ua']['deviation']:.3f}"
            for label, stage in zip(labels, scores, strict=True)
        )
        return render_svg(figure, "folds", "UA in each fold, by stage", description)


def _draw_estimates(axes: Axes, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
    """Draw rows from the top: each measure is a point on its interval."""
    for offset, (measure, (name, colour, marker)) in zip((-0.13, 0.13), MARKERS.items(), strict=True):
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
    _label_rows(axes, labels)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0.2)


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _describe_estimates(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    return "; ".join(
        f"{label}: UA {row['ua']['value']:.3f}, WA {row['wa']['value']:.3f}"
        for label, row in zip(labels, rows, strict=True)
    )


def draw_coverage(coverage: Mapping[str, Any]) -> str:
    """Draw scores with 95 % bands and thresholds by coverage; ``coverage`` as in results.json."""
    points = coverage["points"]
    shares = [point["coverage"] for point in points]
    with open_figure(4.0, 3.4) as figure:
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
        thresholds.set_xlim(1.03, 0)  # coverage falls to the right
        for each in (axes, thresholds):
            each.grid()
        figure.align_ylabels()
        return render_svg(figure, "coverage", "Scores by the share of answered utterances", _describe_coverage(points))


def _describe_coverage(points: list[Mapping[str, Any]]) -> str:
    return "; ".join(
        f"threshold {point['threshold']:.3f}: {100 * point['coverage']:.0f} % answered, UA {point['ua']['value']:.3f}, "
        f"WA {point['wa']['value']:.3f}"
        for point in points
    )


def draw_reliability(calibration: Mapping[str, Any]) -> str:
    """Draw accuracy by top probability in each bin, and the bins' sizes below.

    ``calibration`` is a stage's, as in results.json.
    """
    filled = [one for one in calibration["bins"] if one["utterances"]]
    centres = [(one["low"] + one["high"]) / 2 for one in calibration["bins"]]
    width = 1 / len(centres)
    with open_figure(4.0, 4.2) as figure:
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
        return render_svg(figure, "reliability", "Reliability diagram", _describe_reliability(filled))


def _describe_reliability(filled: list[Mapping[str, Any]]) -> str:
    return "; ".join(
        f"mean probability {one['confidence']:.2f}: {one['accuracy']:.2f} right of {one['utterances']} utterances"
        for one in filled
    )
