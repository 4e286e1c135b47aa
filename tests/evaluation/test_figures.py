from dataclasses import replace

import pytest

from moodline.evaluation.figures.drawing import figure_of, shorten, svg
from moodline.evaluation.figures.learning import best_epoch, learning_figure
from moodline.evaluation.figures.timeline import timeline_figure
from moodline.evaluation.timelines import timelines
from tests.made_up import CLASSES, epochs, made_up


def test_best_epoch_is_that_of_the_lowest_validation_loss():
    losses = [{"epoch": epoch, "validation_loss": loss} for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.0), (4, 3.0))]
    assert best_epoch(losses)["epoch"] == 2


def test_figures_are_the_same_each_time():
    folds = [epochs(), epochs()]
    assert learning_figure("fusion", "both", folds) == learning_figure("fusion", "both", folds)


def test_what_a_figure_says_is_escaped():
    with figure_of(1, 1) as figure:
        figure.subplots()
        drawing = svg(figure, "one", "a <b>", 'c & "d"')
    assert '<title id="one-title">a &lt;b&gt;</title>' in drawing
    assert "c &amp; &quot;d&quot;" in drawing
    assert drawing.startswith("<svg ")
    assert drawing.count('role="img"') == 1


def test_long_names_are_shortened_and_short_ones_are_not():
    assert shorten("neutral") == "neutral"
    assert len(shorten("a" * 100)) == 20
    assert shorten("a" * 100).endswith("\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.filterwarnings("error")
def test_any_name_can_stand_in_a_figure():
    """A dollar is no formula, and a letter that the measuring font lacks is no warning."""
    _, _, predictions, conversations = made_up(("fusion",), speakers=("$\\frac", "\N{CJK UNIFIED IDEOGRAPH-4E2D}"))
    drawing = timeline_figure("1", timelines(predictions, conversations, 40)[0], CLASSES)
    assert "$\\frac" in drawing
    assert "\N{CJK UNIFIED IDEOGRAPH-4E2D}" in drawing


@pytest.mark.parametrize("speakers", [8, 9])
def test_lanes_of_many_speakers_are_folded(speakers):
    _, _, predictions, (conversation,) = made_up(("fusion",), talks=1, folds=1)
    crowd = tuple(
        replace(turn, speaker=f"speaker{number % speakers}") for number, turn in enumerate(conversation.utterances)
    )
    (timeline,) = timelines(predictions, [replace(conversation, utterances=crowd)], 40)
    drawing = timeline_figure("1", timeline, CLASSES)
    assert drawing.count(">speaker") == 8
    assert (">others</text>" in drawing) == (speakers > 8)
