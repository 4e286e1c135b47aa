"""The recipe: every size and rate of the system, with the paper's values as defaults, and its YAML files."""

import dataclasses
import difflib
import importlib.resources
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from moodline.console import flatten_text
from moodline.conversation import LABEL_SETS, is_label_set
from moodline.errors import MoodlineError, join_lines
from moodline.io import flatten_keys, read_yaml

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
# Former keys -> present ones. Recipes, command lines, runs and models with the former ones are read for one release.
RENAMED_KEYS: Mapping[str, str] = {
    "audio_utterance.front_end": "audio_utterance.frontend",
    "audio_utterance.front_end_rate": "audio_utterance.frontend_lr_scale",
    "text_utterance.trained_layers": "text_utterance.num_unfrozen_layers",
    "text_utterance.bert_rate": "text_utterance.text_encoder_lr_scale",
    "fusion.modalities": "fusion.input_modalities",
    **{f"{stage}.training.gradient_norm": f"{stage}.training.max_grad_norm" for stage in STAGES},
    **{f"{stage}.training.averaging": f"{stage}.training.ema_decay" for stage in STAGES},
}
# The power of a class's rarity that its utterances' losses are weighted by.
CLASS_WEIGHTS: Mapping[str, float] = {"none": 0.0, "square_root": 0.5, "balanced": 1.0}


def _require(config: object, keys: str, rule: bool, meaning: str) -> None:
    """Refuse a value of one or more keys; ``build_config`` adds the section, which the class does not know."""
    if not rule:
        values = ", ".join(repr(getattr(config, key)) for key in keys.split(", "))
        raise MoodlineError(
            f"{keys} must be {meaning}, not {values}; correct it in the recipe or in the command",
            code="recipe.bad_value",
        )


def _require_positive(config: object, *keys: str) -> None:
    for key in keys:
        _require(config, key, getattr(config, key) > 0, "greater than 0")
        _require(config, key, math.isfinite(getattr(config, key)), "a finite number")


def _require_at_least_0(config: object, *keys: str) -> None:
    for key in keys:
        _require(config, key, getattr(config, key) >= 0, "0 or greater")
        _require(config, key, math.isfinite(getattr(config, key)), "a finite number")


def _require_fraction(config: object, *keys: str) -> None:
    for key in keys:
        _require(config, key, 0 <= getattr(config, key) < 1, "at least 0 and less than 1")


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
    """

    batch_size: int = 32
    learning_rate: float = 1e-3
    epochs: int = 20
    patience: int = 20
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0
    decay: Literal["constant", "cosine"] = "constant"
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        _require_positive(self, "batch_size", "learning_rate", "epochs", "patience")
        _require_at_least_0(self, "weight_decay", "max_grad_norm")
        _require_fraction(self, "ema_decay")


@dataclass(frozen=True, kw_only=True)
class AudioUtteranceConfig:
    """Part 1: LEAF front-end and CNN (paper, section 2.1), or log-mel in LEAF's place.

    Args:
        given: the embeddings, of size ``embedding``, come from a file, and this part's other keys have no effect
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

    def __post_init__(self) -> None:
        _require_positive(self, "sample_rate", "filters", "window_ms", "stride_ms", "embedding")
        _require_positive(self, "batch_seconds", "padded_seconds")
        _require_fraction(self, "dropout", "speed_change")
        _require_at_least_0(self, "mask_channels", "mask_frames", "shift_channels", "frontend_lr_scale")
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
        given: the embeddings, of size ``embedding``, come from a file, and this part's other keys have no effect
        bert: a model hub's name, a folder, or wheel:all-minilm-l6-v2 (six layers, inside a wheel: no download)
        num_unfrozen_layers: number of BERT's last layers that are fine-tuned; null fine-tunes all of BERT
        hidden: of the GRU, each direction
        layers: of the GRU
        embedding: size of the utterance embedding
        dropout: on the GRU's input and on the embedding (released)
        maximum_tokens: longer utterances are cut
        text_encoder_lr_scale: learning rate of BERT's own parameters, as a multiple of the stage's
    """

    given: bool = False
    bert: str = "bert-base-cased"
    num_unfrozen_layers: int | None = None
    hidden: int = 100
    layers: int = 2
    embedding: int = 100
    dropout: float = 0.2
    maximum_tokens: int = 512
    text_encoder_lr_scale: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(batch_size=32, learning_rate=1e-5, epochs=10)
    )

    def __post_init__(self) -> None:
        _require_positive(self, "hidden", "layers", "embedding", "text_encoder_lr_scale")
        _require_fraction(self, "dropout")
        _require(self, "maximum_tokens", self.maximum_tokens >= 3, "at least 3")
        whole_or_some = self.num_unfrozen_layers is None or self.num_unfrozen_layers >= 0
        _require(self, "num_unfrozen_layers", whole_or_some, "0 or greater, or null")


@dataclass(frozen=True, kw_only=True)
class ContextConfig:
    """Parts 3a and 3b: BiGRU with self-attention (paper, section 2.3), or a bidirectional LSTM instead.

    Args:
        kind: bigru_attention, or bc_lstm (Poria et al. 2017), which reads only hidden, speaker_relative and dropout
        hidden: of the GRU or the LSTM, each direction
        layers: of the GRU
        self_attention: over the conversation, separately for each direction; false uses the GRU's output
        attention: the paper's, or the released code's, whose softmax runs over the wrong axis, without a mask
        speaker_relative: subtract from each utterance's embedding the mean of its speaker's turns in the conversation
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
        _require_fraction(self, "dropout")


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Part 4: the multimodal transformer (paper, section 2.4), or a simpler fusion instead.

    Args:
        kind: transformer; concatenation, a hidden layer over an utterance's two embeddings; or bc_lstm, a further
            bidirectional LSTM over both (Poria et al. 2017, hierarchical). The last two read only hidden and
            output_dropout
        hidden: of the transformer, of the layer, or of the LSTM, each direction
        heads: of its attention; a divisor of hidden
        layers: of its encoder
        feed_forward: hidden size between the two maps of a layer (released)
        dropout: within the layers (released)
        output_dropout: on the utterance's two outputs (released); the other kinds apply it to their input too
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
    input_modalities: Modalities = "both"
    modality_dropout: float = 0.0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=1e-4, epochs=10))

    def __post_init__(self) -> None:
        _require_positive(self, "hidden", "heads", "layers", "feed_forward")
        _require_fraction(self, "dropout", "output_dropout", "modality_dropout")
        whole = self.input_modalities == "both"
        _require(self, "modality_dropout", whole or not self.modality_dropout, f"0 with {self.input_modalities} alone")
        idle = self.kind != "transformer"
        _require(self, "heads", idle or self.hidden % self.heads == 0, f"a divisor of hidden ({self.hidden})")

    @property
    def supported_modalities(self) -> tuple[Modalities, ...]:
        """Return the modalities that the fusion can read, as in training."""
        if self.input_modalities != "both":
            return (self.input_modalities,)
        return ("both", "audio", "text") if self.modality_dropout else ("both",)

    @property
    def handles_missing_modality(self) -> bool:
        """Check whether training dropped a modality."""
        return self.supported_modalities != ("both",)


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
        seed: determines all randomness
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
                "audio_context.hidden and text_context.hidden must be equal, not "
                f"{self.audio_context.hidden} and {self.text_context.hidden}; the fusion reads both at one size",
                code="recipe.unequal_contexts",
            )

    @property
    def given(self) -> dict[str, int]:
        """Return the embedding size of each utterance encoder that is replaced by a file."""
        encoders = [encoder for encoder in ENCODERS if self._has(encoder) and getattr(self, encoder).given]
        return {encoder: getattr(self, encoder).embedding for encoder in encoders}

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the stages in the order of training."""
        return tuple(stage for stage in STAGES if self._has(stage) and stage not in self.given)

    def _has(self, stage: str) -> bool:
        return self.modalities == "both" or stage.startswith(self.modalities)

    def restrict_to(self, modalities: Modalities) -> "Recipe":
        """Return the recipe without the parts that read another modality, the fusion among them.

        Raises:
            MoodlineError: the recipe does not read this modality, or the name is unknown
        """
        if modalities not in get_args(Modalities):
            raise MoodlineError(
                f"modalities are {', '.join(get_args(Modalities))}, not {modalities!r}: name one of them",
                code="option.unknown_modality",
            )
        if modalities in ("both", self.modalities):
            return self
        if self.modalities != "both":
            raise MoodlineError(
                f"this model reads {self.modalities} alone, not {modalities}: take one that was trained on both",
                code="model.other_modality",
            )
        return replace(self, modalities=modalities)

    def select_stages(self, modalities: Modalities) -> tuple[str, ...]:
        """Return the stages that predict from these modalities; the last one gives the model's prediction.

        Without modality dropout the fusion cannot read one modality alone, and that modality's context stage is the
        last. Raises the errors of ``restrict_to``.
        """
        read = self.restrict_to(modalities)
        fuses = read is not self and modalities in self.fusion.supported_modalities
        return (*read.stages, FUSION) if fuses else read.stages

    def with_precomputed(self, sizes: Mapping[str, int]) -> "Recipe":
        """Return the recipe with embeddings of these sizes from files; sizes that it sets itself stay."""
        own = {encoder: getattr(self, encoder) for encoder in sizes}
        changed = {
            encoder: replace(own[encoder], given=True, embedding=size)
            for encoder, size in sizes.items()
            if not own[encoder].given
        }
        return replace(self, **changed)

    def get_context_config(self, stage: str) -> ContextConfig:
        return getattr(self, stage)

    def get_training_config(self, stage: str) -> TrainingConfig:
        return getattr(self, stage).training


# jsonargparse's messages about a value -> the rule that the value breaks; an empty rule is built from ``kinds``.
ERROR_PATTERNS = {
    r'key "(?P<key>[\w.]+)": Unable to load config [\'"](?P<value>.*?)[\'"]( -|$)': "a section of keys and values",
    r'key "(?P<key>[\w.]+)": Does .* Subtypes: \[(?P<kinds>.+?)\] Errors: .* Given value: (?P<value>.+)': "",
    r'key "(?P<key>[\w.]+)": .*?Expected an? (?P<kinds>.+?)\. Got value: (?P<value>.+)': "",
}
BASE = "base"
TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "tuple": "a list",
    "NoneType": "null",
}


def list_keys(config: type = Recipe, prefix: str = "") -> list[str]:
    """List every dotted key of a recipe, sections included."""
    keys: list[str] = []
    for item in dataclasses.fields(config):
        keys.append(prefix + item.name)
        if isinstance(item.type, type) and dataclasses.is_dataclass(item.type):
            keys += list_keys(item.type, f"{prefix}{item.name}.")
    return keys


def rename_keys(content: Any, origin: str) -> Any:
    """Replace former keys by their present names and log one warning that names them.

    Args:
        content: the nested keys and values of a recipe
        origin: where they come from, for the warning

    Raises:
        MoodlineError: a key appears under both names
    """
    found: list[str] = []

    def rename(values: Any, prefix: str) -> Any:
        if not isinstance(values, Mapping):
            return values
        renamed: dict[Any, Any] = {}
        for name, value in values.items():
            key = f"{prefix}{name}"
            present = RENAMED_KEYS[key].rpartition(".")[2] if key in RENAMED_KEYS else name
            if present != name:
                found.append(key)
                if present in values:
                    raise MoodlineError(
                        f"{RENAMED_KEYS[key]} is set twice, also by its former name {key} ({origin}). Remove {key}.",
                        code="recipe.duplicate_key",
                    )
            renamed[present] = rename(value, f"{key}.")
        return renamed

    content = rename(content, "")
    if found:
        warn_of_former_keys(tuple(found), origin)
    return content


@cache  # once per file, however often it is read
def warn_of_former_keys(found: tuple[str, ...], origin: str) -> None:
    pairs = dict.fromkeys(tuple(".".join(key.split(".")[-2:]) for key in (old, RENAMED_KEYS[old])) for old in found)
    names = ", ".join(f"{old} is now {new}" for old, new in pairs)
    logging.getLogger("moodline").warning(
        "%s: %s; the next release rejects the former names", flatten_text(origin), names
    )


def find_nearest_key(key: str, keys: list[str]) -> str:
    """Find the known key most similar to a misspelt one; its last part may be in another section."""
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    if close:
        return close[0]
    last = key.rsplit(".", 1)[-1]
    return next((known for known in keys if known.rsplit(".", 1)[-1] == last), "")


def check_keys(content: Any, origin: str, prefix: str = "") -> None:
    """Refuse the first unknown key and suggest the nearest known one."""
    keys = list_keys()
    if not isinstance(content, Mapping):
        where = f" under {prefix[:-1]}" if prefix else ""
        raise MoodlineError(
            f"a recipe consists of keys and values, not {content!r}{where} ({origin})", code="recipe.not_a_mapping"
        )
    for name, value in content.items():
        key = f"{prefix}{name}"
        if key not in keys:
            guess = find_nearest_key(key, keys)
            hint = f"did you mean {guess}?" if guess else "moodline train --help lists the keys"
            raise MoodlineError(f"a recipe has no key {key!r} ({origin}); {hint}", code="recipe.unknown_key")
        if any(known.startswith(f"{key}.") for known in keys):
            check_keys(value, origin, f"{key}.")


def parse_recipe(content: Any, origin: str) -> Recipe:
    """Build a recipe from nested keys and values; ``origin`` names their file in errors."""
    import jsonargparse

    content = rename_keys(content, origin)
    check_keys(content, origin)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    try:
        values = parser.parse_object(dict(content)).as_dict()
    except jsonargparse.ArgumentError as error:
        raise MoodlineError(f"{rewrite_message(join_lines(error))} ({origin})", code="recipe.bad_type") from error
    return build_config(Recipe, values, origin)


def rewrite_message(message: str) -> str:
    """Reword jsonargparse's message about a value's type; return any other message unchanged."""
    for pattern, rule in ERROR_PATTERNS.items():
        if match := re.search(pattern, message):
            kinds = re.split(r", (?=<class)", match["kinds"]) if "kinds" in match.groupdict() else []
            return f"{match['key']} must be {rule or ' or '.join(map(describe_type, kinds))}, not {match['value']}"
    return message


def describe_type(kind: str) -> str:
    """Describe a type that jsonargparse names."""
    kind = kind.removeprefix("<class '").removesuffix("'>").removeprefix("typing.")
    if choices := re.fullmatch(r"Literal\[(.+)\]", kind):
        return "one of " + choices[1].replace("'", "")
    return TYPE_NAMES.get(kind, kind)


def build_config(config: Any, values: Mapping[str, Any], origin: str, prefix: str = "") -> Any:
    """Build a dataclass from typed values, its sections first; errors name the section of a refused value."""
    content: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        key, value = f"{prefix}{item.name}", values[item.name]
        if isinstance(value, Mapping):
            value = build_config(item.type, value, origin, f"{key}.")
        elif value is None and type(None) not in get_args(item.type):
            raise MoodlineError(
                f"{key} must have a value, not null; give it one or leave it out ({origin})", code="recipe.null"
            )
        content[item.name] = value
    try:
        return config(**content)
    except MoodlineError as error:
        raise MoodlineError(f"{prefix}{error} ({origin})", code=error.code) from error


def find_recipe(name: str) -> Path:
    """Find a recipe's file by its path or, for one that comes with moodline, by its name."""
    path = Path(name)
    return path if path.is_file() else find_shipped_recipe(name)


def find_shipped_recipe(name: str) -> Path:
    """Find the file of a recipe that comes with moodline."""
    folders = [
        Path(str(importlib.resources.files("moodline"))) / "recipes",  # installed
        Path(__file__).resolve().parents[2] / "recipes",  # a checkout
    ]
    stem = name.removeprefix("recipes/").removesuffix(".yaml")  # the documentation's spelling works from any folder
    for folder in folders:
        if (folder / f"{stem}.yaml").is_file():
            return folder / f"{stem}.yaml"
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise MoodlineError(
        f"recipe {name!r} is neither a file nor one of moodline's own: {', '.join(names)}", code="recipe.not_found"
    )


def read_recipe(name: str) -> tuple[dict[str, Any], Path]:
    """Read a recipe file merged over its base; return its keys and values, and the file.

    Raises:
        MoodlineError: a file cannot be read or has an unknown key; a base does not exist or is its own base
    """
    path = find_recipe(name)
    return read_with_base(path, ()), path


def read_with_base(path: Path, derived: tuple[Path, ...]) -> dict[str, Any]:
    """Read a recipe file merged over its base; ``derived`` are the files that lead to it by their key ``base``."""
    chain = (*derived, path.resolve())
    if path.resolve() in derived:
        raise MoodlineError(
            f"recipe {path} is its own base ({' -> '.join(one.name for one in chain)}): remove the key {BASE} from one "
            "of these files",
            code="recipe.circular_base",
        )
    content = read_yaml(path, "recipe") or {}
    own = {key: value for key, value in content.items() if key != BASE} if isinstance(content, dict) else content
    own = rename_keys(own, str(path))
    check_keys(own, str(path))
    return merge(read_with_base(find_base(content[BASE], path), chain), own) if BASE in content else own


def find_base(name: Any, path: Path) -> Path:
    """Find the file that a recipe file's key ``base`` names: a path from that file, or one that comes with moodline.

    Raises:
        MoodlineError: there is no such recipe
    """
    if not isinstance(name, str):
        raise MoodlineError(f"{BASE} must be a recipe's name or path, not {name!r} ({path})", code="recipe.bad_type")
    beside = path.parent / name
    try:
        return beside if beside.is_file() else find_shipped_recipe(name)
    except MoodlineError as error:
        raise MoodlineError(f"{BASE}: {error} ({path})", code=error.code) from error


def merge(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested keys and values; overrides win."""
    result = dict(content)
    for key, value in overrides.items():
        nested = isinstance(value, dict) and isinstance(result.get(key, {}), dict)
        result[key] = merge(result.get(key, {}), value) if nested else value
    return result


def note_idle_keys(content: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Write a sentence for each choice of a recipe that leaves some of its keys without effect.

    Args:
        content: the keys and values that the recipe was made from
    """
    present = [*flatten_keys(dict(content))]
    by_reason: dict[str, list[str]] = {}
    for key, reason in find_idle_keys(recipe):
        if any(f"{one}.".startswith(f"{key}.") for one in present):
            by_reason.setdefault(reason, []).append(key)
    return [f"{', '.join(keys)}: no effect, since {reason}" for reason, keys in by_reason.items()]


def find_idle_keys(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the keys and sections without effect, each with the choice that causes this."""
    trained = {*recipe.stages}
    for stage in STAGES:
        if stage in ENCODERS and stage in recipe.given:
            keys = [key for key in list_keys(type(getattr(recipe, stage))) if "." not in key]
            yield from (
                (f"{stage}.{key}", f"{stage}.given is true") for key in keys if key not in ("given", "embedding")
            )
        elif stage not in trained:
            yield stage, f"modalities is {recipe.modalities}"
    audio, fusion = recipe.audio_utterance, recipe.fusion
    if AUDIO_UTTERANCE in trained and audio.frontend == "log_mel":
        yield "audio_utterance.frontend_lr_scale", "audio_utterance.frontend is log_mel, which does not learn"
    if AUDIO_UTTERANCE in trained and audio.padding == "masked":
        yield "audio_utterance.padded_seconds", "audio_utterance.padding is masked"
    if TEXT_UTTERANCE in trained and recipe.text_utterance.num_unfrozen_layers == 0:
        yield "text_utterance.text_encoder_lr_scale", "text_utterance.num_unfrozen_layers is 0"
    for stage in (AUDIO_CONTEXT, TEXT_CONTEXT):
        context = recipe.get_context_config(stage)
        if stage in trained and context.kind == "bc_lstm":
            yield from (
                (f"{stage}.{key}", f"{stage}.kind is bc_lstm") for key in ("layers", "self_attention", "attention")
            )
        elif stage in trained and not context.self_attention:
            yield f"{stage}.attention", f"{stage}.self_attention is false"
    if FUSION in trained and fusion.kind != "transformer":
        yield from (
            (f"{FUSION}.{key}", f"fusion.kind is {fusion.kind}")
            for key in ("heads", "layers", "feed_forward", "dropout")
        )
    if not trained & {*ENCODERS}:
        yield "selection", "no encoder is trained"
