"""Three choices of the authors' released code that the paper does not make; a recipe names each of them.

They stand apart from the paper's boxes, so that the difference they make can be measured and nobody takes them for the
method: ``audio_context.attention``, ``audio_utterance.padding``, ``selection``.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from moodline.conversation import Conversation, LabelSet


class ReleasedAttention(nn.Module):
    """A = softmax((O W)(O W)^T) O W, each column a distribution; padding takes part.

    The paper attends over O, and its rows are the distributions: the scores are symmetric, their softmax is not. What
    padding adds to a column's sum is the only thing by which it counts, as the GRU gives zeros there: a turn's result
    depends on the longest conversation of its batch.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(hidden, hidden, bias=False)

    def forward(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Outputs (B, S, H), mask (B, S), which is not looked at -> (B, S, H)."""
        mapped = self.map(outputs)
        scores = mapped @ mapped.transpose(1, 2)  # (B, S, H) (B, H, S) -> (B, S, S)
        return scores.softmax(dim=1) @ mapped


class ReleasedPadding:
    """Zeros around each waveform up to one length, which nothing tells from speech afterwards.

    Args:
        length: in samples; longer waveforms stay as they are
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, waveform: Tensor, place: float = 0.0) -> Tensor:
        """The waveform (T,) among zeros: (max(T, length),).

        Args:
            place: from 0, the waveform begins at once, to less than 1, it ends last or nearly so
        """
        free = max(0, self.length - len(waveform))
        before = int(place * (free + 1))
        return nn.functional.pad(waveform, (before, free - before))


class ReleasedSelection:
    """Utterances that select drawn at random from the training and the validation set together; the others train.

    Args:
        seed: of the draw
    """

    NOTE = "not speaker-disjoint in selection"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(
        self, train: Sequence[Conversation], validation: Sequence[Conversation], labels: LabelSet
    ) -> tuple[list[Conversation], list[Conversation]]:
        """All conversations twice, with the turns that train and with those that select.

        As many turns select as in the validation set have a class. Turns without one are in neither. The draw goes by
        the utterances' ids, whatever order they come in.
        """
        together = (*train, *validation)
        ids = sorted(find_classified(together, labels))
        drawn = np.random.default_rng(self.seed).permutation(len(ids))
        size = len(find_classified(validation, labels))
        selecting, training = ({ids[index] for index in part} for part in (drawn[:size], drawn[size:]))
        return [select_turns(training, one) for one in together], [select_turns(selecting, one) for one in together]


def find_classified(conversations: Sequence[Conversation], labels: LabelSet) -> set[str]:
    """Ids of the turns that have a class."""
    turns = (turn for conversation in conversations for turn in conversation.utterances)
    return {turn.id for turn in turns if labels.index(turn.label) is not None}


def select_turns(ids: set[str], conversation: Conversation) -> Conversation:
    return replace(conversation, utterances=tuple(turn for turn in conversation.utterances if turn.id in ids))
