"""The seeds on the two sides of a difference."""

from typing import ClassVar

import pytest

from moodline.experiments.ledger import Experiment
from moodline.experiments.paper_tables import BASE_NAME, CLASSICAL_NAME
from moodline.experiments.results_tables import find_lowest_loss, select_common_seeds


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
