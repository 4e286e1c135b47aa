"""Numbers in sentences."""

import pytest

from moodline.errors import format_count


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 turns"), (1, "1 turn"), (2, "2 turns"), (999, "999 turns"), (12345, "12,345 turns")]
)
def test_one_is_told_as_one(number: int, told: str) -> None:
    assert format_count(number, "turn") == told
