"""Print scores as a table of 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from moodline.console import create_console
from moodline.errors import format_count
from moodline.evaluation.reliability import CALIBRATION_ERRORS
from moodline.evaluation.results import Scores, StageScores
from moodline.evaluation.scores import MEASURES, STAGES


def print_table(
    scores: Sequence[StageScores],
    *,
    protocol: str,
    notes: Sequence[str] = (),
    names: Mapping[str, str] = STAGES,
    console: Console | None = None,
) -> None:
    """Print every stage's scores: pooled, their mean ± standard deviation over several folds, and each part's alone."""
    console, first = console or create_console(), scores[0]
    folds = len(first.folds)
    pooled = f"pooled over {folds} folds" if folds > 1 else "1 fold"
    bracket = "In brackets: 95 % over conversations." if first.pooled.ua.interval else "One conversation: no interval."
    lines = [
        f"Protocol {protocol}, {pooled}: {_format_size(first.pooled)}",
        f"Classes: {', '.join(first.classes)}. {bracket}",
        *(f"Note: {note}." for note in notes),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False)
    table = _create_table()
    for stage in scores:
        table.add_row(names[stage.stage], *_format_cells(stage.pooled))
        if folds > 1:
            spreads = [f"{one['mean']:.3f} ± {one['deviation']:.3f}" for one in stage.over_folds.values()]
            table.add_row("  over folds", *spreads, style="dim")
    console.print(table)
    for part, size in first.parts.items():
        console.print(f"\n{part}: {_format_size(size)}", markup=False, highlight=False)
        table = _create_table()
        for stage in scores:
            table.add_row(names[stage.stage], *_format_cells(stage.parts[part]))
        console.print(table)


def print_calibration(scores: Sequence[Mapping[str, Any]], *, console: Console | None = None) -> None:
    """Print each calibrated stage's temperature, and its errors with and without it; ``scores`` as in results.json."""
    calibrated = {one["stage"]: one["calibration"] for one in scores if one["calibration"]["before"]}
    if not calibrated:
        return
    console = console or create_console()
    console.print("\nCalibration (0 is best; before: without the temperature)", markup=False, highlight=False)
    table = _create_table("temperature", "ECE", "before", "Brier", "before")
    for stage, found in calibrated.items():
        errors = [f"{one[error]:.3f}" for error in CALIBRATION_ERRORS for one in (found, found["before"])]
        table.add_row(STAGES[stage], format_temperature_range(found["temperatures"].values()), *errors)
    console.print(table)


def format_temperature_range(temperatures: Iterable[float]) -> str:
    """Format the lowest and the highest temperature of all folds; one number if they are equal."""
    found = list(temperatures)
    low, high = f"{min(found):.2f}", f"{max(found):.2f}"
    return low if low == high else f"{low}\N{EN DASH}{high}"


def _format_size(scores: Scores) -> str:
    return f"n = {format_count(scores.utterances, 'utterance')}, {format_count(scores.conversations, 'conversation')}"


def _create_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), highlight=False)
    table.add_column("stage")
    for column in columns or ("WA", "UA", "weighted F1"):
        table.add_column(column, no_wrap=True)
    return table


def _format_cells(scores: Scores) -> list[str]:
    return [str(getattr(scores, measure)) for measure in MEASURES]
