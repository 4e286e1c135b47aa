"""Three choices of the authors' released code that differ from the paper; a recipe selects each by name.

They are separate from the paper's boxes so that their effect can be measured: ``audio_context.attention``,
``audio_utterance.padding`` and ``selection``.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from moodline.conversation import Conversation, LabelSet


class ReleasedAttention(nn.Module):
    """Compute A = softmax((O W)(O W)^T) O W with each column a distribution, padding included.

    The paper multiplies by O and normalises the rows: the scores are symmetric, their softmax is not. Padding, which
    the GRU outputs as zeros, changes the columns' sums, so a turn's result depends on the longest conversation of its
    batch.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(hidden, hidden, bias=False)

    def forward(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Map outputs (B, S, H) and an unused mask (B, S) to (B, S, H)."""
        mapped = self.map(outputs)
        scores = mapped @ mapped.transpose(1, 2)  # (B, S, H) (B, H, S) -> (B, S, S)
        return scores.softmax(dim=1) @ mapped


class ReleasedPadding:
    """Pad each waveform with zeros to one length; later stages treat the zeros as speech.

    Args:
        length: in samples; longer waveforms are unchanged
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, waveform: Tensor, place: float = 0.0) -> Tensor:
        """Pad a waveform (T,) to (max(T, length),).

        Args:
            place: share of the zeros before the waveform: 0 for none of them, just below 1 for all
        """
        free = max(0, self.length - len(waveform))
        before = int(place * (free + 1))
        return nn.functional.pad(waveform, (before, free - before))


class ReleasedSelection:
    """Draw the utterances that select at random from the training and the validation set together.

    Args:
        seed: of the draw
    """

    NOTE = "not speaker-disjoint in selection"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(
        self, train: Sequence[Conversation], validation: Sequence[Conversation], labels: LabelSet
    ) -> tuple[list[Conversation], list[Conversation]]:
        """Return all conversations twice: with the turns that train, and with those that select.

        The selecting part has as many turns as the validation set has with a class; turns without a class are in
        neither part. The draw sorts by utterance id and so ignores the order of its input.
        """
        together = (*train, *validation)
        ids = sorted(find_classified(together, labels))
        drawn = np.random.default_rng(self.seed).permutation(len(ids))
        size = len(find_classified(validation, labels))
        selecting, training = ({ids[index] for index in part} for part in (drawn[:size], drawn[size:]))
        return [select_turns(training, one) for one in together], [select_turns(selecting, one) for one in together]


def find_classified(conversations: Sequence[Conversation], labels: LabelSet) -> set[str]:
    """Collect the ids of the turns that have a class."""
    turns = (turn for conversation in conversations for turn in conversation.utterances)
    return {turn.id for turn in turns if labels.index(turn.label) is not None}


def select_turns(ids: set[str], conversation: Conversation) -> Conversation:
    """Keep the turns with these ids."""
    return replace(conversation, utterances=tuple(turn for turn in conversation.utterances if turn.id in ids))
