"""moodline robustness: how a run's scores fall as words and speech get worse."""

from pathlib import Path
from typing import Any

from moodline.cli import embeddings
from moodline.cli.interruption import going_on
from moodline.cli.parser import Parser
from moodline.cli.progress import show

HELP = "Draw how a run's scores fall as words are misheard, and speech is in babble or on a telephone."


def add_to(commands: Any) -> None:
    robustness = Parser(prog="moodline robustness", description=HELP)
    robustness.add_argument("run", type=Path, help="a run's folder")
    embeddings.add_to(robustness)
    commands.add_subcommand("robustness", robustness, help=HELP)


@going_on()
def run(options: Any, given: Any) -> None:
    from moodline.reproduction.robustness.draw import draw
    from moodline.reproduction.robustness.report import write_page
    from moodline.reproduction.robustness.table import print_curves
    from moodline.training.score_files import CURVES_REPORT_FILE

    curves = draw(options.run, show, embeddings.chosen(options))
    write_page(curves, options.run / CURVES_REPORT_FILE)
    print_curves(curves)
    print(f"report: {options.run / CURVES_REPORT_FILE}")
