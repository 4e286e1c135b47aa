"""Every size and rate of the system with the paper's values as defaults, and recipes as YAML files."""

import dataclasses
import difflib
import importlib.resources
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from moodline.conversation import LABEL_SETS, is_label_set
from moodline.errors import MoodlineError, join_lines
from moodline.io import flatten_keys, read_yaml

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
SINGLE_MODALITY_FUSION: Mapping[Modalities, str] = {"audio": "fusion_audio", "text": "fusion_text"}
SINGLE_MODALITY_FUSION_NAMES: Mapping[str, str] = {
    "fusion_audio": "fused, speech alone",
    "fusion_text": "fused, words alone",
}
# The utterance encoders, and the option that gives embeddings from a file in the place of each.
EMBEDDINGS_OPTIONS: Mapping[str, str] = {
    AUDIO_UTTERANCE: "--audio-embeddings",
    TEXT_UTTERANCE: "--text-embeddings",
}
ENCODERS = tuple(EMBEDDINGS_OPTIONS)
# The power of a class's rarity that its utterances' losses are weighted by.
CLASS_WEIGHTS: Mapping[str, float] = {"none": 0.0, "square_root": 0.5, "balanced": 1.0}


def _require(config: object, keys: str, rule: bool, meaning: str) -> None:
    """Refuse a value of one or more keys; ``parse_recipe`` adds the section, which the class alone does not tell."""
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


def _require_fraction(config: object, *keys: str) -> None:
    for key in keys:
        _require(config, key, 0 <= getattr(config, key) < 1, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How one stage is trained (Adam).

    Args:
        batch_size: utterances, or conversations, in a batch
        learning_rate: of Adam, constant or decayed (see decay)
        epochs: at most
        patience: epochs without a lower validation loss before the stage stops; as many as epochs: it never does
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
        _require_fraction(self, "averaging")


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
        _require_fraction(self, "dropout", "speed_change")
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
        _require_fraction(self, "dropout")
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
        _require_fraction(self, "dropout")


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
        _require_fraction(self, "dropout", "output_dropout", "modality_dropout")
        whole = self.modalities == "both"
        _require(self, "modality_dropout", whole or not self.modality_dropout, f"0 with {self.modalities} alone")
        idle = self.kind != "transformer"
        _require(self, "heads", idle or self.hidden % self.heads == 0, f"a divisor of hidden ({self.hidden})")

    @property
    def supported_modalities(self) -> tuple[Modalities, ...]:
        """What the fusion may be given of a conversation, as it was in training."""
        if self.modalities != "both":
            return (self.modalities,)
        return ("both", "audio", "text") if self.modality_dropout else ("both",)

    @property
    def handles_missing_modality(self) -> bool:
        """Whether it was trained on turns without one of their modalities."""
        return self.supported_modalities != ("both",)


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

    def restrict_to(self, modalities: Modalities) -> "Recipe":
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

    def select_stages(self, modalities: Modalities) -> tuple[str, ...]:
        """The stages that have an opinion where these modalities are read; the last of them answers.

        Without modality dropout the fusion has none of one modality alone, and its context stage answers. Errors as of
        ``restrict_to``.
        """
        read = self.restrict_to(modalities)
        fuses = read is not self and modalities in self.fusion.supported_modalities
        return (*read.stages, FUSION) if fuses else read.stages

    def with_precomputed(self, sizes: Mapping[str, int]) -> "Recipe":
        """The recipe with these encoders' embeddings, of these sizes, from a file; a size it gives itself holds."""
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


# jsonargparse's complaints of a value -> the rule that it breaks; where that is empty, it names the kinds of value.
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
    """Every dotted key of a recipe, sections included."""
    keys: list[str] = []
    for item in dataclasses.fields(config):
        keys.append(prefix + item.name)
        if isinstance(item.type, type) and dataclasses.is_dataclass(item.type):
            keys += list_keys(item.type, f"{prefix}{item.name}.")
    return keys


def find_nearest_key(key: str, keys: list[str]) -> str:
    """The known key most like a misspelt one: by its own name within other sections too."""
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    if close:
        return close[0]
    last = key.rsplit(".", 1)[-1]
    return next((known for known in keys if known.rsplit(".", 1)[-1] == last), "")


def check_keys(content: Any, origin: str, prefix: str = "") -> None:
    """Refuse the first key that no recipe has, naming the nearest that it could have meant."""
    keys = list_keys()
    if not isinstance(content, Mapping):
        where = f" under {prefix[:-1]}" if prefix else ""
        raise MoodlineError(f"a recipe is made of keys and values, not {content!r}{where} ({origin})")
    for name, value in content.items():
        key = f"{prefix}{name}"
        if key not in keys:
            raise MoodlineError(format_unknown_key(key, origin))
        if any(known.startswith(f"{key}.") for known in keys):
            check_keys(value, origin, f"{key}.")


def format_unknown_key(key: str, origin: str) -> str:
    guess = find_nearest_key(key, list_keys())
    hint = f"did you mean {guess}?" if guess else "moodline train --help lists the keys"
    return f"a recipe has no key {key!r} ({origin}); {hint}"


def parse_recipe(content: Any, origin: str) -> Recipe:
    """A recipe from nested keys and values; ``origin`` names their file in errors."""
    import jsonargparse

    check_keys(content, origin)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    try:
        values = parser.parse_object(dict(content)).as_dict()
    except jsonargparse.ArgumentError as error:
        raise MoodlineError(f"{rewrite_message(join_lines(error))} ({origin})") from error
    return build_config(Recipe, values, origin)


def rewrite_message(message: str) -> str:
    """jsonargparse's complaint of a value's type, in words for a person; any other message as it is."""
    for complaint, rule in ERROR_PATTERNS.items():
        if match := re.search(complaint, message):
            kinds = re.split(r", (?=<class)", match["kinds"]) if "kinds" in match.groupdict() else []
            return f"{match['key']} must be {rule or ' or '.join(map(describe_type, kinds))}, not {match['value']}"
    return message


def describe_type(kind: str) -> str:
    """A type as jsonargparse writes it, as people say it."""
    kind = kind.removeprefix("<class '").removesuffix("'>").removeprefix("typing.")
    if choices := re.fullmatch(r"Literal\[(.+)\]", kind):
        return "one of " + choices[1].replace("'", "")
    return TYPE_NAMES.get(kind, kind)


def build_config(config: Any, values: Mapping[str, Any], origin: str, prefix: str = "") -> Any:
    """A dataclass from typed values, its sections first: a refused value is told with the section it is in."""
    content: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        key, value = f"{prefix}{item.name}", values[item.name]
        if isinstance(value, Mapping):
            value = build_config(item.type, value, origin, f"{key}.")
        elif value is None and type(None) not in get_args(item.type):
            raise MoodlineError(f"{key} must have a value, not null; give it one or leave it out ({origin})")
        content[item.name] = value
    try:
        return config(**content)
    except MoodlineError as error:
        raise MoodlineError(f"{prefix}{error} ({origin})") from error


def find_recipe(name: str) -> Path:
    """The file that ``--recipe`` names: a path, or the name of a recipe that comes with moodline."""
    path = Path(name)
    if path.is_file():
        return path
    return own_recipe(name)


def own_recipe(name: str) -> Path:
    """The file of a recipe that comes with moodline."""
    folders = [
        Path(str(importlib.resources.files("moodline"))) / "recipes",  # installed
        Path(__file__).resolve().parents[2] / "recipes",  # a checkout
    ]
    own = name.removeprefix("recipes/").removesuffix(".yaml")  # as the documentation writes them, from any folder
    for folder in folders:
        if (folder / f"{own}.yaml").is_file():
            return folder / f"{own}.yaml"
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise MoodlineError(f"recipe {name!r} is neither a file nor one of moodline's own: {', '.join(names)}")


def read_recipe(name: str) -> tuple[dict[str, Any], Path]:
    """A recipe file's keys and values over those of its base, checked for keys that do not exist, and the file.

    Raises:
        MoodlineError: a file cannot be read or has a key that does not exist; a base is none, or leads to itself
    """
    path = find_recipe(name)
    return with_base(path, ()), path


def with_base(path: Path, derived: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe file's content merged over that of its base; ``derived`` are the files whose base it is, in turn."""
    chain = (*derived, path.resolve())
    if path.resolve() in derived:
        raise MoodlineError(
            f"recipe {path} is its own base ({' -> '.join(one.name for one in chain)}): remove the key {BASE} from one "
            "of these files"
        )
    content = read_yaml(path, "recipe") or {}
    own = {key: value for key, value in content.items() if key != BASE} if isinstance(content, dict) else content
    check_keys(own, str(path))
    return merged(with_base(base_of(content[BASE], path), chain), own) if BASE in content else own


def base_of(name: Any, path: Path) -> Path:
    """The file that the key ``base`` of a recipe file names: by its path from that file, or as one of moodline's own.

    Raises:
        MoodlineError: there is no such recipe
    """
    if not isinstance(name, str):
        raise MoodlineError(f"{BASE} must be a recipe's name or path, not {name!r} ({path})")
    beside = path.parent / name
    try:
        return beside if beside.is_file() else own_recipe(name)
    except MoodlineError as error:
        raise MoodlineError(f"{BASE}: {error} ({path})") from error


def merged(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested keys and values, the overrides' where both have one."""
    result = dict(content)
    for key, value in overrides.items():
        nested = isinstance(value, dict) and isinstance(result.get(key, {}), dict)
        result[key] = merged(result.get(key, {}), value) if nested else value
    return result


def notes_on_idle(content: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """A sentence for each choice of a recipe that makes keys idle which its content gives; none where it makes none.

    Args:
        content: the keys and values that the recipe was made from
    """
    given = [*flatten_keys(dict(content))]
    by_reason: dict[str, list[str]] = {}
    for key, reason in idle_keys(recipe):
        if any(f"{one}.".startswith(f"{key}.") for one in given):
            by_reason.setdefault(reason, []).append(key)
    return [f"{', '.join(keys)}: no effect, since {reason}" for reason, keys in by_reason.items()]


def idle_keys(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The keys and sections that nothing reads, each with the choice that makes it so."""
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
    if AUDIO_UTTERANCE in trained and audio.front_end == "log_mel":
        yield "audio_utterance.front_end_rate", "audio_utterance.front_end is log_mel, which does not learn"
    if AUDIO_UTTERANCE in trained and audio.padding == "masked":
        yield "audio_utterance.padded_seconds", "audio_utterance.padding is masked"
    if TEXT_UTTERANCE in trained and recipe.text_utterance.trained_layers == 0:
        yield "text_utterance.bert_rate", "text_utterance.trained_layers is 0"
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
