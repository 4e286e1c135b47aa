"""How speech sounds and words break up, conversation by conversation: what a model's training is compared by.

Recognition suffers where training and use differ in their acoustic conditions; a model keeps the range of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BANDWIDTH = "bandwidth"  # Hz
LOUDNESS = "loudness"  # dB of full scale
SIGNAL_TO_NOISE = "signal_to_noise"  # dB
PIECES_PER_WORD = "pieces_per_word"
UNKNOWN_PIECES = "unknown_pieces"  # share of the pieces, from 0 to 1
MEASURES = (BANDWIDTH, LOUDNESS, SIGNAL_TO_NOISE, PIECES_PER_WORD, UNKNOWN_PIECES)

Conditions = Mapping[str, float]
"""Of one conversation or recording: those of MEASURES that could be measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConditions:
    """Of a model's training set.

    Attributes:
        conversations: how many were measured
        ranges: by measure, the lowest and the highest of these conversations but for a few
    """

    conversations: int
    ranges: Mapping[str, tuple[float, float]]


def conditions_from(content: Any) -> TrainingConditions:
    """What JSON tells.

    Raises:
        TypeError: it is no count and ranges
    """
    fault = f"its conditions are a number of conversations and a range for each of {', '.join(MEASURES)}: {content!r}"
    if not isinstance(content, dict) or set(content) != {"conversations", "ranges"}:
        raise TypeError(fault)
    if not isinstance(content["conversations"], int) or not isinstance(content["ranges"], dict):
        raise TypeError(fault)
    for measure, limits in content["ranges"].items():
        numbers = isinstance(limits, list) and all(isinstance(limit, float) for limit in limits)
        if measure not in MEASURES or not numbers or len(limits) != 2 or not limits[0] <= limits[1]:
            raise TypeError(fault)
    ranges = {measure: (low, high) for measure, (low, high) in content["ranges"].items()}
    return TrainingConditions(conversations=content["conversations"], ranges=ranges)
