"""Context (paper, section 2.3): utterance embeddings in the context of their conversation, for each modality.

Shapes: B conversations, S utterances of the longest one, D input size, H hidden size of one direction.

``BiGruAttention`` is the paper's box: for each direction's GRU outputs O (S x H) and one learned W (H x H),

    A = softmax((O W)(O W)^T) O        with the softmax over each row

``BcLstm`` is an alternative without attention. ``subtract_speaker_means`` is no part of the paper.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_length_mask, run_recurrent


class SelfAttention(nn.Module):
    """Compute A = softmax((O W)(O W)^T) O, the softmax over the last axis; one learned W (H x H)."""

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
    """Map a conversation's utterance embeddings to contextual embeddings, and classify each utterance.

    Args:
        inputs: D, size of the utterance embeddings
        classes: number of emotions
        hidden: H, of the GRU, each direction
        layers: of the GRU
        self_attention: whether each direction attends to its own outputs; otherwise the outputs are used unchanged
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
        self.gru = nn.GRU(
            inputs,
            hidden,
            num_layers=layers,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.attention = nn.ModuleList(attention(hidden) for _ in range(2 if self_attention else 0))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * hidden, classes)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Encoding:
        """Map embeddings (B, S, D), lengths (B,) of at least 1 to embeddings (B, S, 2H), logits (B, S, classes)."""
        outputs = run_recurrent(self.gru, self.dropout(embeddings), lengths)  # (B, S, 2H)
        if self.attention:
            mask = build_length_mask(lengths, outputs.shape[1])
            directions = outputs.chunk(2, dim=-1)  # twice (B, S, H)
            attended = [attend(one, mask) for attend, one in zip(self.attention, directions, strict=True)]
            outputs = torch.cat(attended, dim=-1)  # (B, S, 2H)
        return Encoding(outputs, self.classify(self.dropout(outputs)))

    def weights(self, embeddings: Tensor, lengths: Tensor) -> list[Tensor]:
        """Map embeddings (B, S, D), lengths (B,) to each direction's attention weights, twice (B, S, S).

        The list is empty without self-attention, and for an attention whose rows are not distributions over the turns.
        """
        if not self.attention:
            return []
        outputs = run_recurrent(self.gru, self.dropout(embeddings), lengths)  # (B, S, 2H)
        mask = build_length_mask(lengths, outputs.shape[1])
        directions = outputs.chunk(2, dim=-1)  # twice (B, S, H)
        return [
            attend.weights(one, mask)
            for attend, one in zip(self.attention, directions, strict=True)
            if isinstance(attend, SelfAttention)
        ]


class BcLstm(nn.Module):
    """Map a conversation's utterance embeddings to contextual embeddings, and classify each utterance.

    The contextual embeddings are the activations of a dense layer over a bidirectional LSTM. The layer is as wide as
    both directions together, so that the fusion reads as many numbers as from the BiGRU (the paper leaves the width
    open).

    Args:
        inputs: D, size of the utterance embeddings
        classes: number of emotions
        hidden: H, of the LSTM, each direction
        dropout: on the input and on the input of the classifier
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


# Zero turns that each speaker's mean includes beside the real ones. Little is known of a speaker with one or two
# turns, and without them a lone turn would cancel itself.
PRIOR_TURNS = 4


def subtract_speaker_means(embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
    """Subtract from each embedding of a conversation (S, E) its speaker's mean in that conversation.

    Speaker normalisation (Busso, Mariooryad, Metallinou and Narayanan, "Iterative feature normalization scheme for
    automatic emotion detection from speech", IEEE Transactions on Affective Computing, 2013), within one conversation.

    Args:
        speakers: of the S turns
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(speakers))}
    of_turn = torch.tensor([numbers[name] for name in speakers], device=embeddings.device)  # (S,)
    sums = embeddings.new_zeros(len(numbers), embeddings.shape[1]).index_add_(0, of_turn, embeddings)
    turns = torch.bincount(of_turn, minlength=len(numbers)) + PRIOR_TURNS
    means = sums / turns[:, None]  # (speakers, E)
    return embeddings - means[of_turn]


class SpeakerMeans:
    """Compute ``subtract_speaker_means`` for a conversation in progress, from each speaker's turns so far."""

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
