"""Instead of the transformer: an utterance's two contextual embeddings side by side, and one hidden layer."""

import torch
from torch import Tensor, nn

from moodline.encoding import Encoding
from moodline.fusion.presence import zeros_where_absent

# Shapes: B conversations, S utterances of the longest one, D input size of a modality, H hidden size.


class Concatenation(nn.Module):
    """Contextual embeddings of both modalities to a label for every utterance, each utterance by itself.

    What it knows of the conversation it has from the contexts: beside the transformer it shows what attention across
    modalities and turns is worth.

    Args:
        inputs: D, size of each modality's contextual embeddings
        classes: how many emotions
        hidden: H, of the layer between
        dropout: on the input and on what is classified
    """

    def __init__(self, inputs: int, *, classes: int, hidden: int = 120, dropout: float = 0.2) -> None:
        super().__init__()
        self.fuse = nn.Linear(2 * inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden, classes)

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        lengths: Tensor,
        has_audio: Tensor | None = None,
        has_text: Tensor | None = None,
    ) -> Encoding:
        """Audio and text (B, S, D), lengths (B,) -> fused embeddings (B, S, H), logits (B, S, classes).

        Args:
            has_audio, has_text: (B, S), True where an utterance has the modality, which is read as zeros where it has
                not; everywhere if left out
        """
        audio, text = zeros_where_absent(audio, has_audio), zeros_where_absent(text, has_text)
        both = torch.cat([audio, text], dim=-1)  # (B, S, 2D)
        fused = self.fuse(self.dropout(both)).relu()
        return Encoding(fused, self.classify(self.dropout(fused)))
