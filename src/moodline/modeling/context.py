"""Context (paper, section 2.3): utterance embeddings in the context of their conversation, for each modality.

Shapes: B conversations, S utterances of the longest one, D input size, H hidden size of one direction.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from moodline.conversation import UNKNOWN
from moodline.modeling.batching import Encoding, build_bigru, build_length_mask, run_recurrent

UNKNOWN_SPEAKER = -1  # in place of a speaker's number


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


class ResidualAttention(nn.Module):
    """Compute LayerNorm(O + softmax(Q K^T / sqrt(H)) V U), softmax over each row; Q, K, V are linear maps of O (S x H).

    The residual path keeps an utterance's own encoding, of which the paper's attention keeps only its share of the
    average (Vaswani et al., "Attention is all you need", NeurIPS 2017).
    """

    def __init__(self, *, hidden: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(hidden, 1, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.normalise = nn.LayerNorm(hidden)

    def weights(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Map outputs (B, S, H) and mask (B, S) to attention weights (B, S, S), each row a distribution over turns."""
        return self.attend(outputs, outputs, outputs, key_padding_mask=~mask)[1]

    def forward(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Map outputs (B, S, H) and mask (B, S) to (B, S, H)."""
        attended, _ = self.attend(outputs, outputs, outputs, key_padding_mask=~mask, need_weights=False)
        return self.normalise(outputs + self.dropout(attended))


class BiGruAttention(nn.Module):
    """Map a conversation's utterance embeddings to contextual ones, and classify each utterance: the paper's box.

    Args:
        self_attention: whether each direction of the GRU attends to its own outputs; otherwise they are used unchanged
        attention: builds one direction's attention from ``hidden``; it reads outputs (B, S, H) and their mask (B, S)
        speaker_gru: whether a second BiGRU, of one layer, reads each speaker's turns alone, and its output is added to
            the first one's: a speaker's own emotion lasts from turn to turn (after the party states of Majumder et al.,
            "DialogueRNN", AAAI 2019)
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
        attention: Callable[..., nn.Module] = SelfAttention,
        speaker_gru: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.gru = build_bigru(inputs, hidden, layers, dropout)
        self.speaker_gru = build_bigru(inputs, hidden, 1, 0.0) if speaker_gru else None
        self.attention = nn.ModuleList(attention(hidden=hidden) for _ in range(2 if self_attention else 0))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * hidden, classes)

    def forward(self, embeddings: Tensor, lengths: Tensor, speakers: Tensor | None = None) -> Encoding:
        """Map embeddings (B, S, D), lengths (B,) of at least 1 to embeddings (B, S, 2H), logits (B, S, classes).

        Args:
            speakers: (B, S), numbers that are equal for turns of one speaker, or ``UNKNOWN_SPEAKER``; read by the
                speakers' GRU, which reads nothing of turns of unknown speakers
        """
        outputs, mask = self._run_gru(embeddings, lengths, speakers)
        if self.attention:
            directions = zip(self.attention, outputs.chunk(2, dim=-1), strict=True)  # twice (B, S, H)
            outputs = torch.cat([attend(one, mask) for attend, one in directions], dim=-1)  # (B, S, 2H)
        return Encoding(outputs, self.classify(self.dropout(outputs)))

    def weights(self, embeddings: Tensor, lengths: Tensor, speakers: Tensor | None = None) -> list[Tensor]:
        """Map embeddings (B, S, D), lengths (B,) to each direction's attention weights, twice (B, S, S).

        The list is empty without self-attention, and for an attention whose rows are not distributions over the turns.
        """
        outputs, mask = self._run_gru(embeddings, lengths, speakers)
        directions = zip(self.attention, outputs.chunk(2, dim=-1), strict=False)  # twice (B, S, H), or no attention
        return [
            attend.weights(one, mask)
            for attend, one in directions
            if isinstance(attend, SelfAttention | ResidualAttention)
        ]

    def _run_gru(self, embeddings: Tensor, lengths: Tensor, speakers: Tensor | None) -> tuple[Tensor, Tensor]:
        embeddings = self.dropout(embeddings)
        outputs = run_recurrent(self.gru, embeddings, lengths)  # (B, S, 2H)
        mask = build_length_mask(lengths, outputs.shape[1])
        if self.speaker_gru is not None and speakers is not None:
            known = speakers.masked_fill(~mask, UNKNOWN_SPEAKER)
            run = partial(run_recurrent, self.speaker_gru)
            outputs = outputs + run_by_speaker(run, embeddings, known, outputs.shape[-1])
        return outputs, mask


def run_by_speaker(run: Callable[[Tensor, Tensor], Tensor], values: Tensor, speakers: Tensor, outputs: int) -> Tensor:
    """Run a function over each speaker's turns alone: values (B, S, D), speakers (B, S) -> (B, S, outputs).

    The outputs of turns of ``UNKNOWN_SPEAKER`` are zero.

    Args:
        run: maps the padded turns of speakers (speakers, L, D) and their lengths to (speakers, L, outputs)
    """
    conversations, turns = (speakers != UNKNOWN_SPEAKER).nonzero(as_tuple=True)  # (N,) each, in order
    if not len(turns):
        return values.new_zeros(*speakers.shape, outputs)
    keys = conversations * speakers.shape[1] + speakers[conversations, turns]  # a number below S for each speaker
    _, group, sizes = keys.unique(return_inverse=True, return_counts=True)  # (N,), (speakers,)
    order = group.argsort(stable=True)  # a speaker's turns together, in their order
    rows, columns = conversations[order], turns[order]
    padded = nn.utils.rnn.pad_sequence(list(values[rows, columns].split(sizes.tolist())), batch_first=True)
    found = run(padded, sizes)[build_length_mask(sizes, padded.shape[1])]  # (N, outputs)
    return found.new_zeros(*speakers.shape, found.shape[-1]).index_put((rows, columns), found)


def number_speakers(speakers: Sequence[str]) -> Tensor:
    """Number a conversation's speakers in the order of their first turns: (S,), ``UNKNOWN_SPEAKER`` where unknown."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(speakers)) if name != UNKNOWN}
    return torch.tensor([numbers.get(name, UNKNOWN_SPEAKER) for name in speakers], dtype=torch.long)


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

    def forward(self, embeddings: Tensor, lengths: Tensor, speakers: Tensor | None = None) -> Encoding:
        """Map embeddings (B, S, D), lengths (B,) of at least 1 to embeddings (B, S, 2H), logits (B, S, classes).

        ``speakers`` has no effect.
        """
        outputs = run_recurrent(self.lstm, self.dropout(embeddings), lengths)  # (B, S, 2H)
        contextual = self.dense(outputs).relu()
        return Encoding(contextual, self.classify(self.dropout(contextual)))


# Zero turns that each speaker's mean includes, so that a lone turn does not cancel itself.
PRIOR_TURNS = 4


class SpeakerMeans:
    """Relate each turn's embedding to the mean of its speaker's turns so far in the conversation.

    Speaker normalisation (Busso, Mariooryad, Metallinou and Narayanan, "Iterative feature normalization scheme for
    automatic emotion detection from speech", IEEE Transactions on Affective Computing, 2013), within one conversation.
    Subtracting removes whatever is constant over a speaker's turns, a lasting emotion included; appending the mean
    keeps it.

    Args:
        speaker_relative: subtract the mean
        append_speaker_mean: append it
    """

    def __init__(self, *, speaker_relative: bool = True, append_speaker_mean: bool = False) -> None:
        self.subtracts, self.appends = speaker_relative, append_speaker_mean
        self.sums: dict[str, Tensor] = {}
        self.turns: Counter[str] = Counter()

    def add(self, embedding: Tensor, speaker: str) -> None:
        """Add one more turn, its embedding (E,)."""
        self.sums[speaker] = self.sums.get(speaker, torch.zeros_like(embedding)) + embedding
        self.turns[speaker] += 1

    def relate(self, embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
        """Relate some of the turns so far (S, E) to the means so far: (S, E), or (S, 2E) with the means appended."""
        means = torch.stack([self.sums[speaker] / (self.turns[speaker] + PRIOR_TURNS) for speaker in speakers])
        related = embeddings - means if self.subtracts else embeddings
        return torch.cat([related, means], dim=-1) if self.appends else related
