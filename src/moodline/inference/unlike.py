"""Where a recording is unlike what a model was trained on: a sentence for each measure, with the reason."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from moodline.checkpoint import Description
from moodline.conditions import BANDWIDTH, LOUDNESS, PIECES_PER_WORD, SIGNAL_TO_NOISE, UNKNOWN_PIECES, Conditions


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """What a measure may be beyond its range in training, and what it means if it is more than that.

    Attributes:
        what: is measured, and ``told``, a value of it, in words
        least, most: that is still like training, from the range's low and high end
        low, high: what a value beyond them means; below ``least``, above ``most``
    """

    what: str
    told: Callable[[float], str]
    least: Callable[[float], float] = lambda _: -math.inf
    most: Callable[[float], float] = lambda _: math.inf
    low: str = ""
    high: str = ""


TOLERANCES = {
    BANDWIDTH: Tolerance(
        what="its speech reaches up to",
        told=lambda hertz: f"{hertz / 1000:.1f} kHz",
        least=lambda low: 0.75 * low,
        most=lambda high: high / 0.75,
        low="it lacks high frequencies that the model listens to, as a telephone does",
        high="it has high frequencies that the model has never heard",
    ),
    LOUDNESS: Tolerance(
        what="the loudness of its speech is",
        told=lambda decibels: f"{decibels:.0f} dB of full scale",
        least=lambda low: low - 10,
        most=lambda high: high + 10,
        low="it is much softer",
        high="it is much louder",
    ),
    SIGNAL_TO_NOISE: Tolerance(
        what="the ratio of its speech to noise is",
        told=lambda decibels: f"{decibels:.0f} dB",
        least=lambda low: low - 8,
        low="noise or other voices are in it that the model has not learned to hear through",
    ),
    PIECES_PER_WORD: Tolerance(
        what="the text encoder's pieces to each of its words are",
        told=lambda pieces: f"{pieces:.2f}",
        most=lambda high: high + 0.3,
        high="its words seem to be of a language that the encoder does not know",
    ),
    UNKNOWN_PIECES: Tolerance(
        what="the share of its words' pieces that the text encoder does not know is",
        told=lambda share: f"{100 * share:.0f} %",
        most=lambda high: high + 0.05,
        high="its words seem to be of a script or a language that the encoder does not know",
    ),
}
EVENED = "; the model evens loudness out, so that it is off only where the recording has lost by it"


def unlike(found: Conditions, model: Description, language: str | None = None) -> tuple[str, ...]:
    """A sentence for each measure that is beyond what TOLERANCES allows; none where the model tells no ranges.

    Args:
        found: of the recording
        language: of its words, where a transcript tells it
    """
    if model.conditions is None:
        return ()
    warnings = []
    for measure, (low, high) in model.conditions.ranges.items():
        tolerance, value = TOLERANCES[measure], found.get(measure)
        if value is None or tolerance.least(low) <= value <= tolerance.most(high):
            continue
        told = tolerance.told
        reason = tolerance.low if value < low else tolerance.high
        if measure == LOUDNESS and model.recipe.audio_utterance.waveform_normalisation:
            reason += EVENED
        if measure == PIECES_PER_WORD and language is not None:
            reason += f" (the transcript says {language})"
        warnings.append(
            f"probabilities may be off, as the recording is unlike the model's training: {tolerance.what} "
            f"{told(value)}, in training {told(low)} to {told(high)}: {reason}"
        )
    return tuple(warnings)
