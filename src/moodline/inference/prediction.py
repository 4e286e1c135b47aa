"""What a model says of a conversation and of each of its utterances."""

from collections.abc import Mapping
from dataclasses import dataclass

from moodline.config import Modalities
from moodline.inference.reasons import Reasons

UNCERTAIN = "uncertain"
"""The label of an utterance whose most probable class is less probable than what was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UtterancePrediction:
    """What a model says of one utterance.

    Attributes:
        label: the most probable class, or ``UNCERTAIN``
        best: the most probable class, however probable it is
        probabilities: of each class, by the system's last stage; calibrated, where the model is
        by_stage: the same of each stage on the way, the last included; not of one that reads what the utterance lacks
        reasons: why, where it was asked for
    """

    id: str
    speaker: str
    start: float | None
    end: float | None
    words: str
    label: str
    best: str
    probabilities: Mapping[str, float]
    by_stage: Mapping[str, Mapping[str, float]]
    reasons: Reasons | None = None

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return self.probabilities[self.best]

    @property
    def stage(self) -> str:
        """The stage whose answer this is."""
        return list(self.by_stage)[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationPrediction:
    """Predictions of a conversation's utterances, in their order, and what was read of them."""

    conversation_id: str
    utterances: tuple[UtterancePrediction, ...]
    modalities: Modalities = "both"
