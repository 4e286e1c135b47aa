"""Part 2, the text utterance encoder: BERT, its last four hidden layers, a GRU (paper, section 2.2)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from moodline.encoding import Encoding
from moodline.errors import MoodlineError
from moodline.padding import length_mask

HIDDEN_LAYERS_READ = 4  # "the last four hidden layers concatenated" (paper)


class BertGru(nn.Module):
    """Words to an utterance embedding.

    The GRU's final states of both directions are projected to the embedding; the paper leaves open how
    they become one vector. In eval mode padding never changes a result.

    Args:
        bert: a ``transformers`` BertModel
        classes: how many emotions
        hidden: of the GRU, each direction
        layers: of the GRU
        embedding: E, size of the utterance embedding
        dropout: on what the GRU reads, between its layers, and on the embedding
        trained_layers: how many of BERT's last layers learn; None: all of BERT

    Raises:
        MoodlineError: BERT has too few layers
    """

    def __init__(
        self,
        bert: Any,
        *,
        classes: int,
        hidden: int = 100,
        layers: int = 2,
        embedding: int = 100,
        dropout: float = 0.2,
        trained_layers: int | None = None,
    ) -> None:
        super().__init__()
        bert_layers = bert.config.num_hidden_layers
        if bert_layers < HIDDEN_LAYERS_READ:
            raise MoodlineError(
                f"BERT needs at least {HIDDEN_LAYERS_READ} layers to read, not {bert_layers}; choose a deeper BERT"
            )
        if trained_layers is not None and trained_layers > bert_layers:
            raise MoodlineError(
                f"trained_layers must be at most BERT's {bert_layers} layers, not {trained_layers}; "
                "null trains them all, and the embeddings below them"
            )
        self.bert = bert
        self.gru = nn.GRU(
            HIDDEN_LAYERS_READ * bert.config.hidden_size,
            hidden,
            num_layers=layers,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(2 * hidden, embedding)
        self.classify = nn.Linear(embedding, classes)
        if trained_layers is not None:
            self.bert.requires_grad_(False)
            for layer in self.bert.encoder.layer[bert_layers - trained_layers :]:
                layer.requires_grad_(True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Encoding:
        """Token ids (B, T) and lengths (B,), at least 1 -> embeddings (B, E), logits (B, classes)."""
        mask = length_mask(lengths, tokens.shape[1])
        hidden_states = self.bert(tokens, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        read = torch.cat(hidden_states[-HIDDEN_LAYERS_READ:], dim=-1)  # (B, T, 4 x hidden size)
        packed = pack_padded_sequence(self.dropout(read), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, states = self.gru(packed)  # (2 x layers, B, hidden)
        embeddings = self.embed(torch.cat([states[-2], states[-1]], dim=-1))  # (B, 2 x hidden) -> (B, E)
        return Encoding(embeddings, self.classify(self.dropout(embeddings)))
