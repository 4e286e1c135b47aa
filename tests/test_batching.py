"""Batches by length: whatever the lengths, every limit holds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moodline.modeling.batching import build_length_batches

LENGTHS = st.lists(st.floats(0.01, 60.0), max_size=60)
SIZES = st.integers(1, 20)
TOTALS = st.one_of(st.just(float("inf")), st.floats(0.5, 200.0))
SEEDS = st.one_of(st.none(), st.integers(0, 1000))


def generator(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


@given(LENGTHS, SIZES, TOTALS, SEEDS)
def test_every_index_stands_once_and_the_limits_hold(
    lengths: list[float], size: int, total: float, seed: int | None
) -> None:
    batches = build_length_batches(lengths, batch_size=size, maximum_total=total, generator=generator(seed))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert 1 <= len(batch) <= size
        assert len(batch) == 1 or padded <= total


@given(LENGTHS, SIZES, TOTALS, st.integers(0, 1000))
def test_one_generator_draws_one_order(lengths: list[float], size: int, total: float, seed: int) -> None:
    first, second = (
        build_length_batches(lengths, batch_size=size, maximum_total=total, generator=generator(seed)) for _ in range(2)
    )
    assert first == second


@given(LENGTHS, SIZES)
def test_without_a_generator_batches_are_neighbours_in_length(lengths: list[float], size: int) -> None:
    batches = build_length_batches(lengths, batch_size=size)
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths)
    assert all(len(batch) == size for batch in batches[:-1])


def test_generators_of_other_seeds_draw_other_batches() -> None:
    lengths = np.linspace(1, 2, 64).tolist()
    drawn = [build_length_batches(lengths, batch_size=8, generator=generator(seed)) for seed in range(2)]
    assert drawn[0] != drawn[1]
    assert {frozenset(batch) for batch in drawn[0]} != {frozenset(batch) for batch in drawn[1]}


def test_a_drawn_batch_pads_little() -> None:
    """Lengths from 1 to 30: at random a batch of 16 would be nearly half padding."""
    lengths = np.random.default_rng(0).uniform(1, 30, 320).tolist()
    batches = build_length_batches(lengths, batch_size=16, generator=generator(1))
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert sum(lengths) / padded > 0.8


def test_a_sequence_beyond_the_limit_stands_alone() -> None:
    assert build_length_batches([1.0, 50.0, 2.0], batch_size=8, maximum_total=10.0) == [[0, 2], [1]]
