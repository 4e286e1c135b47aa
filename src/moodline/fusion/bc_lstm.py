"""Instead of the transformer: the second level of bc-LSTM's hierarchy (Poria et al. 2017)."""

import torch
from torch import Tensor, nn

from moodline.context.bc_lstm import BcLstm
from moodline.encoding import Encoding
from moodline.fusion.presence import zeros_where_absent

# Shapes: B conversations, S utterances of the longest one, D input size of a modality, H hidden size of one direction.


class HierarchicalBcLstm(nn.Module):
    """Contextual embeddings of both modalities, side by side, through a further contextual LSTM.

    Level one of the hierarchy is a contextual LSTM for each modality, trained before and frozen; this is level two.

    Args:
        inputs: D, size of each modality's contextual embeddings
        classes: how many emotions
        hidden: H, of the LSTM, each direction
        dropout: on the input and on what is classified
    """

    def __init__(self, inputs: int, *, classes: int, hidden: int = 120, dropout: float = 0.2) -> None:
        super().__init__()
        self.level = BcLstm(2 * inputs, classes=classes, hidden=hidden, dropout=dropout)

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        lengths: Tensor,
        has_audio: Tensor | None = None,
        has_text: Tensor | None = None,
    ) -> Encoding:
        """Audio and text (B, S, D), lengths (B,), at least 1 -> fused embeddings (B, S, 2H), logits (B, S, classes).

        Args:
            has_audio, has_text: (B, S), True where an utterance has the modality, which is read as zeros where it has
                not; everywhere if left out
        """
        audio, text = zeros_where_absent(audio, has_audio), zeros_where_absent(text, has_text)
        return self.level(torch.cat([audio, text], dim=-1), lengths)  # (B, S, 2D)
