"""Choices of the authors' released code that differ from the paper, apart from its boxes so that each can be measured.

A recipe selects them: ``audio_context.attention``, ``audio_utterance.padding`` and ``selection``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from moodline.conversation import Conversation, LabelSet


class ReleasedAttention(nn.Module):
    """Compute A = softmax((O W)(O W)^T) O W over each column, padding included; the paper's is over rows, of O."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(hidden, hidden, bias=False)

    def forward(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Map outputs (B, S, H) and an unused mask (B, S) to (B, S, H)."""
        mapped = self.map(outputs)
        scores = mapped @ mapped.transpose(1, 2)  # (B, S, H) (B, H, S) -> (B, S, S)
        return scores.softmax(dim=1) @ mapped


@dataclass(frozen=True)
class ReleasedPadding:
    """Pad waveforms with zeros to one length in samples; later stages treat the zeros as speech."""

    length: int

    def __call__(self, waveform: Tensor, place: float = 0.0) -> Tensor:
        """Pad a waveform (T,) to (max(T, length),), a share ``place`` of the zeros before it, below 1."""
        free = max(0, self.length - len(waveform))
        before = int(place * (free + 1))
        return nn.functional.pad(waveform, (before, free - before))


@dataclass(frozen=True)
class ReleasedSelection:
    """Draw the utterances that select at random from the training and the validation set together."""

    seed: int
    NOTE = "not speaker-disjoint in selection"

    def __call__(
        self, train: Sequence[Conversation], validation: Sequence[Conversation], labels: LabelSet
    ) -> tuple[list[Conversation], list[Conversation]]:
        """Return all conversations twice: with the turns that train, and with those that select.

        As many turns select as the validation set has with a class; turns without a class are in neither part.
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
    return replace(conversation, utterances=tuple(turn for turn in conversation.utterances if turn.id in ids))
