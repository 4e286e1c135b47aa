"""Draw figures as SVG in one style; learning curves and conversations over time."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from moodline.evaluation.examples import ConversationExcerpt, ScoredTurn
from moodline.io import open_atomic_file, write_text

# Okabe & Ito's colours, distinct for colour-blind readers; markers and dashes differ as well.
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
INK, LIGHT = "#222222", "#e2e2e2"
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


def render_svg(figure: Figure, name: str, title: str, description: str, *, transparent: bool = True) -> str:
    """Render the figure as SVG, with a title and a description for screen readers; ``name`` makes its ids unique.

    The XML declaration, metadata and unused ids are left out.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            written,
            format="svg",
            transparent=transparent,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', drawing))
    drawing = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", drawing).strip()
    opening = (
        f' role="img" aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>'
    )
    return drawing.replace(">", opening, 1)


EpochHistory = Sequence[Mapping[str, float]]


def draw_learning_curves(stage: str, name: str, folds: Sequence[EpochHistory]) -> str:
    """Draw one stage's losses and validation UA by epoch, a line per fold; a dot marks each fold's best epoch.

    Args:
        stage: the stage's key
        name: its name for people
    """
    with open_figure(3.3, 3.1) as figure:
        loss, accuracy = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        for epochs in folds:
            best = find_best_epoch(epochs)
            _draw_curve(loss, epochs, "train_loss", color=VERMILLION, linestyle="--")
            _draw_curve(loss, epochs, "validation_loss", color=BLUE)
            _draw_curve(accuracy, epochs, "validation_ua", color=GREEN)
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
        return render_svg(figure, f"learning-{stage}", f"Learning curves: {name}", _describe_learning(folds))


def find_best_epoch(epochs: EpochHistory) -> Mapping[str, float]:
    """Find the selected epoch: the lowest validation loss, the earliest of equals."""
    return min(epochs, key=lambda epoch: epoch["validation_loss"])


def _draw_curve(axes: Axes, epochs: EpochHistory, measure: str, **style: Any) -> None:
    # A single epoch is drawn as a point.
    axes.plot(
        [epoch["epoch"] for epoch in epochs],
        [epoch[measure] for epoch in epochs],
        marker="." if len(epochs) == 1 else "",
        **style,
    )


def _describe_learning(folds: Sequence[EpochHistory]) -> str:
    return "; ".join(
        f"validation loss {epochs[0]['validation_loss']:.3f} at first, {best['validation_loss']:.3f} at its lowest, "
        f"in epoch {best['epoch']} of {len(epochs)}, where UA is {best['validation_ua']:.3f}"
        for epochs, best in ((epochs, find_best_epoch(epochs)) for epochs in folds)
    )


_MAX_SPEAKERS = 8
_CORRECT_STYLE: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 4.5}
_ERROR_STYLE: dict[str, Any] = {"color": VERMILLION, "marker": "x", "markersize": 5.5, "markeredgewidth": 1.8}
_LABEL_STYLE: dict[str, Any] = {"facecolor": LIGHT, "edgecolor": INK, "linewidth": 0.8}


def draw_timeline(name: str, timeline: ConversationExcerpt, classes: Sequence[str]) -> str:
    """Draw emotions, probabilities and speakers over time, or over turns if times are unknown."""
    speakers = list(dict.fromkeys(turn.utterance.speaker for turn in timeline.turns))
    lanes = [*speakers[:_MAX_SPEAKERS], *(["others"] if len(speakers) > _MAX_SPEAKERS else [])]
    heights = (0.28 * len(classes), 0.75, 0.22 * len(lanes))
    with open_figure(4.0, 1.0 + sum(heights)) as figure:
        emotions, sureness, speech = figure.subplots(3, sharex=True, height_ratios=heights)
        for turn, (start, end) in zip(timeline.turns, _compute_spans(timeline), strict=True):
            _draw_emotion(emotions, turn, start, end, classes)
            _draw_probability(sureness, turn, start, end)
            lane = min(speakers.index(turn.utterance.speaker), len(lanes) - 1)
            speech.barh(
                lane,
                end - start,
                left=start,
                height=0.6,
                color=GREY if turn.label is not None else "white",
                edgecolor=GREY,
                linewidth=0.8,
            )
        _draw_lanes(emotions, classes)
        _draw_lanes(speech, lanes)
        sureness.set_ylim(0, 1.08)
        sureness.set_yticks([0, 0.5, 1])
        sureness.set_ylabel("probability")
        sureness.grid(axis="y")
        speech.set_xlabel("seconds" if timeline.timed else "turn")
        emotions.legend(
            handles=[
                Patch(**_LABEL_STYLE, label="label"),
                Line2D([], [], linestyle="none", label="predicted, right", **_CORRECT_STYLE),
                Line2D([], [], linestyle="none", label="predicted, wrong", **_ERROR_STYLE),
            ],
            loc="lower center",
            bbox_to_anchor=(0.45, 1.0),
            ncols=3,
            columnspacing=1.0,
            handletextpad=0.3,
            borderaxespad=0.2,
        )
        return render_svg(
            figure, f"timeline-{name}", f"Conversation {timeline.conversation.id}", _describe_timeline(timeline)
        )


def _compute_spans(timeline: ConversationExcerpt) -> list[tuple[float, float]]:
    """Compute start and end of each turn, in seconds or in turns."""
    if timeline.timed:
        return [(turn.utterance.start or 0.0, turn.utterance.end or 0.0) for turn in timeline.turns]
    return [(number - 0.45, number + 0.45) for number in range(1, len(timeline.turns) + 1)]


def _draw_emotion(axes: Axes, turn: ScoredTurn, start: float, end: float, classes: Sequence[str]) -> None:
    if turn.label is None or turn.predicted is None:
        return
    label, predicted, middle = classes.index(turn.label), classes.index(turn.predicted), (start + end) / 2
    axes.barh(label, end - start, left=start, height=0.5, **_LABEL_STYLE)
    if not turn.right:
        axes.plot([middle, middle], [label, predicted], color=VERMILLION, linewidth=0.8, linestyle=":")
    axes.plot(middle, predicted, **_choose_style(turn))


def _draw_probability(axes: Axes, turn: ScoredTurn, start: float, end: float) -> None:
    if turn.probability is not None:
        middle = (start + end) / 2
        axes.plot([middle, middle], [0, turn.probability], color=LIGHT, linewidth=1)
        axes.plot(middle, turn.probability, **_choose_style(turn))


def _choose_style(turn: ScoredTurn) -> dict[str, Any]:
    return _CORRECT_STYLE if turn.right else _ERROR_STYLE


def _draw_lanes(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [shorten_name(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y")


def _describe_timeline(timeline: ConversationExcerpt) -> str:
    return (
        f"{timeline.right} of {timeline.scored} scored utterances are right; the table below the figure lists each "
        "turn's time, speaker, label, predicted class and probability"
    )
