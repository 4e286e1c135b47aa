"""Fusion (paper, section 2.4): speech and words of a conversation in one transformer, and two simpler alternatives.

Shapes: B conversations, S utterances of the longest one, D input size of a modality, H hidden size, C classes.
"""

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_length_mask
from moodline.modeling.context import UNKNOWN_SPEAKER, BcLstm, run_by_speaker


class SpeakerCrf(nn.Module):
    """Relate the classes of each speaker's consecutive turns by a linear-chain conditional random field.

    For a speaker's turns 1 to L with logits z_t (C,) and transitions W (C x C), the classes y have

        p(y) = exp(sum over t of z_t[y_t] + sum over t > 1 of W[y_(t-1), y_t]) / Z

    and each turn gets its log marginals log p(y_t), so that the loss is that of any classifier, with its weights, and a
    turn has probabilities (Lafferty, McCallum and Pereira, "Conditional random fields", ICML 2001; marginals in the
    loss: Kakade, Teh and Roweis, "An alternate objective function for Markovian fields", ICML 2002). W starts at zero,
    where turns are independent.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(classes, classes))

    def forward(self, logits: Tensor, speakers: Tensor) -> Tensor:
        """Map logits (B, S, C), speakers (B, S) to log marginals (B, S, C); log softmax where a speaker is unknown."""
        marginals = run_by_speaker(self.compute_log_marginals, logits, speakers, logits.shape[-1])
        return torch.where((speakers == UNKNOWN_SPEAKER)[..., None], logits.log_softmax(dim=-1), marginals)

    def compute_log_marginals(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Map the logits of chains (N, L, C), padded, and their lengths (N,) to log marginals (N, L, C)."""
        scores = logits.log_softmax(dim=-1)
        # Messages from the turns before and after, (N, C) each. They are normalised, which cancels in the marginals.
        before = [torch.zeros_like(scores[:, 0])]
        for turn in range(1, logits.shape[1]):
            joint = (before[-1] + scores[:, turn - 1])[:, :, None] + self.transitions  # (N, C, 1) + (C, C): from, to
            before.append(joint.logsumexp(dim=1).log_softmax(dim=-1))
        after = [torch.zeros_like(scores[:, 0])]
        for turn in range(logits.shape[1] - 1, 0, -1):
            joint = self.transitions + (after[-1] + scores[:, turn])[:, None, :]  # (C, C) + (N, 1, C): from, to
            follows = (turn < lengths)[:, None]  # a turn of the chain, not padding
            after.append(torch.where(follows, joint.logsumexp(dim=2).log_softmax(dim=-1), 0.0))
        return (torch.stack(before, dim=1) + scores + torch.stack(after[::-1], dim=1)).log_softmax(dim=-1)


class LateFusion(nn.Module):
    """Multiply the contexts' probabilities of each utterance, and divide by the classes' shares.

    That is Bayes' rule for modalities that are independent given the class: log p(y | a, t) = log p(y | a) +
    log p(y | t) - log p(y), up to a constant. The classifiers are the contexts' own and stay as they are.
    """

    log_shares: Tensor

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.audio, self.text = nn.Linear(inputs, classes), nn.Linear(inputs, classes)
        self.register_buffer("log_shares", torch.zeros(classes))
        self.requires_grad_(False)

    def copy_contexts(self, audio: nn.Module, text: nn.Module, shares: Tensor) -> None:
        """Take over the contexts' classifiers, and the classes' shares (C,) in the weighted training set."""
        self.audio.load_state_dict(audio.state_dict())
        self.text.load_state_dict(text.state_dict())
        self.log_shares.copy_(shares.log())

    def forward(self, audio: Tensor, text: Tensor, has_audio: Tensor | None, has_text: Tensor | None) -> Tensor:
        """Map audio and text (B, S, D), masks (B, S) to log probabilities (B, S, C); the shares where both lack."""
        total = self.log_shares.expand(*audio.shape[:2], -1)
        for classify, values, mask in ((self.audio, audio, has_audio), (self.text, text, has_text)):
            gain = classify(values).log_softmax(dim=-1) - self.log_shares
            total = total + (gain if mask is None else gain.masked_fill(~mask[..., None], 0.0))
        return total.log_softmax(dim=-1)


class Fusion(nn.Module):
    """Map the contextual embeddings of both modalities to an encoding of each utterance.

    Args:
        speaker_crf: whether a ``SpeakerCrf`` maps the logits
        late_fusion: whether log probabilities are the mean of the fusion's and of ``LateFusion``'s, except in training,
            where the fusion would learn to leave all to the latter
    """

    def __init__(self, inputs: int, classes: int, *, speaker_crf: bool = False, late_fusion: bool = False) -> None:
        super().__init__()
        self.speaker_crf = SpeakerCrf(classes) if speaker_crf else None
        self.late_fusion = LateFusion(inputs, classes) if late_fusion else None

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        lengths: Tensor,
        speakers: Tensor | None = None,
        has_audio: Tensor | None = None,
        has_text: Tensor | None = None,
    ) -> Encoding:
        """Map audio and text (B, S, D), lengths (B,) of at least 1 to embeddings (B, S, ...), logits (B, S, C).

        Args:
            speakers: (B, S), numbers that are equal for turns of one speaker, or ``UNKNOWN_SPEAKER``
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
        embeddings, logits = self.fuse_modalities(audio, text, lengths, torch.cat(attended, dim=1))
        if self.speaker_crf is not None and speakers is not None:
            known = speakers.masked_fill(~build_length_mask(lengths, speakers.shape[1]), UNKNOWN_SPEAKER)
            logits = self.speaker_crf(logits, known)
        if self.late_fusion is not None and not self.training:
            logits = (logits.log_softmax(dim=-1) + self.late_fusion(audio, text, has_audio, has_text)) / 2
        return Encoding(embeddings, logits)

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
        speaker_crf: bool = False,
        late_fusion: bool = False,
    ) -> None:
        super().__init__(inputs, classes, speaker_crf=speaker_crf, late_fusion=late_fusion)
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

    def __init__(
        self,
        inputs: int,
        *,
        classes: int,
        hidden: int = 120,
        output_dropout: float = 0.2,
        speaker_crf: bool = False,
        late_fusion: bool = False,
    ) -> None:
        super().__init__(inputs, classes, speaker_crf=speaker_crf, late_fusion=late_fusion)
        self.fuse = nn.Linear(2 * inputs, hidden)
        self.dropout = nn.Dropout(output_dropout)
        self.classify = nn.Linear(hidden, classes)

    def fuse_modalities(self, audio: Tensor, text: Tensor, lengths: Tensor, attended: Tensor) -> Encoding:
        fused = self.fuse(self.dropout(torch.cat([audio, text], dim=-1))).relu()  # (B, S, 2D) -> (B, S, H)
        return Encoding(fused, self.classify(self.dropout(fused)))


class HierarchicalBcLstm(Fusion):
    """Fuse with a contextual LSTM over the concatenated modalities (Poria et al. 2017, level two of the hierarchy)."""

    def __init__(
        self,
        inputs: int,
        *,
        classes: int,
        hidden: int = 120,
        output_dropout: float = 0.2,
        speaker_crf: bool = False,
        late_fusion: bool = False,
    ) -> None:
        super().__init__(inputs, classes, speaker_crf=speaker_crf, late_fusion=late_fusion)
        self.level = BcLstm(2 * inputs, classes=classes, hidden=hidden, dropout=output_dropout)

    def fuse_modalities(self, audio: Tensor, text: Tensor, lengths: Tensor, attended: Tensor) -> Encoding:
        return self.level(torch.cat([audio, text], dim=-1), lengths)  # (B, S, 2D)
