"""Which seeds stand on the two sides of a difference."""

import pytest

from moodline.reproduction.filled import same_seeds
from moodline.reproduction.ledger import Experiment
from moodline.reproduction.systems import BASE, CLASSICAL


def of(system: str, *seeds: int) -> list[Experiment]:
    return [Experiment(system=system, protocol="cv5", seed=seed, tasks=()) for seed in seeds]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (of(BASE, 0, 1, 2), of("log-mel", 1), ([1], [1])),
        (of(BASE, 0, 1, 2), of("log-mel", 2, 1, 5), ([1, 2], [2, 1])),
        (of(BASE, 0, 1), of("log-mel", 2), ([0, 1], [2])),
        (of(BASE, 0, 1, 2), of(CLASSICAL, 0), ([0, 1, 2], [0])),
        (of(CLASSICAL, 0), of(BASE, 0, 1, 2), ([0], [0, 1, 2])),
    ],
)
def test_a_difference_is_over_the_seeds_that_both_have(
    one: list[Experiment], other: list[Experiment], expected: tuple[list[int], list[int]]
) -> None:
    first, second = same_seeds(one, other)
    assert ([each.seed for each in first], [each.seed for each in second]) == expected
