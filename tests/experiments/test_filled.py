"""The seeds on the two sides of a difference."""

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from moodline.config import Recipe
from moodline.evaluation.results import Estimate
from moodline.experiments.comparisons import Comparison
from moodline.experiments.ledger import LEDGER_SCHEMA, Experiment
from moodline.experiments.paper_tables import BASE_NAME, CLASSICAL_NAME, PaperTable, System, TableRow
from moodline.experiments.results_tables import (
    NAMES,
    REPORT_FILE,
    ComparedRows,
    ResultsRow,
    ResultsTable,
    find_lowest_loss,
    select_common_seeds,
    write_tables,
)


def of(system: str, *seeds: int) -> list[Experiment]:
    return [Experiment(system=system, protocol="cv5", seed=seed, words="reference", tasks=()) for seed in seeds]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (of(BASE_NAME, 0, 1, 2), of("log-mel", 1), ([1], [1])),
        (of(BASE_NAME, 0, 1, 2), of("log-mel", 2, 1, 5), ([1, 2], [2, 1])),
        (of(BASE_NAME, 0, 1), of("log-mel", 2), ([0, 1], [2])),
        (of(BASE_NAME, 0, 1, 2), of(CLASSICAL_NAME, 0), ([0, 1, 2], [0])),
        (of(CLASSICAL_NAME, 0), of(BASE_NAME, 0, 1, 2), ([0], [0, 1, 2])),
    ],
)
def test_a_difference_is_over_the_seeds_that_both_have(
    one: list[Experiment], other: list[Experiment], expected: tuple[list[int], list[int]]
) -> None:
    first, second = select_common_seeds(one, other)
    assert ([each.seed for each in first], [each.seed for each in second]) == expected


class Losses(Experiment):
    """An experiment whose validation losses are given, by seed."""

    GIVEN: ClassVar = {("small", 0): 0.7, ("large", 0): 0.6, ("large", 1): 0.9}

    def compute_validation_loss(self, stage: str) -> float:
        return self.GIVEN[self.system, self.seed]


@pytest.mark.parametrize(("large", "expected"), [((0, 1), "large"), ((1,), "small")])
def test_validation_selects_over_the_seeds_that_all_rows_have(large: tuple[int, ...], expected: str) -> None:
    choice = {
        name: [Losses(system=name, protocol="cv5", seed=seed, words="reference", tasks=()) for seed in seeds]
        for name, seeds in {"small": (0,), "large": large}.items()
    }
    assert find_lowest_loss(choice, "fusion") == expected


@pytest.mark.parametrize(("highest", "told"), [(0.5, "it also"), (0.6, "audio context, large")])
def test_the_page_names_another_row_only_where_its_score_is_higher(tmp_path: Path, highest: float, told: str) -> None:
    system = System(name="base", recipe=Recipe())
    small, large = (
        TableRow(("audio context", size), system, "audio_context", choice="audio") for size in ("small", "large")
    )
    table = PaperTable("1", "Sizes", "cv5", ("part", "size"), (small, large), None)
    rows = tuple(
        ResultsRow(row=row, measures=dict.fromkeys(NAMES.values(), Estimate(ua, None)), selected=row is small)
        for row, ua in ((large, highest), (small, 0.5))
    )
    difference = Comparison(
        measures=dict.fromkeys(NAMES.values(), Estimate(-0.1, (-0.2, 0.0))), effect=None, conversations=30
    )
    results = ResultsTable(table, rows, (ComparedRows(rows[0], rows[1], difference, (1, 1)),), {})
    write_tables([results], pa.Table.from_pylist([], schema=LEDGER_SCHEMA), tmp_path)
    page = " ".join((tmp_path / REPORT_FILE).read_text(encoding="utf-8").split())
    assert f"lowest validation loss of 2 rows; {told} has the highest UA" in page
    assert "\N{MINUS SIGN}0.100 [\N{MINUS SIGN}0.200, +0.000]" in page
