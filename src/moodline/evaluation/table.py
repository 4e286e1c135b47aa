"""Scores as a table on the terminal, in 80 columns, on a screen or in a file."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from moodline.evaluation.results import Spread, StageScores
from moodline.evaluation.scores import STAGES


def print_table(scores: Sequence[StageScores], *, protocol: str, console: Console | None = None) -> None:
    """Print every stage's pooled scores, and below each its mean ± standard deviation where there are several folds."""
    console = console or Console()
    console.print(_heading(scores, protocol), markup=False, highlight=False)
    console.print(_table(scores))


def _heading(scores: Sequence[StageScores], protocol: str) -> str:
    first = scores[0]
    folds = len(first.folds)
    pooled = f"pooled over {folds} folds" if folds > 1 else "1 fold"
    return (
        f"Protocol {protocol}, {pooled}: n = {first.pooled.utterances:,} utterances, "
        f"{first.pooled.conversations:,} conversations\n"
        f"Classes: {', '.join(first.classes)}. "
        + ("In brackets: 95 % over conversations." if first.pooled.ua.interval else "One conversation: no interval.")
    )


def _table(scores: Sequence[StageScores]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), highlight=False)
    table.add_column("stage", no_wrap=True)
    for measure in ("WA", "UA", "weighted F1"):
        table.add_column(measure, no_wrap=True)
    for stage in scores:
        pooled, spread = stage.pooled, stage.over_folds
        name = STAGES[stage.stage]
        table.add_row(name, *map(str, (pooled.wa, pooled.ua, pooled.weighted_f1)))
        if len(stage.folds) > 1:
            table.add_row("  over folds", *map(_mean, (spread.wa, spread.ua, spread.weighted_f1)), style="dim")
    return table


def _mean(spread: Spread) -> str:
    return f"{spread.mean:.3f} ± {spread.deviation:.3f}"
