"""What a refusal names: its code for programs, and values and places for people."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from moodline.errors import MoodlineError


@contextmanager
def refuses(code: str, *values: object) -> Iterator[None]:
    """The block raises an error of this code, whose sentence holds these values."""
    with pytest.raises(MoodlineError) as refused:
        yield
    assert refused.value.code == code, refused.value
    for value in values:
        assert str(value) in str(refused.value)
