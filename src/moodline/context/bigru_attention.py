"""Parts 3a and 3b: utterance embeddings in the context of their conversation (paper, section 2.3)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from moodline.encoding import Encoding
from moodline.padding import length_mask, run_recurrent

# Shapes: B conversations, S utterances of the longest one, D input size, H hidden size of one direction.


class SelfAttention(nn.Module):
    """A = softmax((O W)(O W)^T) O, the softmax over the last axis; one learned W (H x H)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(hidden, hidden, bias=False)

    def weights(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Who attends to whom: outputs (B, S, H), mask (B, S) -> (B, S, S), each row a distribution over the turns."""
        mapped = self.map(outputs)
        scores = mapped @ mapped.transpose(1, 2)  # (B, S, H) (B, H, S) -> (B, S, S)
        # The columns of padding are masked; the rows of padding are computed and never read.
        return scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1)

    def forward(self, outputs: Tensor, mask: Tensor) -> Tensor:
        return self.weights(outputs, mask) @ outputs


class BiGruAttention(nn.Module):
    """A conversation's utterance embeddings to contextual embeddings, and a label for every utterance.

    Args:
        inputs: D, size of the utterance embeddings
        classes: how many emotions
        hidden: H, of the GRU, each direction
        layers: of the GRU
        self_attention: each direction attends to its own outputs; without it the outputs are taken as they are
        attention: of one direction, from H: reads outputs (B, S, H) and their mask (B, S)
        dropout: on the input, between the GRU's layers, and on what is classified
    """

    def __init__(
        self,
        inputs: int,
        *,
        classes: int,
        hidden: int = 100,
        layers: int = 2,
        self_attention: bool = True,
        attention: Callable[[int], nn.Module] = SelfAttention,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(
            inputs,
            hidden,
            num_layers=layers,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        directions = 2 if self_attention else 0
        self.attention = nn.ModuleList(attention(hidden) for _ in range(directions))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * hidden, classes)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Encoding:
        """Embeddings (B, S, D), lengths (B,), at least 1 -> contextual ones (B, S, 2H), logits (B, S, classes)."""
        outputs = run_recurrent(self.gru, self.dropout(embeddings), lengths)  # (B, S, 2H)
        if self.attention:
            mask = length_mask(lengths, outputs.shape[1])
            directions = outputs.chunk(2, dim=-1)  # twice (B, S, H)
            attended = [attend(one, mask) for attend, one in zip(self.attention, directions, strict=True)]
            outputs = torch.cat(attended, dim=-1)  # (B, S, 2H)
        return Encoding(outputs, self.classify(self.dropout(outputs)))

    def weights(self, embeddings: Tensor, lengths: Tensor) -> list[Tensor]:
        """Who attends to whom, by direction: embeddings (B, S, D), lengths (B,) -> twice (B, S, S), or none.

        There is none without self-attention, nor where an attention's rows are not distributions over the turns.
        """
        if not self.attention:
            return []
        outputs = run_recurrent(self.gru, self.dropout(embeddings), lengths)  # (B, S, 2H)
        mask = length_mask(lengths, outputs.shape[1])
        directions = outputs.chunk(2, dim=-1)  # twice (B, S, H)
        return [
            attend.weights(one, mask)
            for attend, one in zip(self.attention, directions, strict=True)
            if isinstance(attend, SelfAttention)
        ]
