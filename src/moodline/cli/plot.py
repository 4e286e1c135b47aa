"""moodline plot: pictures of what a model learnt."""

from pathlib import Path
from typing import Any

from moodline.cli.parser import Parser

HELP = "Draw what a model learnt."
LEAF = "the LEAF front-end of a model of speech, before and after training"


def add_to(commands: Any) -> None:
    plot = Parser(prog="moodline plot", description=HELP)
    commands.add_subcommand("plot", plot, help=HELP)
    drawn = plot.add_subcommands(dest="what")
    leaf = Parser(prog="moodline plot leaf", description=f"Draw {LEAF}.")
    leaf.add_argument("model", type=Path, help="a model folder, or a run's fold")
    leaf.add_argument("--audio", type=Path, default=None, help="a recording, whose features are drawn beside log-mel")
    leaf.add_argument("--format", choices=["svg", "png"], default="svg", help="what is written")
    leaf.add_argument("-o", "--out", type=Path, required=True, help="the pictures' folder")
    drawn.add_subcommand("leaf", leaf, help=LEAF)


def run(options: Any, given: Any) -> None:
    from moodline.evaluation.leaf_pictures import plot_leaf

    chosen = options[options.what]
    for path in plot_leaf(chosen.model, chosen.out, chosen.audio, chosen.format):
        print(path)
