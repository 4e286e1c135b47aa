"""A conversation as time goes by: what was felt, what was predicted and how surely, who spoke."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moodline.evaluation.figures.drawing import BLUE, GREY, INK, LIGHT, VERMILLION, figure_of, shorten, svg
from moodline.evaluation.timelines import Timeline, Turn

_MOST_SPEAKERS = 8
_RIGHT: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 4.5}
_WRONG: dict[str, Any] = {"color": VERMILLION, "marker": "x", "markersize": 5.5, "markeredgewidth": 1.8}
_LABEL: dict[str, Any] = {"facecolor": LIGHT, "edgecolor": INK, "linewidth": 0.8}


def timeline_figure(name: str, timeline: Timeline, classes: Sequence[str]) -> str:
    """Three strips over one axis of time, or of turns where times are not known."""
    speakers = list(dict.fromkeys(turn.utterance.speaker for turn in timeline.turns))
    lanes = [*speakers[:_MOST_SPEAKERS], *(["others"] if len(speakers) > _MOST_SPEAKERS else [])]
    heights = (0.28 * len(classes), 0.75, 0.22 * len(lanes))
    with figure_of(4.0, 1.0 + sum(heights)) as figure:
        emotions, sureness, speech = figure.subplots(3, sharex=True, height_ratios=heights)
        for turn, (start, end) in zip(timeline.turns, _spans(timeline), strict=True):
            _emotion(emotions, turn, start, end, classes)
            _sureness(sureness, turn, start, end)
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
        _lanes(emotions, classes)
        _lanes(speech, lanes)
        sureness.set_ylim(0, 1.08)
        sureness.set_yticks([0, 0.5, 1])
        sureness.set_ylabel("probability")
        sureness.grid(axis="y")
        speech.set_xlabel("seconds" if timeline.timed else "turn")
        emotions.legend(
            handles=[
                Patch(**_LABEL, label="label"),
                Line2D([], [], linestyle="none", label="predicted, right", **_RIGHT),
                Line2D([], [], linestyle="none", label="predicted, wrong", **_WRONG),
            ],
            loc="lower center",
            bbox_to_anchor=(0.45, 1.0),
            ncols=3,
            columnspacing=1.0,
            handletextpad=0.3,
            borderaxespad=0.2,
        )
        return svg(figure, f"timeline-{name}", f"Conversation {timeline.conversation.id}", _told(timeline))


def _spans(timeline: Timeline) -> list[tuple[float, float]]:
    """When each turn begins and ends, in seconds, or one after another."""
    if timeline.timed:
        return [(turn.utterance.start or 0.0, turn.utterance.end or 0.0) for turn in timeline.turns]
    return [(number - 0.45, number + 0.45) for number in range(1, len(timeline.turns) + 1)]


def _emotion(axes: Axes, turn: Turn, start: float, end: float, classes: Sequence[str]) -> None:
    if turn.label is None or turn.predicted is None:
        return
    label, predicted, middle = classes.index(turn.label), classes.index(turn.predicted), (start + end) / 2
    axes.barh(label, end - start, left=start, height=0.5, **_LABEL)
    if not turn.right:
        axes.plot([middle, middle], [label, predicted], color=VERMILLION, linewidth=0.8, linestyle=":")
    axes.plot(middle, predicted, **_style(turn))


def _sureness(axes: Axes, turn: Turn, start: float, end: float) -> None:
    if turn.probability is not None:
        middle = (start + end) / 2
        axes.plot([middle, middle], [0, turn.probability], color=LIGHT, linewidth=1)
        axes.plot(middle, turn.probability, **_style(turn))


def _style(turn: Turn) -> dict[str, Any]:
    return _RIGHT if turn.right else _WRONG


def _lanes(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y")


def _told(timeline: Timeline) -> str:
    return (
        f"{timeline.right} of {timeline.scored} scored utterances are right; the table below the figure tells of each "
        "turn when it was, who spoke, its label, the predicted class and its probability"
    )
