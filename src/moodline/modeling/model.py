"""The model (paper, figure 1): the five boxes built from a recipe, and their forward pass."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moodline.config import (
    AUDIO_CONTEXT,
    AUDIO_UTTERANCE,
    FUSION,
    TEXT_CONTEXT,
    TEXT_UTTERANCE,
    AudioUtteranceConfig,
    ContextConfig,
    FusionConfig,
    Recipe,
    TextUtteranceConfig,
)
from moodline.errors import MoodlineError
from moodline.modeling.as_released import ReleasedAttention
from moodline.modeling.audio_encoder import LeafCnn
from moodline.modeling.batching import Encoding, build_length_mask
from moodline.modeling.context import BcLstm, BiGruAttention, SelfAttention
from moodline.modeling.frontend import LogMel
from moodline.modeling.fusion import Concatenation, HierarchicalBcLstm, MultimodalTransformer
from moodline.modeling.leaf import Leaf
from moodline.modeling.text_encoder import BertGru

# The utterance encoder that each context stage reads.
ENCODER_BY_STAGE = {AUDIO_CONTEXT: AUDIO_UTTERANCE, TEXT_CONTEXT: TEXT_UTTERANCE}
# A recipe selects one of these by name.
FRONT_ENDS = {"leaf": Leaf, "log_mel": LogMel}
ATTENTIONS = {"paper": SelfAttention, "released": ReleasedAttention}


def build_audio_utterance(config: AudioUtteranceConfig, classes: int) -> LeafCnn:
    try:
        front_end = FRONT_ENDS[config.frontend](
            filters=config.filters,
            sample_rate=config.sample_rate,
            window_ms=config.window_ms,
            stride_ms=config.stride_ms,
            minimum_frequency=config.minimum_frequency,
            maximum_frequency=config.maximum_frequency,
        )
    except ValueError as error:
        raise MoodlineError(
            f"audio_utterance cannot build its front-end: {error}. Correct the recipe.", code="recipe.invalid_front_end"
        ) from error
    try:
        return LeafCnn(
            front_end=front_end,
            classes=classes,
            embedding=config.embedding,
            channels=config.channels,
            dropout=config.dropout,
            waveform_normalisation=config.waveform_normalisation,
            channel_normalisation=config.channel_normalisation,
            mask_channels=config.mask_channels,
            mask_frames=config.mask_frames,
            shift_channels=config.shift_channels,
        )
    except ValueError as error:
        raise MoodlineError(
            f"audio_utterance.filters and audio_utterance.channels do not fit: {error}. Correct the recipe.",
            code="recipe.unfit_channels",
        ) from error


def build_text_utterance(config: TextUtteranceConfig, classes: int, bert: Any) -> BertGru:
    return BertGru(
        bert,
        classes=classes,
        hidden=config.hidden,
        layers=config.layers,
        embedding=config.embedding,
        dropout=config.dropout,
        num_unfrozen_layers=config.num_unfrozen_layers,
    )


def build_context(config: ContextConfig, inputs: int, classes: int) -> BiGruAttention | BcLstm:
    if config.kind == "bc_lstm":
        return BcLstm(inputs, classes=classes, hidden=config.hidden, dropout=config.dropout)
    return BiGruAttention(
        inputs,
        classes=classes,
        hidden=config.hidden,
        layers=config.layers,
        self_attention=config.self_attention,
        attention=ATTENTIONS[config.attention],
        dropout=config.dropout,
    )


def build_fusion(config: FusionConfig, inputs: int, classes: int) -> nn.Module:
    if config.kind == "concatenation":
        return Concatenation(inputs, classes=classes, hidden=config.hidden, dropout=config.output_dropout)
    if config.kind == "bc_lstm":
        return HierarchicalBcLstm(inputs, classes=classes, hidden=config.hidden, dropout=config.output_dropout)
    return MultimodalTransformer(
        inputs,
        classes=classes,
        hidden=config.hidden,
        heads=config.heads,
        layers=config.layers,
        feed_forward=config.feed_forward,
        dropout=config.dropout,
        output_dropout=config.output_dropout,
    )


def build_stage(stage: str, recipe: Recipe, classes: int, bert: Any = None) -> nn.Module:
    """Build one of the five parts, untrained; only the text utterance encoder needs ``bert``."""
    if stage == AUDIO_UTTERANCE:
        return build_audio_utterance(recipe.audio_utterance, classes)
    if stage == TEXT_UTTERANCE:
        return build_text_utterance(recipe.text_utterance, classes, bert)
    if stage == AUDIO_CONTEXT:
        return build_context(recipe.audio_context, recipe.audio_utterance.embedding, classes)
    if stage == TEXT_CONTEXT:
        return build_context(recipe.text_context, recipe.text_utterance.embedding, classes)
    return build_fusion(recipe.fusion, 2 * recipe.audio_context.hidden, classes)


def get_classifier(part: nn.Module) -> nn.Module:
    """Get a part's last layer, which maps its embeddings (..., D) to logits (..., classes)."""
    return getattr(part, "classifier" if isinstance(part, LeafCnn) else "classify")


class ConversationModel(nn.Module):
    """Hold the trained parts.

    ``parts[AUDIO_UTTERANCE]`` and ``parts[TEXT_UTTERANCE]`` encode utterances in batches of any kind; the forward pass
    continues from their embeddings, conversation by conversation.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(parts))

    def forward(
        self,
        embeddings: Mapping[str, Tensor],
        lengths: Tensor,
        encoded: Mapping[str, Tensor] | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Encoding]:
        """Map utterance embeddings (B, S, E) by encoder, lengths (B,) to each later stage's encoding (B, S, ...).

        Args:
            embeddings: of one encoder or both; a context without its encoder is skipped
            encoded: by encoder, (B, S), True where an utterance has an embedding (default: everywhere): a context reads
                only these turns, and its encoding of the others is NaN
            present: by encoder, (B, S), True where the fusion reads the utterance's modality; by default it reads all,
                and fuses nothing if one encoder is missing
        """
        encodings = {
            stage: encode_present(self.parts[stage], embeddings[encoder], lengths, (encoded or {}).get(encoder))
            for stage, encoder in ENCODER_BY_STAGE.items()
            if stage in self.parts and encoder in embeddings
        }
        if FUSION in self.parts and present is not None:
            known = next(iter(encodings.values())).embeddings  # both contexts have one size
            audio, text = (
                encodings[stage].embeddings if stage in encodings else torch.zeros_like(known)
                for stage in ENCODER_BY_STAGE
            )
            masks = (present[encoder] for encoder in ENCODER_BY_STAGE.values())
            encodings[FUSION] = self.parts[FUSION](audio, text, lengths, *masks)
        elif FUSION in self.parts and len(encodings) == len(ENCODER_BY_STAGE):
            audio, text = (encodings[stage].embeddings for stage in ENCODER_BY_STAGE)
            encodings[FUSION] = self.parts[FUSION](audio, text, lengths)
        return encodings


def encode_present(part: nn.Module, values: Tensor, lengths: Tensor, mask: Tensor | None) -> Encoding:
    """Encode the turns of each conversation that a mask (B, S) keeps; the encoding of the others is NaN."""
    if mask is None or bool((mask | ~build_length_mask(lengths, values.shape[1])).all()):
        return part(values, lengths)
    order = (~mask).long().argsort(dim=1, stable=True)  # (B, S): the kept turns first, in their order
    front = values.gather(1, order[..., None].expand_as(values))
    found = part(front, mask.sum(dim=1).clamp(min=1))  # a conversation without any reads one unused turn
    back = order.argsort(dim=1)[..., None]  # (B, S, 1)
    return Encoding(
        *(
            one.gather(1, back.expand_as(one)).masked_fill(~mask[..., None], torch.nan)  # (B, S, ...)
            for one in found
        )
    )
