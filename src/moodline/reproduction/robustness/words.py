"""What a fold's test utterances are read as at each point of the curves of words."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from moodline.conversation import Conversation, Utterance
from moodline.reproduction.robustness.confusions import Confusions, Corruption, confusions_of
from moodline.reproduction.robustness.points import INTERPOLATED, Point
from moodline.training.randomness import generator_of

Words = Mapping[str, str]
"""By utterance id."""
Value = TypeVar("Value")


class FoldWords:
    """Words of a fold's test utterances, right and wrong.

    Args:
        tested: the utterances that the model reads, labelled or not
        others: the corpus's other conversations, of which the recogniser's confusions are learned
        recognised: words of all utterances
    """

    def __init__(
        self, tested: Sequence[Utterance], others: Sequence[Conversation], recognised: Words, seed: int
    ) -> None:
        self.reference = {turn.id: turn.said for turn in tested}
        self.recognised = {turn.id: recognised[turn.id] for turn in tested}
        self.pairs = [(turn.said, recognised[turn.id]) for one in others for turn in one.utterances]
        self.seed = seed
        self._drawn: dict[Point, Words] = {}

    def at(self, point: Point) -> Words:
        """The words that are read at a point."""
        if point.curve == INTERPOLATED:
            return mixture(self.reference, self.recognised, point.x, self.seed)
        if point.x == 0:
            return self.reference
        if point not in self._drawn:
            self._drawn[point] = Corruption(self.reference, self.confusions, self.seed).reaching(point.x)
        return self._drawn[point]

    @cached_property
    def confusions(self) -> Confusions:
        return confusions_of(self.pairs)


def is_recognised(utterance_id: str, share: float, seed: int) -> bool:
    """Whether an utterance is among those that are recognised: with each share those of a smaller one, and more."""
    return float(generator_of(seed, "recognised", utterance_id).random()) < share


def mixture(
    reference: Mapping[str, Value], recognised: Mapping[str, Value], share: float, seed: int
) -> dict[str, Value]:
    """What is recognised of that share of the utterances, drawn at random, and the reference of the others."""
    return {name: (recognised if is_recognised(name, share, seed) else reference)[name] for name in reference}
