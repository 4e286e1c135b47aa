"""Parts 3a and 3b: utterance embeddings in the context of their conversation (paper, section 2.3)."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_length_mask, run_recurrent

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
            mask = build_length_mask(lengths, outputs.shape[1])
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
        mask = build_length_mask(lengths, outputs.shape[1])
        directions = outputs.chunk(2, dim=-1)  # twice (B, S, H)
        return [
            attend.weights(one, mask)
            for attend, one in zip(self.attention, directions, strict=True)
            if isinstance(attend, SelfAttention)
        ]


# Shapes: B conversations, S utterances of the longest one, D input size, H hidden size of one direction.


class BcLstm(nn.Module):
    """A conversation's utterance embeddings to contextual embeddings, and a label for every utterance.

    The dense layer's activations are the contextual embeddings. It is as wide as both directions together, so that what
    reads them reads as much as of the BiGRU (the paper leaves the width to its experiments).

    Args:
        inputs: D, size of the utterance embeddings
        classes: how many emotions
        hidden: H, of the LSTM, each direction
        dropout: on the input and on what is classified
    """

    def __init__(self, inputs: int, *, classes: int, hidden: int = 100, dropout: float = 0.2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, bidirectional=True, batch_first=True)
        self.dense = nn.Linear(2 * hidden, 2 * hidden)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * hidden, classes)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Encoding:
        """Embeddings (B, S, D), lengths (B,), at least 1 -> contextual ones (B, S, 2H), logits (B, S, classes)."""
        outputs = run_recurrent(self.lstm, self.dropout(embeddings), lengths)  # (B, S, 2H)
        contextual = self.dense(outputs).relu()
        return Encoding(contextual, self.classify(self.dropout(contextual)))


# Turns at zero that each speaker's mean counts beside the real ones. Of a voice that is heard once or twice little is
# known, and without them a lone turn would cancel itself.
PRIOR_TURNS = 4


def subtract_speaker_means(embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
    """Embeddings (S, E) of a conversation -> (S, E): each one's difference from its speaker's mean in it.

    Speaker normalisation (Busso, Mariooryad, Metallinou and Narayanan, "Iterative feature normalization scheme for
    automatic emotion detection from speech", IEEE Transactions on Affective Computing, 2013), with what a single
    conversation tells of a speaker. It is no part of the paper.

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
    """The same for a conversation that goes on: each speaker's mean over the turns so far."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.turns: Counter[str] = Counter()

    def add(self, embedding: Tensor, speaker: str) -> None:
        """Count one more turn, its embedding (E,)."""
        self.sums[speaker] = self.sums.get(speaker, torch.zeros_like(embedding)) + embedding
        self.turns[speaker] += 1

    def subtract_from(self, embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
        """Some of the turns so far (S, E) -> (S, E): what ``subtract_speaker_means`` gives of them among all."""
        means = [self.sums[speaker] / (self.turns[speaker] + PRIOR_TURNS) for speaker in speakers]
        return embeddings - torch.stack(means)
