"""Print scores as a table of 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from moodline.console import create_console
from moodline.errors import format_count
from moodline.evaluation.results import FoldStatistic, Scores, StageScores
from moodline.evaluation.scores import STAGES

MEASURES = ("WA", "UA", "weighted F1")


def print_table(
    scores: Sequence[StageScores],
    *,
    protocol: str,
    notes: Sequence[str] = (),
    names: Mapping[str, str] = STAGES,
    console: Console | None = None,
) -> None:
    """Print every stage's scores: pooled, their mean ± standard deviation over several folds, and each part's alone.

    Args:
        names: stage names for people
    """
    console = console or create_console()
    for line in (*_build_heading(scores, protocol), *(f"Note: {note}." for note in notes)):
        console.print(line, markup=False, highlight=False)
    console.print(_build_table(scores, names))
    for part, first in scores[0].parts.items():
        console.print(f"\n{part}: {_format_size(first)}", markup=False, highlight=False)
        console.print(_build_part_table({stage.stage: stage.parts[part] for stage in scores}, names))


def print_calibration(
    scores: Sequence[Mapping[str, Any]], *, names: Mapping[str, str] = STAGES, console: Console | None = None
) -> None:
    """Print each calibrated stage's temperature, and its errors with and without it; ``scores`` as in results.json."""
    calibrated = {one["stage"]: one["calibration"] for one in scores if one["calibration"]["before"]}
    if not calibrated:
        return
    console = console or create_console()
    console.print("\nCalibration (0 is best; before: without the temperature)", markup=False, highlight=False)
    table = _create_table("temperature", "ECE", "before", "Brier", "before")
    for stage, found in calibrated.items():
        errors = [
            f"{one[error]:.3f}"
            for error in ("expected_calibration_error", "brier_score")
            for one in (found, found["before"])
        ]
        table.add_row(names[stage], format_temperature_range(found["temperatures"].values()), *errors)
    console.print(table)


def format_temperature_range(temperatures: Iterable[float]) -> str:
    """Format the lowest and the highest temperature of all folds; one number if they are equal."""
    found = list(temperatures)
    low, high = f"{min(found):.2f}", f"{max(found):.2f}"
    return low if low == high else f"{low}\N{EN DASH}{high}"


def _build_heading(scores: Sequence[StageScores], protocol: str) -> tuple[str, ...]:
    first = scores[0]
    folds = len(first.folds)
    pooled = f"pooled over {folds} folds" if folds > 1 else "1 fold"
    bracket = "In brackets: 95 % over conversations." if first.pooled.ua.interval else "One conversation: no interval."
    return (
        f"Protocol {protocol}, {pooled}: {_format_size(first.pooled)}",
        f"Classes: {', '.join(first.classes)}. {bracket}",
    )


def _format_size(scores: Scores) -> str:
    return f"n = {format_count(scores.utterances, 'utterance')}, {format_count(scores.conversations, 'conversation')}"


def _build_table(scores: Sequence[StageScores], names: Mapping[str, str]) -> Table:
    table = _create_table()
    for stage in scores:
        spread = stage.over_folds
        table.add_row(names[stage.stage], *_format_cells(stage.pooled))
        if len(stage.folds) > 1:
            table.add_row("  over folds", *map(_format_mean, (spread.wa, spread.ua, spread.weighted_f1)), style="dim")
    return table


def _build_part_table(scores: Mapping[str, Scores], names: Mapping[str, str]) -> Table:
    table = _create_table()
    for stage, of_stage in scores.items():
        table.add_row(names[stage], *_format_cells(of_stage))
    return table


def _create_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), highlight=False)
    table.add_column("stage")
    for column in columns or MEASURES:
        table.add_column(column, no_wrap=True)
    return table


def _format_cells(scores: Scores) -> tuple[str, ...]:
    return str(scores.wa), str(scores.ua), str(scores.weighted_f1)


def _format_mean(spread: FoldStatistic) -> str:
    return f"{spread.mean:.3f} ± {spread.deviation:.3f}"
