"""Fusion (paper, section 2.4): speech and words of a conversation in one transformer, and two simpler alternatives.

Shapes: B conversations, S utterances of the longest one, D input size of a modality, H hidden size.
"""

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_length_mask
from moodline.modeling.context import BcLstm


class Fusion(nn.Module):
    """Map the contextual embeddings of both modalities to an encoding of each utterance."""

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        lengths: Tensor,
        has_audio: Tensor | None = None,
        has_text: Tensor | None = None,
    ) -> Encoding:
        """Map audio and text (B, S, D), lengths (B,) of at least 1 to embeddings (B, S, ...), logits (B, S, classes).

        Args:
            has_audio, has_text: (B, S), True where an utterance has the modality, which is zeroed elsewhere; None
                where every utterance has it. A conversation has at least one modality somewhere.
        """
        attended = [build_length_mask(lengths, audio.shape[1])] * 2
        if has_audio is not None:
            audio = audio.masked_fill(~has_audio[..., None], 0.0)  # (B, S) -> (B, S, 1)
            attended[1] = attended[1] & has_audio
        if has_text is not None:
            text = text.masked_fill(~has_text[..., None], 0.0)
            attended[0] = attended[0] & has_text
        return self.fuse_modalities(audio, text, lengths, torch.cat(attended, dim=1))

    def fuse_modalities(self, audio: Tensor, text: Tensor, lengths: Tensor, attended: Tensor) -> Encoding:
        """Fuse embeddings that are zero where absent; ``attended`` (B, 2S) is True for present text, then audio."""
        raise NotImplementedError


class MultimodalTransformer(Fusion):
    """Fuse with one transformer over the 2S tokens of a conversation, without position encoding: the paper's box.

    Each utterance s gives one token per modality m,

        token_ms = W_m (p_ms x_ms) + b_m        attention_ij = p_j exp(q_i k_j) / sum over l of p_l exp(q_i k_l)

    with x_ms the contextual embedding (D,), p_ms 1 where the utterance has the modality and 0 elsewhere, W_m (H x D),
    and i, j any two tokens. With every p_ms = 1 these are the paper's equations. An utterance's two outputs are
    concatenated (B, S, 2H) and classified. Layers are BERT's: normalisation after each sublayer, GELU between.

    Args:
        dropout: on the tokens and within the layers
        output_dropout: on the input of the classifier
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

    def fuse_modalities(self, audio: Tensor, text: Tensor, lengths: Tensor, attended: Tensor) -> Encoding:
        tokens = torch.cat([self.text_map(text), self.audio_map(audio)], dim=1)  # (B, 2S, H)
        outputs = self.encoder(self.dropout(tokens), src_key_padding_mask=~attended)
        fused = torch.cat(outputs.chunk(2, dim=1), dim=-1)  # (B, 2S, H) -> (B, S, 2H)
        return Encoding(fused, self.classify(self.output_dropout(fused)))


class Concatenation(Fusion):
    """Fuse each utterance by itself: fused = relu(W [audio; text] + b), with W (H x 2D); dropout before both layers."""

    def __init__(self, inputs: int, *, classes: int, hidden: int = 120, output_dropout: float = 0.2) -> None:
        super().__init__()
        self.fuse = nn.Linear(2 * inputs, hidden)
        self.dropout = nn.Dropout(output_dropout)
        self.classify = nn.Linear(hidden, classes)

    def fuse_modalities(self, audio: Tensor, text: Tensor, lengths: Tensor, attended: Tensor) -> Encoding:
        fused = self.fuse(self.dropout(torch.cat([audio, text], dim=-1))).relu()  # (B, S, 2D) -> (B, S, H)
        return Encoding(fused, self.classify(self.dropout(fused)))


class HierarchicalBcLstm(Fusion):
    """Fuse with a contextual LSTM over the concatenated modalities (Poria et al. 2017, level two of the hierarchy)."""

    def __init__(self, inputs: int, *, classes: int, hidden: int = 120, output_dropout: float = 0.2) -> None:
        super().__init__()
        self.level = BcLstm(2 * inputs, classes=classes, hidden=hidden, dropout=output_dropout)

    def fuse_modalities(self, audio: Tensor, text: Tensor, lengths: Tensor, attended: Tensor) -> Encoding:
        return self.level(torch.cat([audio, text], dim=-1), lengths)  # (B, S, 2D)
