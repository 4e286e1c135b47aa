"""Where a recording is unlike what a model was trained on: a sentence for each measure, with the reason."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from moodline.checkpoint import Description
from moodline.conditions import BANDWIDTH, LOUDNESS, PIECES_PER_WORD, SIGNAL_TO_NOISE, UNKNOWN_PIECES, Conditions
from moodline.config import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """What a measure may be beyond its range in training, and what it means if it is more than that.

    Attributes:
        what: is measured, in words; ``unit`` and ``number`` write a value of it
        least, most: that is still like training, from the range's low and high end
        low, high: what a value below ``least`` and one above ``most`` mean
    """

    what: str
    unit: str
    number: Callable[[float], str]
    least: Callable[[float], float] = lambda _: -math.inf
    most: Callable[[float], float] = lambda _: math.inf
    low: str = ""
    high: str = ""


TOLERANCES = {
    BANDWIDTH: Tolerance(
        what="its speech reaches up to",
        unit=" kHz",
        number=lambda hertz: f"{hertz / 1000:.1f}",
        least=lambda low: 0.75 * low,
        most=lambda high: high / 0.75,
        low="it lacks high frequencies that the model listens to, as a telephone call does",
        high="it has high frequencies that the model has never heard",
    ),
    LOUDNESS: Tolerance(
        what="the loudness of its speech is",
        unit=" dB of full scale",
        number=lambda decibels: f"{decibels:.0f}",
        least=lambda low: low - 10,
        most=lambda high: high + 10,
        low="it is much softer",
        high="it is much louder",
    ),
    SIGNAL_TO_NOISE: Tolerance(
        what="the ratio of its speech to noise is",
        unit=" dB",
        number=lambda decibels: f"{decibels:.0f}",
        least=lambda low: low - 8,
        low="there is noise in it, or other voices, that the model has not learned to hear through",
    ),
    PIECES_PER_WORD: Tolerance(
        what="the text encoder breaks its words into",
        unit=" pieces each",
        number=lambda pieces: f"{pieces:.2f}",
        most=lambda high: high + 0.3,
        high="they seem to be of a language that the encoder does not know",
    ),
    UNKNOWN_PIECES: Tolerance(
        what="the text encoder does not know, of its words' pieces,",
        unit=" %",
        number=lambda share: f"{100 * share:.0f}",
        most=lambda high: high + 0.05,
        high="they seem to be of a script or a language that the encoder does not know",
    ),
}
EVENED = "; the model evens loudness out, so that this harms only where sound was lost or clipped by it"


def unlike(found: Conditions, model: Description, language: str | None = None) -> tuple[str, ...]:
    """A sentence for each measure that is beyond what TOLERANCES allows; none where the model tells no ranges.

    Args:
        found: of the recording
        language: of its words, where a transcript tells it
    """
    if model.conditions is None:
        return ()
    return tuple(
        told(measure, found[measure], limits, model.recipe, language)
        for measure, limits in model.conditions.ranges.items()
        if measure in found and is_beyond(measure, found[measure], limits)
    )


def is_beyond(measure: str, value: float, limits: tuple[float, float]) -> bool:
    low, high = limits
    return not TOLERANCES[measure].least(low) <= value <= TOLERANCES[measure].most(high)


def told(measure: str, value: float, limits: tuple[float, float], recipe: Recipe, language: str | None) -> str:
    tolerance = TOLERANCES[measure]
    usual = " to ".join(dict.fromkeys(map(tolerance.number, limits)))  # one number where both ends round to it
    reason = tolerance.low if value < limits[0] else tolerance.high
    if measure == LOUDNESS and recipe.audio_utterance.waveform_normalisation:
        reason += EVENED
    if measure in (PIECES_PER_WORD, UNKNOWN_PIECES) and language is not None:
        reason += f" (the transcript says: {language})"
    return (
        f"unlike what the model was trained on, so that probabilities may be off: {tolerance.what} "
        f"{tolerance.number(value)}{tolerance.unit}, in training {usual}{tolerance.unit}: {reason}"
    )
