"""Draw the report's figures as SVG in one style; each has a description in words for screen readers."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from moodline.conversation import Conversation, Utterance
from moodline.io import open_atomic_file, write_text

# Okabe & Ito's colours, distinct for colour-blind readers; markers and dashes differ as well.
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
INK, LIGHT, PALE_BLUE = "#222222", "#e2e2e2", "#cfe3ef"
_MAX_NAME_LENGTH = 20
_DOTS_PER_INCH = 150
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LIGHT,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
_MEASURE_STYLES: Mapping[str, dict[str, Any]] = {
    "ua": {"label": "UA", "color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    "wa": {"label": "WA", "color": VERMILLION, "marker": "s", "markerfacecolor": "white"},
}
_ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}  # place of a legend

EpochHistory = Sequence[Mapping[str, float]]
"""An entry for each epoch: epoch, train_loss, validation_loss, validation_ua."""


@contextmanager
def open_figure(width: float, height: float) -> Iterator[Figure]:
    """Open a figure of a size in inches, in the report's style."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts have letters that the font for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield Figure(figsize=(width, height), layout="constrained")


def shorten_name(name: str) -> str:
    """Shorten a name to fit an axis."""
    return name if len(name) <= _MAX_NAME_LENGTH else name[: _MAX_NAME_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"


def write_figure(figure: Figure, path: Path, name: str, title: str, description: str) -> None:
    """Write the figure on white, as .svg (see ``render_svg``) or .png by the path's suffix."""
    if path.suffix == ".png":
        with open_atomic_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH, metadata={"Title": title, "Software": None})
    else:
        write_text(path, render_svg(figure, name, title, description, transparent=False) + "\n")


def render_svg(figure: Figure, name: str, title: str, description: str, *, transparent: bool = True) -> Markup:
    """Render the figure as SVG, with a title and a description for screen readers; ``name`` makes its ids unique.

    The XML declaration, metadata and unused ids are left out.
    """
    written = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=transparent, metadata=metadata)
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', drawing))
    drawing = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", drawing).strip()
    opening = (
        f' role="img" aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>'
    )
    return Markup(drawing.replace(">", opening, 1))


def draw_learning_curves(stage: str, name: str, folds: Sequence[EpochHistory]) -> Markup:
    """Draw a stage's losses and validation UA by epoch, a line per fold; a dot marks each fold's best epoch."""
    description = "; ".join(
        f"validation loss {epochs[0]['validation_loss']:.3f} at first, {best['validation_loss']:.3f} at its lowest, "
        f"in epoch {best['epoch']} of {len(epochs)}, where UA is {best['validation_ua']:.3f}"
        for epochs, best in ((epochs, find_best_epoch(epochs)) for epochs in folds)
    )
    with open_figure(3.3, 3.1) as figure:
        loss, accuracy = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        curves = (
            (loss, "train_loss", VERMILLION, "--"),
            (loss, "validation_loss", BLUE, "-"),
            (accuracy, "validation_ua", GREEN, "-"),
        )
        for epochs in folds:
            numbers, best = [epoch["epoch"] for epoch in epochs], find_best_epoch(epochs)
            single = "." if len(epochs) == 1 else ""
            for axes, measure, colour, line in curves:
                axes.plot(numbers, [epoch[measure] for epoch in epochs], marker=single, color=colour, linestyle=line)
                if measure != "train_loss":
                    axes.plot(best["epoch"], best[measure], "o", markersize=5.5, color=colour)
        loss.legend(loss.get_lines()[:2], ["training", "validation"], **_ABOVE)
        loss.set_ylabel("loss")
        accuracy.set(xlabel="epoch", ylabel="validation UA")
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        for axes in (loss, accuracy):
            axes.grid(axis="y")
        figure.align_ylabels()
        return render_svg(figure, f"learning-{stage}", f"Learning curves: {name}", description)


def find_best_epoch(epochs: EpochHistory) -> Mapping[str, float]:
    """Find the selected epoch: the lowest validation loss, the earliest of equals."""
    return min(epochs, key=lambda epoch: epoch["validation_loss"])


class ScoredTurn(NamedTuple):
    """Hold an utterance and its prediction, which is None if the utterance is not scored."""

    utterance: Utterance
    label: str | None = None
    predicted: str | None = None
    probability: float | None = None

    @property
    def right(self) -> bool:
        return self.label == self.predicted


class ConversationExcerpt(NamedTuple):
    """Hold a conversation's first turns; ``right`` and ``scored`` count utterances of the whole conversation."""

    conversation: Conversation
    turns: Sequence[ScoredTurn]
    right: int
    scored: int

    @property
    def timed(self) -> bool:
        return all(turn.utterance.start is not None and turn.utterance.end is not None for turn in self.turns)


_MAX_SPEAKERS = 8
_CORRECT_STYLE: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 4.5}
_ERROR_STYLE: dict[str, Any] = {"color": VERMILLION, "marker": "x", "markersize": 5.5, "markeredgewidth": 1.8}
_LABEL_STYLE: dict[str, Any] = {"facecolor": LIGHT, "edgecolor": INK, "linewidth": 0.8}


def draw_timeline(name: str, timeline: ConversationExcerpt, classes: Sequence[str]) -> Markup:
    """Draw emotions, probabilities and speakers over time, or over turns if times are unknown."""
    speakers = list(dict.fromkeys(turn.utterance.speaker for turn in timeline.turns))
    lanes = [*speakers[:_MAX_SPEAKERS], *(["others"] if len(speakers) > _MAX_SPEAKERS else [])]
    heights = (0.28 * len(classes), 0.75, 0.22 * len(lanes))
    with open_figure(4.0, 1.0 + sum(heights)) as figure:
        emotions, sureness, speech = figure.subplots(3, sharex=True, height_ratios=heights)
        for number, turn in enumerate(timeline.turns, start=1):
            start, end = number - 0.45, number + 0.45
            if timeline.timed:
                start, end = turn.utterance.start or 0.0, turn.utterance.end or 0.0
            middle, style = (start + end) / 2, _CORRECT_STYLE if turn.right else _ERROR_STYLE
            if turn.label is not None and turn.predicted is not None:
                label, predicted = classes.index(turn.label), classes.index(turn.predicted)
                emotions.barh(label, end - start, left=start, height=0.5, **_LABEL_STYLE)
                if not turn.right:
                    emotions.plot([middle] * 2, [label, predicted], color=VERMILLION, linewidth=0.8, linestyle=":")
                emotions.plot(middle, predicted, **style)
            if turn.probability is not None:
                sureness.plot([middle] * 2, [0, turn.probability], color=LIGHT, linewidth=1)
                sureness.plot(middle, turn.probability, **style)
            lane = min(speakers.index(turn.utterance.speaker), len(lanes) - 1)
            fill = GREY if turn.label is not None else "white"
            speech.barh(lane, end - start, left=start, height=0.6, color=fill, edgecolor=GREY, linewidth=0.8)
        for axes, names in ((emotions, classes), (speech, lanes)):
            _name_rows(axes, [shorten_name(one) for one in names], grid="y")
        sureness.set(ylim=(0, 1.08), yticks=[0, 0.5, 1], ylabel="probability")
        sureness.grid(axis="y")
        speech.set_xlabel("seconds" if timeline.timed else "turn")
        handles = [
            Patch(**_LABEL_STYLE, label="label"),
            Line2D([], [], linestyle="none", label="predicted, right", **_CORRECT_STYLE),
            Line2D([], [], linestyle="none", label="predicted, wrong", **_ERROR_STYLE),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.0, handletextpad=0.3)
        description = (
            f"{timeline.right} of {timeline.scored} scored utterances are right; the table below the figure lists each "
            "turn's time, speaker, label, predicted class and probability"
        )
        return render_svg(figure, f"timeline-{name}", f"Conversation {timeline.conversation.id}", description)


def draw_scores(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    *,
    ticks: Sequence[str] | None = None,
    axis: str = "score",
    bounds: tuple[float, float] | None = None,
    row_height: float = 0.42,
) -> Markup:
    """Draw UA and WA with their intervals, one row each, from the top; ``rows`` have both as in results.json.

    ``ticks`` are shorter labels, ``axis`` and ``bounds`` those of the values, and ``row_height`` is in inches.
    """
    with open_figure(4.0, 0.8 + row_height * len(rows)) as figure:
        axes = figure.subplots()
        if axis == "difference":
            axes.axvline(0, color=GREY, linewidth=1)
        for offset, (measure, style) in zip((-0.13, 0.13), _MEASURE_STYLES.items(), strict=True):
            positions = [position + offset for position in range(len(rows))]
            for position, row in zip(positions, rows, strict=True):
                if interval := row[measure]["interval"]:
                    axes.plot(interval, [position] * 2, color=style["color"], solid_capstyle="butt")
            axes.plot([row[measure]["value"] for row in rows], positions, markersize=5, linestyle="none", **style)
        _name_rows(axes, ticks or labels)
        axes.set(xlabel=axis, xlim=bounds)
        axes.legend(**_ABOVE, borderaxespad=0.2)
        pairs = zip(labels, rows, strict=True)
        described = (f"{label}: UA {row['ua']['value']:.3f}, WA {row['wa']['value']:.3f}" for label, row in pairs)
        return render_svg(figure, name, title, "; ".join(described))


def draw_differences(
    name: str, title: str, rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]]
) -> Markup:
    """Draw differences of UA and WA with their intervals; each pair names minuend and subtrahend."""
    ticks = [f"{above}\n\N{MINUS SIGN} {below}" for above, below in pairs]
    labels = [f"{above} minus {below}" for above, below in pairs]
    return draw_scores(name, title, rows, labels, ticks=ticks, axis="difference", row_height=0.5)


def draw_folds(scores: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Markup:
    """Draw each stage's UA in every fold, with mean and standard deviation; ``scores`` as in results.json."""
    descriptions = []
    with open_figure(4.0, 0.8 + 0.36 * len(scores)) as figure:
        axes = figure.subplots()
        for position, stage in enumerate(scores):
            values = [fold["ua"]["value"] for fold in stage["folds"].values()]
            mean, deviation = stage["over_folds"]["ua"]["mean"], stage["over_folds"]["ua"]["deviation"]
            style: dict[str, Any] = {"color": INK, "marker": "|", "markersize": 9, "capsize": 3}
            axes.errorbar(mean, position + 0.16, xerr=deviation, **style)
            axes.plot(values, [position - 0.12] * len(values), "o", color=BLUE, fillstyle="none")
            descriptions.append(f"{names[stage['stage']]}: mean {mean:.3f}, standard deviation {deviation:.3f}")
        _name_rows(axes, [names[stage["stage"]] for stage in scores])
        axes.set_xlabel("UA")
        return render_svg(figure, "folds", "UA in each fold, by stage", "; ".join(descriptions))


def _name_rows(axes: Axes, names: Sequence[str], *, grid: Any = "x") -> None:
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis=grid)


def draw_coverage(points: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw scores with 95 % bands and thresholds by coverage; ``points`` as in results.json."""
    shares = [point["coverage"] for point in points]
    description = "; ".join(
        f"threshold {one['threshold']:.3f}: {100 * one['coverage']:.0f} % answered, UA {one['ua']['value']:.3f}, "
        f"WA {one['wa']['value']:.3f}"
        for one in points
    )
    with open_figure(4.0, 3.4) as figure:
        axes, thresholds = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        for measure, style in _MEASURE_STYLES.items():
            bands = [(point["coverage"], *point[measure]["interval"]) for point in points if point[measure]["interval"]]
            axes.fill_between(*np.reshape(bands, (-1, 3)).T, color=style["color"], alpha=0.15, linewidth=0)
            axes.plot(shares, [point[measure]["value"] for point in points], markersize=4, **style)
        axes.set_ylabel("score of the answered")
        axes.legend(**_ABOVE, borderaxespad=0.2)
        thresholds.plot(shares, [point["threshold"] for point in points], color=INK, marker=".", markersize=4)
        thresholds.set(ylim=(0, 1.05), ylabel="threshold", xlabel="share answered")
        thresholds.set_xlim(1.03, 0)  # coverage falls to the right
        for each in (axes, thresholds):
            each.grid()
        figure.align_ylabels()
        return render_svg(figure, "coverage", "Scores by the share of answered utterances", description)


def draw_reliability(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw accuracy by top probability in each bin, and the bins' sizes below; ``bins`` as in results.json."""
    centres = [(one["low"] + one["high"]) / 2 for one in bins]
    filled = [one for one in bins if one["utterances"]]
    means, accuracies = ([one[key] for one in filled] for key in ("confidence", "accuracy"))
    description = "; ".join(
        f"mean probability {one['confidence']:.2f}: {one['accuracy']:.2f} right of {one['utterances']} utterances"
        for one in filled
    )
    with open_figure(4.0, 4.2) as figure:
        shares, counts = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        shares.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="equal")
        bar_style: dict[str, Any] = {"color": PALE_BLUE, "edgecolor": BLUE, "linewidth": 0.8, "label": "share right"}
        shares.bar([(one["low"] + one["high"]) / 2 for one in filled], accuracies, width=1 / len(bins), **bar_style)
        for mean, accuracy in zip(means, accuracies, strict=True):
            shares.plot([mean] * 2, [accuracy, mean], color=VERMILLION, linewidth=1.2)
        shares.plot(means, accuracies, "D", color=VERMILLION, markersize=4.5, label="at mean probability")
        shares.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share right")
        wide = {"bbox_to_anchor": (0.45, 1.0), "ncols": 3, "columnspacing": 1.0, "borderaxespad": 0.2}
        shares.legend(**(_ABOVE | wide))
        counts.bar(centres, [one["utterances"] for one in bins], width=1 / len(bins), color=GREY, edgecolor=INK)
        counts.set(ylabel="utterances", xlabel="probability of the predicted class")
        for axes in (shares, counts):
            axes.grid(axis="y")
        figure.align_ylabels()
        return render_svg(figure, "reliability", "Reliability diagram", description)
