"""Context (paper, section 2.3): utterance embeddings in the context of their conversation, for each modality.

Shapes: B conversations, S utterances of the longest one, D input size, H hidden size of one direction.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_bigru, build_length_mask, run_recurrent


class SelfAttention(nn.Module):
    """Compute A = softmax((O W)(O W)^T) O of one direction's outputs O (S x H), softmax over each row; W is (H x H)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(hidden, hidden, bias=False)

    def weights(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Map outputs (B, S, H) and mask (B, S) to attention weights (B, S, S), each row a distribution over turns."""
        mapped = self.map(outputs)
        scores = mapped @ mapped.transpose(1, 2)  # (B, S, H) (B, H, S) -> (B, S, S)
        # Masks the columns of padding; the rows of padding are computed and never read.
        return scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1)

    def forward(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Map outputs (B, S, H) and mask (B, S) to (B, S, H)."""
        return self.weights(outputs, mask) @ outputs


class BiGruAttention(nn.Module):
    """Map a conversation's utterance embeddings to contextual ones, and classify each utterance: the paper's box.

    Args:
        self_attention: whether each direction of the GRU attends to its own outputs; otherwise they are used unchanged
        attention: builds one direction's attention from H; it reads outputs (B, S, H) and their mask (B, S)
        dropout: on the input, between the GRU's layers, and on the input of the classifier
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
        self.gru = build_bigru(inputs, hidden, layers, dropout)
        self.attention = nn.ModuleList(attention(hidden) for _ in range(2 if self_attention else 0))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * hidden, classes)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Encoding:
        """Map embeddings (B, S, D), lengths (B,) of at least 1 to embeddings (B, S, 2H), logits (B, S, classes)."""
        outputs, mask = self._run_gru(embeddings, lengths)
        if self.attention:
            directions = zip(self.attention, outputs.chunk(2, dim=-1), strict=True)  # twice (B, S, H)
            outputs = torch.cat([attend(one, mask) for attend, one in directions], dim=-1)  # (B, S, 2H)
        return Encoding(outputs, self.classify(self.dropout(outputs)))

    def weights(self, embeddings: Tensor, lengths: Tensor) -> list[Tensor]:
        """Map embeddings (B, S, D), lengths (B,) to each direction's attention weights, twice (B, S, S).

        The list is empty without self-attention, and for an attention whose rows are not distributions over the turns.
        """
        outputs, mask = self._run_gru(embeddings, lengths)
        directions = zip(self.attention, outputs.chunk(2, dim=-1), strict=False)  # twice (B, S, H), or no attention
        return [attend.weights(one, mask) for attend, one in directions if isinstance(attend, SelfAttention)]

    def _run_gru(self, embeddings: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        outputs = run_recurrent(self.gru, self.dropout(embeddings), lengths)  # (B, S, 2H)
        return outputs, build_length_mask(lengths, outputs.shape[1])


class BcLstm(nn.Module):
    """Replace the GRU and attention by a dense layer over a bidirectional LSTM (Poria et al. 2017).

    The layer is as wide as both directions together (their paper leaves it open), as the fusion expects. Dropout is on
    the input and on the input of the classifier.
    """

    def __init__(self, inputs: int, *, classes: int, hidden: int = 100, dropout: float = 0.2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, bidirectional=True, batch_first=True)
        self.dense = nn.Linear(2 * hidden, 2 * hidden)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * hidden, classes)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Encoding:
        """Map embeddings (B, S, D), lengths (B,) of at least 1 to embeddings (B, S, 2H), logits (B, S, classes)."""
        outputs = run_recurrent(self.lstm, self.dropout(embeddings), lengths)  # (B, S, 2H)
        contextual = self.dense(outputs).relu()
        return Encoding(contextual, self.classify(self.dropout(contextual)))


# Zero turns that each speaker's mean includes, so that a lone turn does not cancel itself.
PRIOR_TURNS = 4


class SpeakerMeans:
    """Subtract from each turn's embedding the mean of its speaker's turns so far in the conversation.

    Speaker normalisation (Busso, Mariooryad, Metallinou and Narayanan, "Iterative feature normalization scheme for
    automatic emotion detection from speech", IEEE Transactions on Affective Computing, 2013), within one conversation.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.turns: Counter[str] = Counter()

    def add(self, embedding: Tensor, speaker: str) -> None:
        """Add one more turn, its embedding (E,)."""
        self.sums[speaker] = self.sums.get(speaker, torch.zeros_like(embedding)) + embedding
        self.turns[speaker] += 1

    def subtract_from(self, embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
        """Subtract the means so far from some of the turns so far (S, E)."""
        means = [self.sums[speaker] / (self.turns[speaker] + PRIOR_TURNS) for speaker in speakers]
        return embeddings - torch.stack(means)


def subtract_speaker_means(embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
    """Subtract from each embedding of a whole conversation (S, E) the mean of its speaker; see ``SpeakerMeans``."""
    means = SpeakerMeans()
    for embedding, speaker in zip(embeddings, speakers, strict=True):
        means.add(embedding, speaker)
    return means.subtract_from(embeddings, speakers)
