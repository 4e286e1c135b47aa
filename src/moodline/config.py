"""Every size and rate of the system, with the paper's values as defaults; checked before any data loads.

A recipe is one YAML file over these classes. "Released" marks values that the paper leaves open and the
authors' released code fixes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from moodline.errors import MoodlineError
from moodline.labels import LABEL_SETS, is_label_set

AUDIO_UTTERANCE = "audio_utterance"
TEXT_UTTERANCE = "text_utterance"
AUDIO_CONTEXT = "audio_context"
TEXT_CONTEXT = "text_context"
FUSION = "fusion"
# In the order in which they are trained, and as a reader is told of them.
STAGE_NAMES: Mapping[str, str] = {
    AUDIO_UTTERANCE: "speech, utterance",
    TEXT_UTTERANCE: "words, utterance",
    AUDIO_CONTEXT: "speech, context",
    TEXT_CONTEXT: "words, context",
    FUSION: "both, fused",
}
STAGES = tuple(STAGE_NAMES)
# What is read of a conversation: speech and words, or one of them alone.
Modalities = Literal["both", "audio", "text"]
# A fusion that was trained with modality dropout, given one of its modalities alone: as stages of their own in scores.
FUSED_ALONE: Mapping[Modalities, str] = {"audio": "fusion_audio", "text": "fusion_text"}
FUSED_ALONE_NAMES: Mapping[str, str] = {"fusion_audio": "fused, speech alone", "fusion_text": "fused, words alone"}
# The utterance encoders, and the option that gives embeddings from a file in the place of each.
EMBEDDINGS_OPTIONS: Mapping[str, str] = {
    AUDIO_UTTERANCE: "--audio-embeddings",
    TEXT_UTTERANCE: "--text-embeddings",
}
ENCODERS = tuple(EMBEDDINGS_OPTIONS)
# The power of a class's rarity that its utterances' losses are weighted by.
CLASS_WEIGHTS: Mapping[str, float] = {"none": 0.0, "square_root": 0.5, "balanced": 1.0}


def _require(config: object, keys: str, rule: bool, meaning: str) -> None:
    """Refuse a value of one or more keys; ``recipe_from`` adds the section, which the class alone does not tell."""
    if not rule:
        values = ", ".join(repr(getattr(config, key)) for key in keys.split(", "))
        raise MoodlineError(f"{keys} must be {meaning}, not {values}; correct it in the recipe or in the command")


def _require_positive(config: object, *keys: str) -> None:
    for key in keys:
        _require(config, key, getattr(config, key) > 0, "greater than 0")
        _require(config, key, math.isfinite(getattr(config, key)), "a finite number")


def _require_at_least_0(config: object, *keys: str) -> None:
    for key in keys:
        _require(config, key, getattr(config, key) >= 0, "0 or greater")
        _require(config, key, math.isfinite(getattr(config, key)), "a finite number")


def _require_share(config: object, *keys: str) -> None:
    for key in keys:
        _require(config, key, 0 <= getattr(config, key) < 1, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How one stage is trained (Adam).

    Args:
        batch_size: utterances, or conversations, in a batch
        learning_rate: of Adam, constant or decayed (see decay)
        epochs: at most
        patience: epochs without a lower validation loss before the stage stops
        weight_decay: decoupled, as in AdamW; 0 is Adam
        gradient_norm: gradients are scaled down to this norm; 0 leaves them as they are
        decay: constant, or cosine: from the learning rate to 0 over all epochs
        averaging: what is validated and kept is a moving average of the weights, of which a step keeps this share;
            0 takes the weights as they are
    """

    batch_size: int = 32
    learning_rate: float = 1e-3
    epochs: int = 20
    patience: int = 20
    weight_decay: float = 0.0
    gradient_norm: float = 0.0
    decay: Literal["constant", "cosine"] = "constant"
    averaging: float = 0.0

    def __post_init__(self) -> None:
        _require_positive(self, "batch_size", "learning_rate", "epochs", "patience")
        _require_at_least_0(self, "weight_decay", "gradient_norm")
        _require_share(self, "averaging")


@dataclass(frozen=True, kw_only=True)
class AudioUtteranceConfig:
    """Part 1: LEAF front-end and CNN (paper, section 2.1), or log-mel in LEAF's place.

    Args:
        given: the embeddings, of size ``embedding``, come from a file; this part is not there, its other keys are idle
        front_end: leaf, or log_mel: mel filters and a logarithm, of which nothing is learned
        sample_rate: of the waveform that the front-end reads, in Hz; recordings of other rates are resampled
        filters: of the front-end; the CNN's depth fits 40
        window_ms: length of filters and of pooling windows
        stride_ms: from frame to frame; the paper takes 30 instead of LEAF's 10, for memory
        minimum_frequency: of the mel initialisation, in Hz
        maximum_frequency: of the mel initialisation, in Hz
        channels: of the six convolutions (released)
        embedding: size of the utterance embedding
        dropout: between embedding and classes
        waveform_normalisation: scale each utterance to unit power
        channel_normalisation: standardise each filter's output over the utterance
        mask_channels: widest of the two bands of filters masked in training (SpecAugment); 0 masks none
        mask_frames: longest of the two stretches of frames masked in training; 0 masks none
        shift_channels: filters that the features are moved up or down by in training, at most; 0 leaves them
        speed_change: speed in training is drawn from 1 - this to 1 + this, an utterance and epoch at a time
        front_end_rate: learning rate of the front-end's own parameters, as a multiple of the stage's
        batch_seconds: padded audio in a batch, at most
        padding: masked, or released: each utterance is padded to padded_seconds, at a random offset in training, and
            what is added counts as speech everywhere
        padded_seconds: to which released padding lengthens every utterance (34 are the longest of IEMOCAP)
    """

    given: bool = False
    front_end: Literal["leaf", "log_mel"] = "leaf"
    sample_rate: int = 16_000
    filters: int = 40
    window_ms: float = 25.0
    stride_ms: float = 30.0
    minimum_frequency: float = 60.0
    maximum_frequency: float = 7_800.0
    channels: tuple[int, ...] = (32, 32, 64, 64, 128, 100)
    embedding: int = 100
    dropout: float = 0.0
    waveform_normalisation: bool = False
    channel_normalisation: bool = False
    mask_channels: int = 0
    mask_frames: int = 0
    shift_channels: int = 0
    speed_change: float = 0.0
    front_end_rate: float = 1.0
    batch_seconds: float = 544.0
    padding: Literal["masked", "released"] = "masked"
    padded_seconds: float = 34.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(batch_size=16, learning_rate=1e-5, epochs=100)
    )

    def __post_init__(self) -> None:
        _require_positive(self, "sample_rate", "filters", "window_ms", "stride_ms", "embedding")
        _require_positive(self, "batch_seconds", "padded_seconds")
        _require_share(self, "dropout", "speed_change")
        _require_at_least_0(self, "mask_channels", "mask_frames", "shift_channels", "front_end_rate")
        _require(
            self,
            "minimum_frequency, maximum_frequency",
            0 < self.minimum_frequency < self.maximum_frequency <= self.sample_rate / 2,
            f"in order and between 0 and half the sample rate ({self.sample_rate / 2:g} Hz)",
        )
        _require(
            self,
            "channels",
            len(self.channels) % 2 == 0 and all(size > 0 for size in self.channels),
            "an even number of sizes greater than 0",
        )


@dataclass(frozen=True, kw_only=True)
class TextUtteranceConfig:
    """Part 2: BERT and a GRU (paper, section 2.2).

    Args:
        given: the embeddings, of size ``embedding``, come from a file; this part is not there, its other keys are idle
        bert: a model hub's name, a folder, or wheel:all-minilm-l6-v2 (six layers, inside a wheel: no download)
        trained_layers: how many of BERT's last layers are fine-tuned; null fine-tunes all of it
        hidden: of the GRU, each direction
        layers: of the GRU
        embedding: size of the utterance embedding
        dropout: on what the GRU reads and on the embedding (released)
        maximum_tokens: longer utterances are cut
        bert_rate: learning rate of BERT's own parameters, as a multiple of the stage's
    """

    given: bool = False
    bert: str = "bert-base-cased"
    trained_layers: int | None = None
    hidden: int = 100
    layers: int = 2
    embedding: int = 100
    dropout: float = 0.2
    maximum_tokens: int = 512
    bert_rate: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(batch_size=32, learning_rate=1e-5, epochs=10)
    )

    def __post_init__(self) -> None:
        _require_positive(self, "hidden", "layers", "embedding", "bert_rate")
        _require_share(self, "dropout")
        _require(self, "maximum_tokens", self.maximum_tokens >= 3, "at least 3")
        whole_or_some = self.trained_layers is None or self.trained_layers >= 0
        _require(self, "trained_layers", whole_or_some, "0 or greater, or null")


@dataclass(frozen=True, kw_only=True)
class ContextConfig:
    """Parts 3a and 3b: BiGRU with self-attention (paper, section 2.3), or a bidirectional LSTM in its place.

    Args:
        kind: bigru_attention, or bc_lstm (Poria et al. 2017), which takes hidden, speaker_relative and dropout alone
        hidden: of the GRU or the LSTM, each direction
        layers: of the GRU
        self_attention: over the conversation, each direction by itself; without it the GRU's output is taken
        attention: the paper's, or the released code's, whose softmax runs over the wrong axis and which masks nothing
        speaker_relative: of each utterance's embedding its difference from the mean of its speaker's turns in the
            conversation is read
        dropout: on the input and on the output (released, declared there and never applied)
    """

    kind: Literal["bigru_attention", "bc_lstm"] = "bigru_attention"
    hidden: int = 100
    layers: int = 2
    self_attention: bool = True
    attention: Literal["paper", "released"] = "paper"
    speaker_relative: bool = False
    dropout: float = 0.2
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=1e-3, epochs=20))

    def __post_init__(self) -> None:
        _require_positive(self, "hidden", "layers")
        _require_share(self, "dropout")


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Part 4: the multimodal transformer (paper, section 2.4), or a simpler fusion in its place.

    Args:
        kind: transformer; concatenation, a hidden layer over an utterance's two embeddings; or bc_lstm, a further
            bidirectional LSTM over both (Poria et al. 2017, hierarchical). The last two take hidden and output_dropout
            alone
        hidden: of the transformer, of the layer, or of the LSTM, each direction
        heads: of its attention; they divide hidden
        layers: of its encoder
        feed_forward: hidden size between the two maps of a layer (released)
        dropout: within the layers (released)
        output_dropout: on the utterance's two outputs (released); of the other kinds, on what they read too
        modalities: both, or audio or text: it is then never given the other one, though both contexts are trained
        modality_dropout: the probability that a conversation is given without one of its modalities in training, half
            of it without words and half without speech: one model then serves both, speech alone and words alone
    """

    kind: Literal["transformer", "concatenation", "bc_lstm"] = "transformer"
    hidden: int = 120
    heads: int = 12
    layers: int = 3
    feed_forward: int = 3072
    dropout: float = 0.1
    output_dropout: float = 0.2
    modalities: Modalities = "both"
    modality_dropout: float = 0.0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=1e-4, epochs=10))

    def __post_init__(self) -> None:
        _require_positive(self, "hidden", "heads", "layers", "feed_forward")
        _require_share(self, "dropout", "output_dropout", "modality_dropout")
        whole = self.modalities == "both"
        _require(self, "modality_dropout", whole or not self.modality_dropout, f"0 with {self.modalities} alone")
        idle = self.kind != "transformer"
        _require(self, "heads", idle or self.hidden % self.heads == 0, f"a divisor of hidden ({self.hidden})")

    @property
    def serves(self) -> tuple[Modalities, ...]:
        """What the fusion may be given of a conversation, as it was in training."""
        if self.modalities != "both":
            return (self.modalities,)
        return ("both", "audio", "text") if self.modality_dropout else ("both",)

    @property
    def knows_absence(self) -> bool:
        """Whether it was trained on turns without one of their modalities."""
        return self.serves != ("both",)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment: the five parts, their training, the labels and the context.

    Args:
        label_set: which classes, and which corpus labels each takes in: a set's name, or a YAML file of one's own
        context: labelled drops turns of other labels (the paper's code); all keeps them as unscored context
        modalities: both, or one of them alone
        class_weights: balanced weighs the loss by a class's rarity in the training set, square_root by its square root
        selection: which utterances select the encoders' epochs: fold, those of the validation set; released, a random
            part of training and validation set together, so that the one trains what the other selects
        seed: all randomness is a function of it
    """

    label_set: str = "iemocap4"
    context: Literal["labelled", "all"] = "labelled"
    modalities: Modalities = "both"
    class_weights: Literal["none", "square_root", "balanced"] = "none"
    selection: Literal["fold", "released"] = "fold"
    seed: int = 0
    audio_utterance: AudioUtteranceConfig = field(default_factory=AudioUtteranceConfig)
    text_utterance: TextUtteranceConfig = field(default_factory=TextUtteranceConfig)
    audio_context: ContextConfig = field(default_factory=ContextConfig)
    text_context: ContextConfig = field(default_factory=ContextConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        known = ", ".join(LABEL_SETS)
        _require(self, "label_set", is_label_set(self.label_set), f"one of {known}, or a YAML file (.yaml)")
        _require_at_least_0(self, "seed")
        if self.modalities == "both" and self.audio_context.hidden != self.text_context.hidden:
            raise MoodlineError(
                "part 4 reads both contexts at one size: audio_context.hidden and text_context.hidden must be "
                f"equal, not {self.audio_context.hidden} and {self.text_context.hidden}"
            )

    @property
    def given(self) -> dict[str, int]:
        """The utterance encoders whose embeddings come from a file, and how long these are."""
        encoders = [encoder for encoder in ENCODERS if self._has(encoder) and getattr(self, encoder).given]
        return {encoder: getattr(self, encoder).embedding for encoder in encoders}

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in the order in which they are trained."""
        return tuple(stage for stage in STAGES if self._has(stage) and stage not in self.given)

    def _has(self, stage: str) -> bool:
        return self.modalities == "both" or stage.startswith(self.modalities)

    def reading(self, modalities: Modalities) -> "Recipe":
        """The recipe of those parts, the fusion aside, that read one of its modalities; of both it is this one.

        Raises:
            MoodlineError: it does not read this modality, or there is none of that name
        """
        if modalities not in get_args(Modalities):
            raise MoodlineError(
                f"modalities are {', '.join(get_args(Modalities))}, not {modalities!r}: name one of them"
            )
        if modalities in ("both", self.modalities):
            return self
        if self.modalities != "both":
            raise MoodlineError(
                f"this model reads {self.modalities} alone, not {modalities}: take one that was trained on both"
            )
        return replace(self, modalities=modalities)

    def stages_in(self, modalities: Modalities) -> tuple[str, ...]:
        """The stages that have an opinion where these modalities are read; the last of them answers.

        Without modality dropout the fusion has none of one modality alone, and its context stage answers. Errors as of
        ``reading``.
        """
        read = self.reading(modalities)
        fuses = read is not self and modalities in self.fusion.serves
        return (*read.stages, FUSION) if fuses else read.stages

    def with_given(self, sizes: Mapping[str, int]) -> "Recipe":
        """The recipe with these encoders' embeddings, of these sizes, from a file; a size it gives itself holds."""
        own = {encoder: getattr(self, encoder) for encoder in sizes}
        changed = {
            encoder: replace(own[encoder], given=True, embedding=size)
            for encoder, size in sizes.items()
            if not own[encoder].given
        }
        return replace(self, **changed)

    def context_of(self, stage: str) -> ContextConfig:
        return getattr(self, stage)

    def training_of(self, stage: str) -> TrainingConfig:
        return getattr(self, stage).training
