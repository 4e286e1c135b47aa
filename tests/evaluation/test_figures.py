from dataclasses import replace

import pytest

from moodline.evaluation.figures import (
    draw_learning_curves,
    draw_timeline,
    find_best_epoch,
    open_figure,
    render_svg,
    shorten_name,
)
from moodline.evaluation.report import build_excerpts
from tests.made_up import CLASSES, epochs, made_up


def test_best_epoch_is_that_of_the_lowest_validation_loss():
    losses = [{"epoch": epoch, "validation_loss": loss} for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.0), (4, 3.0))]
    assert find_best_epoch(losses)["epoch"] == 2


def test_figures_are_the_same_each_time():
    folds = [epochs(), epochs()]
    assert draw_learning_curves("fusion", "both", folds) == draw_learning_curves("fusion", "both", folds)


def test_what_a_figure_says_is_escaped():
    with open_figure(1, 1) as figure:
        figure.subplots()
        drawing = render_svg(figure, "one", "a <b>", 'c & "d"')
    assert '<title id="one-title">a &lt;b&gt;</title>' in drawing
    assert "c &amp; &quot;d&quot;" in drawing
    assert drawing.startswith("<svg ")
    assert drawing.count('role="img"') == 1


def test_long_names_are_shortened_and_short_ones_are_not():
    assert shorten_name("neutral") == "neutral"
    assert len(shorten_name("a" * 100)) == 20
    assert shorten_name("a" * 100).endswith("\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.filterwarnings("error")
def test_any_name_can_stand_in_a_figure():
    """A dollar is no formula, and a letter that the measuring font lacks is no warning."""
    _, _, predictions, conversations = made_up(("fusion",), speakers=("$\\frac", "\N{CJK UNIFIED IDEOGRAPH-4E2D}"))
    drawing = draw_timeline("1", build_excerpts(predictions, conversations, 40)[0], CLASSES)
    assert "$\\frac" in drawing
    assert "\N{CJK UNIFIED IDEOGRAPH-4E2D}" in drawing


@pytest.mark.parametrize("speakers", [8, 9])
def test_lanes_of_many_speakers_are_folded(speakers):
    _, _, predictions, (conversation,) = made_up(("fusion",), talks=1, folds=1)
    crowd = tuple(
        replace(turn, speaker=f"speaker{number % speakers}") for number, turn in enumerate(conversation.utterances)
    )
    (timeline,) = build_excerpts(predictions, [replace(conversation, utterances=crowd)], 40)
    drawing = draw_timeline("1", timeline, CLASSES)
    assert drawing.count(">speaker") == 8
    assert (">others</text>" in drawing) == (speakers > 8)
