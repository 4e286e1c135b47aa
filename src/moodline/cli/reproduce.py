"""moodline reproduce: every table of the paper, from anyone's copy of the corpus."""

from pathlib import Path
from typing import Any

from moodline.cli.interruption import going_on
from moodline.cli.train import TrainParser, chosen_recipe
from moodline.config import Recipe
from moodline.errors import MoodlineError

HELP = "Train and score every system of the paper's tables, into one ledger."


def add_to(commands: Any) -> None:
    reproduce = TrainParser(prog="moodline reproduce", description=HELP)
    reproduce.add_argument("corpus", type=Path, help="a corpus folder")
    reproduce.add_argument("-o", "--out", type=Path, required=True, help="the ledger's folder")
    reproduce.add_argument("--recipe", default="iemocap", help="a YAML file, or the name of one of moodline's")
    reproduce.add_argument("--tables", default="1,2,3,4,baselines,released", help="which, as 1,3,baselines")
    reproduce.add_argument("--protocols", default="session5,cv5,cv10", help="Tables 3 and 4: all; others: the first")
    reproduce.add_argument("--fold", type=str, default=None, help="train this fold of each protocol alone")
    reproduce.add_argument("--sizes", default="50,100,200", help="of the utterance embedding, in Table 1")
    reproduce.add_argument("--seeds", type=int, default=5, help="how many, from the recipe's on")
    reproduce.add_argument("--jobs", type=int, default=1, help="folds and seeds side by side")
    reproduce.add_argument("--dry-run", action="store_true", help="print the plan, and stop")
    reproduce.add_class_arguments(Recipe)
    commands.add_subcommand("reproduce", reproduce, help=HELP)


@going_on()
def run(options: Any, given: Any) -> None:
    recipe, _ = chosen_recipe(options.recipe, given)
    for name in ("seeds", "jobs"):
        if options[name] < 1:
            raise MoodlineError(f"--{name} is 1 or more, not {options[name]}")
    from rich.console import Console

    from moodline.reproduction.reproduce import Request, reproduce

    request = Request(
        tables=names(options.tables, "--tables"),
        protocols=names(options.protocols, "--protocols"),
        sizes=numbers(options.sizes, "--sizes"),
        seeds=options.seeds,
        fold=options.fold,
        jobs=options.jobs,
    )
    reproduce(options.corpus, recipe, options.out, request, Console(), dry=options.dry_run)


def names(text: str, option: str) -> list[str]:
    """Names, as 1,baselines.

    Raises:
        MoodlineError: there is none
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise MoodlineError(f"{option} takes names with commas between: there is none in {text!r}")
    return found


def numbers(text: str, option: str) -> list[int]:
    """Whole numbers above zero, as 1,3.

    Raises:
        MoodlineError: it is something else
    """
    try:
        found = [int(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise MoodlineError(f"{option} takes whole numbers with commas between, as 1,3: not {text!r}")
    return found
