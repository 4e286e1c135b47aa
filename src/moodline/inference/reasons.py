"""Why a turn has its emotion: the turns of context that weighed most, and what speech and words each gave."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Influence:
    """How much a turn of the conversation weighed.

    Attributes:
        turn: its position in the conversation, from 0
        weight: its share of the self-attention, from 0 to 1, the mean over the model's contexts and directions
    """

    turn: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reasons:
    """Why one turn has its label.

    Attributes:
        context: the turns that weighed most, the heaviest first
        speech, words: by how much the label's probability falls without this modality, negative where it rises;
            None where the model has but one
    """

    context: tuple[Influence, ...]
    speech: float | None
    words: float | None
