"""The recipe: every size and rate of the system, with the paper's values as defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from moodline.config_rules import require, require_ranges
from moodline.conversation import LABEL_SETS, is_label_set
from moodline.errors import MoodlineError

AUDIO_UTTERANCE = "audio_utterance"
TEXT_UTTERANCE = "text_utterance"
AUDIO_CONTEXT = "audio_context"
TEXT_CONTEXT = "text_context"
FUSION = "fusion"
# In the order of training, with the names that people read.
STAGE_NAMES: Mapping[str, str] = {
    AUDIO_UTTERANCE: "audio encoder",
    TEXT_UTTERANCE: "text encoder",
    AUDIO_CONTEXT: "audio context",
    TEXT_CONTEXT: "text context",
    FUSION: "fusion",
}
STAGES = tuple(STAGE_NAMES)
# Inputs of the stages after the encoders.
STAGE_INPUTS: Mapping[str, tuple[str, ...]] = {
    AUDIO_CONTEXT: (AUDIO_UTTERANCE,),
    TEXT_CONTEXT: (TEXT_UTTERANCE,),
    FUSION: (AUDIO_CONTEXT, TEXT_CONTEXT),
}
# The modalities that are read of a conversation.
Modalities = Literal["both", "audio", "text"]
# Scores list a fusion trained with modality dropout once more for each modality alone.
SINGLE_MODALITY_FUSION: Mapping[Modalities, str] = {"audio": "fusion_audio", "text": "fusion_text"}
SINGLE_MODALITY_FUSION_NAMES: Mapping[str, str] = {
    "fusion_audio": "fusion, audio alone",
    "fusion_text": "fusion, text alone",
}
# The utterance encoders, and the option that replaces each by embeddings from a file.
EMBEDDINGS_OPTIONS: Mapping[str, str] = {
    AUDIO_UTTERANCE: "--audio-embeddings",
    TEXT_UTTERANCE: "--text-embeddings",
}
ENCODERS = tuple(EMBEDDINGS_OPTIONS)
# The power of a class's rarity that its utterances' losses are weighted by.
CLASS_WEIGHTS: Mapping[str, float] = {"none": 0.0, "square_root": 0.5, "balanced": 1.0}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Configure the training of one stage (Adam).

    Args:
        batch_size: utterances, or conversations, in a batch
        learning_rate: of Adam, constant or decayed (see decay)
        epochs: at most
        patience: epochs without a lower validation loss before the stage stops; with as many as epochs it never stops
        weight_decay: decoupled, as in AdamW; 0 is Adam
        max_grad_norm: gradients are scaled down to this norm; 0 does not scale them
        decay: constant, or cosine: from the learning rate to 0 over all epochs
        ema_decay: validate and keep an exponential moving average of the weights with this decay per step; 0 uses the
            weights themselves
        label_smoothing: share of the training targets that is uniform over the classes; validation has none
    """

    batch_size: int = 32
    learning_rate: float = 1e-3
    epochs: int = 20
    patience: int = 20
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0
    decay: Literal["constant", "cosine"] = "constant"
    ema_decay: float = 0.0
    label_smoothing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AudioUtteranceConfig:
    """Part 1: LEAF front-end and CNN (paper, section 2.1), log-mel in LEAF's place, or a pretrained encoder.

    Args:
        given: the embeddings, of size ``embedding``, come from a file, and this part's other keys have no effect
        encoder: leaf_cnn; pretrained, an encoder of transformers; or faster-whisper, Whisper's encoder in CTranslate2's
            format, its last layer, never trained
        pretrained: a model hub's name, a folder, or a wheel; a wav2vec 2.0, HuBERT, WavLM, data2vec, SEW, UniSpeech,
            Wav2Vec2-BERT or Whisper
        revision: of the hub's model: a branch, a tag or a commit; null is its newest
        layers: all, or a list: the hidden states whose weighted sum is read; 0 is the input of the first layer
        pooling: over an utterance's frames: mean, mean_std (mean and standard deviation), or attentive
        num_unfrozen_layers: number of the pretrained encoder's last layers that are fine-tuned; null is all
        pretrained_lr_scale: learning rate of the pretrained encoder's parameters, as a multiple of the stage's
        gradient_checkpointing: recompute its layers in training, which saves memory and takes time
        frontend: leaf, or log_mel: mel filters and a logarithm, without learned parameters
        sample_rate: of the waveform that the front-end reads, in Hz; recordings of other rates are resampled
        filters: of the front-end; the CNN's depth fits 40
        window_ms: length of filters and of pooling windows
        stride_ms: from frame to frame; the paper uses 30 instead of LEAF's 10 to save memory
        minimum_frequency: of the mel initialisation, in Hz
        maximum_frequency: of the mel initialisation, in Hz
        channels: of the six convolutions (released)
        embedding: size of the utterance embedding
        dropout: between embedding and classes
        waveform_normalisation: scale each utterance to unit power
        channel_normalisation: standardise each filter's output over the utterance
        mask_channels: maximal width of the two bands of filters masked in training (SpecAugment); 0 masks none
        mask_frames: maximal length of the two spans of frames masked in training; 0 masks none
        shift_channels: maximal shift of the features up or down in training, in filters; 0 does not shift
        speed_change: training draws the speed from 1 - this to 1 + this for each utterance and epoch
        frontend_lr_scale: learning rate of the front-end's own parameters, as a multiple of the stage's
        batch_seconds: maximal padded audio in a batch
        padding: masked, or released: each utterance is padded to padded_seconds, at a random offset in training, and
            padding counts as speech everywhere
        padded_seconds: length of every utterance after released padding (IEMOCAP's longest has 34 s)
    """

    given: bool = False
    encoder: Literal["leaf_cnn", "pretrained", "faster-whisper"] = "leaf_cnn"
    pretrained: str = "microsoft/wavlm-base-plus"
    revision: str | None = None
    layers: Literal["all"] | tuple[int, ...] = "all"
    pooling: Literal["mean", "mean_std", "attentive"] = "mean"
    num_unfrozen_layers: int | None = 0
    pretrained_lr_scale: float = 1.0
    gradient_checkpointing: bool = False
    frontend: Literal["leaf", "log_mel"] = "leaf"
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
    frontend_lr_scale: float = 1.0
    batch_seconds: float = 544.0
    padding: Literal["masked", "released"] = "masked"
    padded_seconds: float = 34.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(batch_size=16, learning_rate=1e-5, epochs=100)
    )

    @property
    def pads_as_released(self) -> bool:
        return self.padding == "released" and self.encoder == "leaf_cnn"


@dataclass(frozen=True, kw_only=True)
class TextUtteranceConfig:
    """Part 2: BERT and a GRU (paper, section 2.2), or another pretrained encoder, pooled in another way.

    Args:
        given: the embeddings, of size ``embedding``, come from a file, and this part's other keys have no effect
        pretrained: a model hub's name, a folder, or wheel:all-minilm-l6-v2 (six layers, inside a wheel: no download); a
            BERT, RoBERTa, DeBERTa, ModernBERT, XLM-R, MPNet, ELECTRA, DistilBERT or sentence encoder
        revision: of the hub's model: a branch, a tag or a commit; null is its newest
        num_unfrozen_layers: number of its last layers that are fine-tuned; null fine-tunes all of it
        use_last_layers: number of its last layers whose hidden states are read, concatenated
        pooling: over an utterance's tokens: gru, mean, or first (the token of the whole sequence)
        context_words: number of turns before this one that it reads too; only the turn's own tokens are pooled
        hidden: of the GRU, each direction
        layers: of the GRU
        embedding: size of the utterance embedding
        dropout: before the pooling or the map to the embedding, and on the embedding (released)
        maximum_tokens: longer utterances are cut, and more context is left out
        text_encoder_lr_scale: learning rate of the pretrained encoder's parameters, as a multiple of the stage's
        gradient_checkpointing: recompute its layers in training, which saves memory and takes time
    """

    given: bool = False
    pretrained: str = "bert-base-cased"
    revision: str | None = None
    num_unfrozen_layers: int | None = None
    use_last_layers: int = 4
    pooling: Literal["gru", "mean", "first"] = "gru"
    context_words: int = 0
    hidden: int = 100
    layers: int = 2
    embedding: int = 100
    dropout: float = 0.2
    maximum_tokens: int = 512
    text_encoder_lr_scale: float = 1.0
    gradient_checkpointing: bool = False
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(batch_size=32, learning_rate=1e-5, epochs=10)
    )


@dataclass(frozen=True, kw_only=True)
class ContextConfig:
    """Parts 3a and 3b: BiGRU with self-attention (paper, section 2.3), or a bidirectional LSTM instead.

    Args:
        kind: bigru_attention, or bc_lstm (Poria et al. 2017), which reads only hidden, speaker_relative,
            append_speaker_mean and dropout
        hidden: of the GRU or the LSTM, each direction
        layers: of the GRU
        self_attention: over the conversation, separately for each direction; false uses the GRU's output
        attention: the paper's; the released code's, whose softmax runs over the wrong axis, without a mask; or
            residual: scaled, with a residual path and layer normalisation
        speaker_gru: a second BiGRU reads each speaker's turns alone, and its output is added to the first one's
        speaker_relative: subtract from each utterance's embedding the mean of its speaker's turns in the conversation
        append_speaker_mean: append that mean to the embedding, subtracted or not
        dropout: on the input, on the output, and on the residual attention's average (released, declared there and
            never applied)
    """

    kind: Literal["bigru_attention", "bc_lstm"] = "bigru_attention"
    hidden: int = 100
    layers: int = 2
    self_attention: bool = True
    attention: Literal["paper", "released", "residual"] = "paper"
    speaker_gru: bool = False
    speaker_relative: bool = False
    append_speaker_mean: bool = False
    dropout: float = 0.2
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=1e-3, epochs=20))

    @property
    def reads_speaker_means(self) -> bool:
        return self.speaker_relative or self.append_speaker_mean

    def count_inputs(self, embedding: int) -> int:
        """Return the context's input size for embeddings of this size."""
        return 2 * embedding if self.append_speaker_mean else embedding


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Part 4: the multimodal transformer (paper, section 2.4), or a simpler fusion instead.

    Args:
        kind: transformer; concatenation, a hidden layer over an utterance's two embeddings; or bc_lstm, a further
            bidirectional LSTM over both (Poria et al. 2017, hierarchical). The last two read only hidden,
            output_dropout, speaker_crf, crf_lr_scale and late_fusion
        hidden: of the transformer, of the layer, or of the LSTM, each direction
        heads: of its attention; a divisor of hidden
        layers: of its encoder
        feed_forward: hidden size between the two maps of a layer (released)
        dropout: within the layers (released)
        output_dropout: on the utterance's two outputs (released); the other kinds apply it to their input too
        speaker_crf: relate the classes of each speaker's consecutive turns by a conditional random field
        crf_lr_scale: learning rate of its transitions, as a multiple of the stage's
        late_fusion: average the log probabilities with those of late fusion, the product of the contexts' probabilities
        input_modalities: both, or the only modality that the fusion reads, though both contexts are trained
        modality_dropout: probability that training drops one modality of a conversation, words or speech with equal
            probability; one model then serves both modalities, speech alone and words alone
    """

    kind: Literal["transformer", "concatenation", "bc_lstm"] = "transformer"
    hidden: int = 120
    heads: int = 12
    layers: int = 3
    feed_forward: int = 3072
    dropout: float = 0.1
    output_dropout: float = 0.2
    speaker_crf: bool = False
    crf_lr_scale: float = 30.0
    late_fusion: bool = False
    input_modalities: Modalities = "both"
    modality_dropout: float = 0.0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=1e-4, epochs=10))

    @property
    def supported_modalities(self) -> tuple[Modalities, ...]:
        """Return the modalities that the fusion can read, as in training."""
        if self.input_modalities != "both":
            return (self.input_modalities,)
        return ("both", "audio", "text") if self.modality_dropout else ("both",)

    @property
    def handles_missing_modality(self) -> bool:
        """Check whether training dropped a modality."""
        return self.input_modalities != "both" or self.modality_dropout > 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment: the five parts, their training, the labels and the context.

    Args:
        label_set: the classes and the corpus labels of each: a set's name, or your own YAML file
        context: labelled drops turns of other labels (the paper's code); all keeps them as unscored context
        modalities: both, or one alone
        class_weights: balanced weighs the loss by a class's rarity in the training set, square_root by its square root
        selection: the utterances that select the encoders' epochs: fold, the validation set; released, a random part of
            training and validation set together, which also train
        crossfit: each encoder and context that another part reads is trained so many times more, each time without a
            part of the training conversations (whole sessions); contexts and fusion train on the embeddings of the
            trainings that left the utterance out; 0: none
        seed: determines all randomness
    """

    label_set: str = "iemocap4"
    context: Literal["labelled", "all"] = "labelled"
    modalities: Modalities = "both"
    class_weights: Literal["none", "square_root", "balanced"] = "none"
    selection: Literal["fold", "released"] = "fold"
    crossfit: int = 0
    seed: int = 0
    audio_utterance: AudioUtteranceConfig = field(default_factory=AudioUtteranceConfig)
    text_utterance: TextUtteranceConfig = field(default_factory=TextUtteranceConfig)
    audio_context: ContextConfig = field(default_factory=ContextConfig)
    text_context: ContextConfig = field(default_factory=ContextConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        require_ranges(self)
        audio, text, fusion = self.audio_utterance, self.text_utterance, self.fusion
        known, half_rate = ", ".join(LABEL_SETS), audio.sample_rate / 2
        require(self, "label_set", is_label_set(self.label_set), f"one of {known}, or a YAML file (.yaml)")
        require(
            self,
            "audio_utterance.minimum_frequency, audio_utterance.maximum_frequency",
            0 < audio.minimum_frequency < audio.maximum_frequency <= half_rate,
            f"in order and between 0 and half the sample rate ({half_rate:g} Hz)",
        )
        even = len(audio.channels) % 2 == 0 and min(audio.channels, default=1) > 0
        for stage, config in ((AUDIO_UTTERANCE, audio), (TEXT_UTTERANCE, text)):
            named = config.pretrained.strip() not in ("", "null", "None")
            require(self, f"{stage}.pretrained", named, "a hub's name, a folder or a wheel")
        layers = audio.layers == "all" or (bool(audio.layers) and min(audio.layers) >= 0)
        require(self, "crossfit", self.crossfit != 1, "0, or at least 2")
        require(self, "crossfit", self.selection == "fold" or not self.crossfit, "0 with selection released")
        require(self, "audio_utterance.layers", layers, "all or a list of layers from 0")
        require(self, "audio_utterance.channels", even, "an even number of sizes greater than 0")
        require(self, "text_utterance.maximum_tokens", text.maximum_tokens >= 3, "at least 3")
        can_drop = fusion.input_modalities == "both" or not fusion.modality_dropout
        require(self, "fusion.modality_dropout", can_drop, f"0 with {fusion.input_modalities} alone")
        divides = fusion.kind != "transformer" or fusion.hidden % fusion.heads == 0
        require(self, "fusion.heads", divides, f"a divisor of hidden ({fusion.hidden})")
        if self.modalities == "both" and self.audio_context.hidden != self.text_context.hidden:
            raise MoodlineError(
                "audio_context.hidden and text_context.hidden must be equal, not "
                f"{self.audio_context.hidden} and {self.text_context.hidden}; the fusion reads both at one size",
                code="recipe.unequal_contexts",
            )

    @property
    def given(self) -> dict[str, int]:
        """Return the embedding size of each utterance encoder that is replaced by a file."""
        encoders = [one for one in ENCODERS if self.modalities == "both" or one.startswith(self.modalities)]
        return {one: getattr(self, one).embedding for one in encoders if getattr(self, one).given}

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the stages in the order of training."""
        return self.select_stages("both")

    @property
    def crossfitted_stages(self) -> frozenset[str]:
        """Return the stages that cross-fitting trains again: those whose embeddings a later stage reads."""
        read = {source for stage in self.stages for source in STAGE_INPUTS.get(stage, ())}
        return frozenset(self.stages) & read if self.crossfit else frozenset()

    def restrict_to(self, modalities: Modalities) -> "Recipe":
        """Return the recipe without the parts of another modality; raises the errors of ``select_stages``."""
        self.select_stages(modalities)
        return self if modalities == "both" else replace(self, modalities=modalities)

    def select_stages(self, modalities: Modalities) -> tuple[str, ...]:
        """Return the stages that predict from these modalities; the last one gives the model's prediction.

        Without modality dropout the fusion cannot read one modality alone, and that modality's context stage is the
        last.

        Raises:
            MoodlineError: there is no such modality, or the model does not read it
        """
        if modalities not in get_args(Modalities):
            raise MoodlineError(
                f"modalities are {', '.join(get_args(Modalities))}, not {modalities!r}: name one of them",
                code="option.unknown_modality",
            )
        if self.modalities != "both" and modalities not in ("both", self.modalities):
            raise MoodlineError(
                f"this model reads {self.modalities} alone, not {modalities}: take one that was trained on both",
                code="model.other_modality",
            )
        read = self.modalities if modalities == "both" else modalities
        fuses = self.modalities == "both" and (read == "both" or read in self.fusion.supported_modalities)
        replaced = {encoder for encoder in ENCODERS if getattr(self, encoder).given}
        parts = [one for one in STAGES if read == "both" or one.startswith(read) or (fuses and one == FUSION)]
        return tuple(stage for stage in parts if stage not in replaced)

    def reads_each_speaker(self, modalities: Modalities) -> bool:
        """Return whether a part that predicts from these modalities reads each speaker's turns alone."""
        stages = self.select_stages(modalities)
        has_gru = any(getattr(self, stage).speaker_gru for stage in (AUDIO_CONTEXT, TEXT_CONTEXT) if stage in stages)
        return has_gru or (FUSION in stages and self.fusion.speaker_crf)

    def with_precomputed(self, sizes: Mapping[str, int]) -> "Recipe":
        """Return the recipe with embeddings of these sizes from files; sizes that it sets itself stay."""
        own = {encoder: getattr(self, encoder) for encoder in sizes if not getattr(self, encoder).given}
        changed = {encoder: replace(one, given=True, embedding=sizes[encoder]) for encoder, one in own.items()}
        return replace(self, **changed)

    def get_training_config(self, stage: str) -> TrainingConfig:
        return getattr(self, stage).training
