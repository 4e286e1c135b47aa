"""Instead of the BiGRU with self-attention: the contextual LSTM of bc-LSTM.

Poria, Cambria, Hazarika, Majumder, Zadeh and Morency, "Context-Dependent Sentiment Analysis in User-Generated Videos",
ACL 2017 (doi:10.18653/v1/P17-1081): one bidirectional LSTM over a video's utterances, a dense layer, a softmax.
"""

from torch import Tensor, nn

from moodline.encoding import Encoding
from moodline.padding import run_recurrent

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
