"""Part 4: speech and words of a conversation in one transformer (paper, section 2.4), and simpler alternatives."""

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_length_mask
from moodline.modeling.context import BcLstm


def zero_absent(embeddings: Tensor, present: Tensor | None) -> Tensor:
    """A modality's embeddings (B, S, D), those of utterances that lack it as zeros, whatever stands there.

    Args:
        present: (B, S), True where the utterance has the modality; None where all have it
    """
    return embeddings if present is None else embeddings.masked_fill(~present[..., None], 0.0)  # (B, S) -> (B, S, 1)


# Shapes: B conversations, S utterances of the longest one, D input size of a modality, H hidden size.


class MultimodalTransformer(nn.Module):
    """Contextual embeddings of both modalities to a label for every utterance.

    The S tokens of the words and the S tokens of the speech stand in one sequence of 2S, without position
    encoding; every token attends to all. An utterance's two outputs, side by side, are classified.

    A modality m that utterance s lacks (p_ms = 0) is read as zeros, so that its token is the bias of the modality's
    map, and no token attends to it. With x_ms the embeddings, W_m and b_m the map, and i, j any two of the 2S tokens:

        token_ms = W_m (p_ms x_ms) + b_m        attention_ij = p_j exp(q_i k_j) / sum over l of p_l exp(q_i k_l)

    The token itself attends to all that is present: the bias stands for "absent", and its output for what the rest of
    the conversation tells. With everything present these are the paper's equations, and there are no other weights.

    Args:
        inputs: D, size of each modality's contextual embeddings
        classes: how many emotions
        hidden: H, of the transformer
        heads: of its attention
        layers: of its encoder, BERT's: normalised after each sublayer, GELU between
        feed_forward: hidden size within a layer
        dropout: on the tokens and within the layers
        output_dropout: on what is classified
    """

    def __init__(
        self,
        inputs: int,
        *,
        classes: int,
        hidden: int = 120,
        heads: int = 12,
        layers: int = 3,
        feed_forward: int = 3072,
        dropout: float = 0.1,
        output_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.text_map = nn.Linear(inputs, hidden)
        self.audio_map = nn.Linear(inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            hidden, heads, feed_forward, dropout=dropout, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.output_dropout = nn.Dropout(output_dropout)
        self.classify = nn.Linear(2 * hidden, classes)

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
            has_audio, has_text: (B, S), True where an utterance has the modality; everywhere if left out. A
                conversation has one of them somewhere.
        """
        size, data = audio.shape[1], build_length_mask(lengths, audio.shape[1])
        audio, text = zero_absent(audio, has_audio), zero_absent(text, has_text)
        tokens = torch.cat([self.text_map(text), self.audio_map(audio)], dim=1)  # (B, 2S, H)
        attended = [data if present is None else data & present for present in (has_text, has_audio)]
        unattended = ~torch.cat(attended, dim=1)  # (B, S), (B, S) -> (B, 2S)
        outputs = self.encoder(self.dropout(tokens), src_key_padding_mask=unattended)
        fused = torch.cat(outputs.split(size, dim=1), dim=-1)  # (B, 2S, H) -> (B, S, 2H)
        return Encoding(fused, self.classify(self.output_dropout(fused)))


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
        audio, text = zero_absent(audio, has_audio), zero_absent(text, has_text)
        both = torch.cat([audio, text], dim=-1)  # (B, S, 2D)
        fused = self.fuse(self.dropout(both)).relu()
        return Encoding(fused, self.classify(self.dropout(fused)))


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
        audio, text = zero_absent(audio, has_audio), zero_absent(text, has_text)
        return self.level(torch.cat([audio, text], dim=-1), lengths)  # (B, S, 2D)
