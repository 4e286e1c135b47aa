"""What LEAF, and log-mel in its place, refuse, and what it makes of signals that give no numbers."""

from typing import Any

import pytest

from moodline.audio import Leaf
from moodline.audio.log_mel import LogMel


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"filters": 0}, "filters is 1 or more .*, received 0"),
        ({"stride_ms": -10.0}, "stride is 1 or more .*, received -160"),
        ({"stride_ms": 0.01}, "stride is 1 or more .*, received 0"),
        ({"window_ms": 0.05}, "window is 3 or more .*, received 1"),
        ({"window_ms": -25.0}, "window is 3 or more .*, received -399"),
        ({"padding": "valid"}, 'padding is "symmetric" or "same", received "valid"'),
        ({"maximum_frequency": 8001.0}, "half the sample rate of 16000 Hz, received 60.0 to 8001.0 Hz"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Leaf(**arguments)
    if "padding" not in arguments:
        with pytest.raises(ValueError, match=rule):
            LogMel(**arguments)
