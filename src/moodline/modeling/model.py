"""The model (paper, figure 1): the five boxes built from a recipe, and their forward pass."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

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
    Recipe,
)
from moodline.errors import MoodlineError
from moodline.modeling.as_released import ReleasedAttention
from moodline.modeling.audio_assets import AudioBackbone, load_audio_backbone
from moodline.modeling.audio_backbone import FASTER_WHISPER
from moodline.modeling.audio_encoder import LeafCnn
from moodline.modeling.batching import Encoding, build_length_mask
from moodline.modeling.context import BcLstm, BiGruAttention, ResidualAttention, SelfAttention, SpeakerMeans
from moodline.modeling.frontend import FrontEnd, LogMel
from moodline.modeling.fusion import Concatenation, HierarchicalBcLstm, MultimodalTransformer
from moodline.modeling.leaf import Leaf
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.text_encoder import TextEncoder, Tokenizer, load_text_backbone

# The utterance encoder that each context stage reads.
ENCODER_BY_STAGE = {AUDIO_CONTEXT: AUDIO_UTTERANCE, TEXT_CONTEXT: TEXT_UTTERANCE}
# A recipe selects one of these by name.
FRONT_ENDS: dict[str, type[FrontEnd]] = {"leaf": Leaf, "log_mel": LogMel}
ATTENTIONS = {"paper": SelfAttention, "released": ReleasedAttention, "residual": ResidualAttention}
CONTEXTS: dict[str, type[nn.Module]] = {"bigru_attention": BiGruAttention, "bc_lstm": BcLstm}
FUSIONS: dict[str, type[nn.Module]] = {
    "transformer": MultimodalTransformer,
    "concatenation": Concatenation,
    "bc_lstm": HierarchicalBcLstm,
}
Box = TypeVar("Box")


def build_box(box: Callable[..., Box], config: Any, **arguments: Any) -> Box:
    """Call a class with those of the arguments and of its configuration's fields that it has parameters for."""
    values = vars(config) | arguments
    return box(**{name: values[name] for name in inspect.signature(box).parameters if name in values})


def build_audio_utterance(
    config: AudioUtteranceConfig, classes: int, backbone: AudioBackbone | None = None
) -> LeafCnn | PretrainedAudio:
    if config.encoder != "leaf_cnn":
        assert backbone is not None, "a pretrained encoder is loaded before its part is built"
        model, extractor = backbone
        whole = {"layers": "all"} if config.encoder == FASTER_WHISPER else {}  # it gives its last layer alone
        return build_box(PretrainedAudio, config, backbone=model, extractor=extractor, classes=classes, **whole)
    try:
        # The recipe's padding is that of the waveforms.
        front_end = build_box(FRONT_ENDS[config.frontend], config, padding="symmetric")
    except ValueError as error:
        raise MoodlineError(
            f"audio_utterance cannot build its front-end: {error}. Correct the recipe.", code="recipe.invalid_front_end"
        ) from error
    try:
        return build_box(LeafCnn, config, front_end=front_end, classes=classes)
    except ValueError as error:
        raise MoodlineError(
            f"audio_utterance.filters and audio_utterance.channels do not fit: {error}. Correct the recipe.",
            code="recipe.unfit_channels",
        ) from error


def build_context(config: ContextConfig, inputs: int, classes: int) -> nn.Module:
    attention = partial(build_box, ATTENTIONS[config.attention], config)
    return build_box(CONTEXTS[config.kind], config, inputs=inputs, classes=classes, attention=attention)


def build_speaker_means(config: ContextConfig) -> SpeakerMeans | None:
    """Build the means that a context's inputs are related to; None if it reads embeddings as they are."""
    return build_box(SpeakerMeans, config) if config.reads_speaker_means else None


def relate_to_speakers(embeddings: Tensor, speakers: Sequence[str], config: ContextConfig) -> Tensor:
    """Relate each embedding of a whole conversation (S, E) to its speaker's mean -> what the context reads (S, D)."""
    means = build_speaker_means(config)
    if means is None:
        return embeddings
    for embedding, speaker in zip(embeddings, speakers, strict=True):
        means.add(embedding, speaker)
    return means.relate(embeddings, speakers)


def build_stage(stage: str, recipe: Recipe, classes: int, backbone: Any = None) -> nn.Module:
    """Build one of the five parts, untrained; only those of pretrained encoders need a ``backbone``.

    That of speech is an ``AudioBackbone``.
    """
    if stage == AUDIO_UTTERANCE:
        return build_audio_utterance(recipe.audio_utterance, classes, backbone)
    if stage == TEXT_UTTERANCE:
        return build_box(TextEncoder, recipe.text_utterance, backbone=backbone, classes=classes)
    if stage == FUSION:
        inputs = 2 * recipe.audio_context.hidden
        return build_box(FUSIONS[recipe.fusion.kind], recipe.fusion, inputs=inputs, classes=classes)
    config, embedding = getattr(recipe, stage), getattr(recipe, ENCODER_BY_STAGE[stage]).embedding
    return build_context(config, config.count_inputs(embedding), classes)


def load_backbone(stage: str, recipe: Recipe) -> tuple[Any, Tokenizer | None]:
    """Load a stage's pretrained encoder, and the tokenizer of one that reads words; None for stages without one."""
    audio, text = recipe.audio_utterance, recipe.text_utterance
    if stage == TEXT_UTTERANCE:
        return load_text_backbone(text.pretrained, text.maximum_tokens, text.revision)
    if stage == AUDIO_UTTERANCE and audio.encoder != "leaf_cnn":
        key = f"{stage}.pretrained"
        return load_audio_backbone(audio.encoder, audio.pretrained, key=key, revision=audio.revision), None
    return None, None


def get_classifier(part: nn.Module) -> nn.Module:
    """Get a part's last layer, which maps its embeddings (..., D) to logits (..., classes)."""
    return getattr(part, "classifier" if isinstance(part, LeafCnn) else "classify")


class ConversationModel(nn.Module):
    """Hold the trained parts; the forward pass continues from the embeddings of the utterance encoders."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(parts))

    def forward(
        self,
        embeddings: Mapping[str, Tensor],
        lengths: Tensor,
        encoded: Mapping[str, Tensor] | None = None,
        present: Mapping[str, Tensor] | None = None,
        speakers: Tensor | None = None,
    ) -> dict[str, Encoding]:
        """Map utterance embeddings (B, S, E) by encoder, lengths (B,) to each later stage's encoding (B, S, ...).

        Args:
            embeddings: of one encoder or both; a context without its encoder is skipped
            encoded: by encoder (B, S), True where a context reads the turn; its encoding of the others is NaN
            present: by encoder (B, S), True where the fusion reads the turn's modality; by default it reads all, and
                fuses nothing if one encoder is missing
            speakers: (B, S), see ``BiGruAttention`` and ``SpeakerCrf``
        """
        encodings = {
            stage: encode_present(
                self.parts[stage], embeddings[encoder], lengths, (encoded or {}).get(encoder), speakers
            )
            for stage, encoder in ENCODER_BY_STAGE.items()
            if stage in self.parts and encoder in embeddings
        }
        if FUSION in self.parts and (present is not None or len(encodings) == len(ENCODER_BY_STAGE)):
            missing = torch.zeros_like(next(iter(encodings.values())).embeddings)  # both contexts have one size
            inputs = (encodings[stage].embeddings if stage in encodings else missing for stage in ENCODER_BY_STAGE)
            masks = () if present is None else (present[encoder] for encoder in ENCODER_BY_STAGE.values())
            encodings[FUSION] = self.parts[FUSION](*inputs, lengths, speakers, *masks)
        return encodings


def encode_present(
    part: nn.Module, values: Tensor, lengths: Tensor, mask: Tensor | None, speakers: Tensor | None = None
) -> Encoding:
    """Encode the turns of each conversation that a mask (B, S) keeps; the encoding of the others is NaN."""
    if mask is None or bool((mask | ~build_length_mask(lengths, values.shape[1])).all()):
        return part(values, lengths, speakers)
    order = (~mask).long().argsort(dim=1, stable=True)  # (B, S): the kept turns first, in their order
    front = values.gather(1, order[..., None].expand_as(values))
    speakers = None if speakers is None else speakers.gather(1, order)
    found = part(front, mask.sum(dim=1).clamp(min=1), speakers)  # a conversation without any reads one unused turn
    back = order.argsort(dim=1)[..., None]  # (B, S, 1)
    placed = (one.gather(1, back.expand_as(one)) for one in found)  # (B, S, ...)
    return Encoding(*(one.masked_fill(~mask[..., None], torch.nan) for one in placed))
