"""Scores as points, on their intervals where they have any: of stages, of differences, of folds, of groups."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from moodline.evaluation.figures.drawing import BLUE, GREY, INK, VERMILLION, figure_of, shorten, svg
from moodline.evaluation.spread import Group

MARKERS = {"ua": ("UA", BLUE, "o"), "wa": ("WA", VERMILLION, "s")}


def stage_figure(scores: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """UA and WA of every stage with their intervals; ``scores`` are StageScores as in results.json."""
    rows = [stage["pooled"] for stage in scores]
    return score_figure("stages", "Scores of each stage", rows, [names[stage["stage"]] for stage in scores])


def score_figure(name: str, title: str, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    """UA and WA with their intervals, a line for each row; rows have both as results.json has them."""
    with figure_of(4.0, 0.8 + 0.42 * len(rows)) as figure:
        axes = figure.subplots()
        _estimates(axes, rows, labels)
        axes.set_xlabel("score")
        return svg(figure, name, title, _told(rows, labels))


def gain_figure(differences: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Differences between stages with their intervals; ``differences`` as in results.json."""
    pairs = [(names[gain["stage"]], names[gain["minus"]]) for gain in differences]
    return difference_figure("gains", "Differences between stages", differences, pairs)


def difference_figure(
    name: str, title: str, rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]]
) -> str:
    """Differences of UA and WA with their intervals; pairs say what is above what."""
    with figure_of(4.0, 0.8 + 0.5 * len(rows)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=1)
        _estimates(axes, rows, [f"{above}\n\N{MINUS SIGN} {below}" for above, below in pairs])
        axes.set_xlabel("difference")
        return svg(figure, name, title, _told(rows, [f"{above} minus {below}" for above, below in pairs]))


def part_figure(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """One stage's UA and WA in each part of the corpus; ``parts`` as in results.json."""
    with figure_of(4.0, 0.8 + 0.42 * len(parts)) as figure:
        axes = figure.subplots()
        _estimates(axes, list(parts.values()), [shorten(part) for part in parts])
        axes.set_xlabel("score")
        return svg(figure, "parts", "Scores by part of the corpus", _told(list(parts.values()), list(parts)))


def group_figure(kind: str, groups: Sequence[Group]) -> str:
    """UA and WA of each speaker or session."""
    rows = [{m: {"value": getattr(group, m), "interval": None} for m in MARKERS} for group in groups]
    with figure_of(4.0, 0.8 + 0.26 * len(groups)) as figure:
        axes = figure.subplots()
        _estimates(axes, rows, [shorten(group.name) for group in groups])
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel("score")
        return svg(figure, f"spread-{kind}", f"Scores by {kind}", _told(rows, [group.name for group in groups]))


def fold_figure(scores: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Each stage's UA in every fold, a ring each; their mean and, to both sides of it, their standard deviation."""
    labels = [names[stage["stage"]] for stage in scores]
    with figure_of(4.0, 0.8 + 0.36 * len(scores)) as figure:
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
        _rows(axes, labels)
        axes.set_xlabel("UA")
        told = "; ".join(
            f"{label}: mean {stage['over_folds']['ua']['mean']:.3f}, standard deviation "
            f"{stage['over_folds']['ua']['deviation']:.3f}"
            for label, stage in zip(labels, scores, strict=True)
        )
        return svg(figure, "folds", "UA in each fold, by stage", told)


def _estimates(axes: Axes, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
    """One line per row, from the top: each measure a point on its interval."""
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
    _rows(axes, labels)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0.2)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _told(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    return "; ".join(
        f"{label}: UA {row['ua']['value']:.3f}, WA {row['wa']['value']:.3f}"
        for label, row in zip(labels, rows, strict=True)
    )
